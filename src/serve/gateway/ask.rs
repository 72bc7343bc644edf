//! A request as what is to be done.

use super::args::Args;
use super::change;
use super::create;
use super::op::known;
use super::read::Read;
use super::refusal::Refusal;
use super::request::Request;
use super::row;
use super::write::Write;

/// What a request asks for.
#[derive(Debug)]
pub(super) enum Ask {
    Write(Box<Write>),
    Read(Read),
}

impl Ask {
    /// # Errors
    /// If the body is none, or its operation or an argument is not what it should be.
    pub fn of(body: &[u8]) -> Result<Self, Refusal> {
        let Request { op, args } = Request::of(body)?;
        let op = known(&op)?;
        let mut args = Args::new(op, args);
        if let Some(read) = Read::of(op, &mut args)? {
            args.none_left(read.known())?;
            return Ok(Self::Read(read));
        }
        let write = match op {
            "update_experiment" => Write::Change(change::experiment(args)?),
            "update_run" => Write::Change(change::run(args)?),
            "log_metrics" | "log_metric" => Write::Log(row::logged(op, args)?),
            "touch_run" => {
                let run_id = args.needed_text("run_id")?;
                args.none_left(&["run_id"])?;
                Write::Touch { run_id }
            }
            "delete_experiment" => {
                let experiment_id = args.needed_text("experiment_id")?;
                args.none_left(&["experiment_id"])?;
                Write::Delete { experiment_id }
            }
            _ => Write::Create(create::record(op, args)?),
        };
        Ok(Self::Write(Box::new(write)))
    }
}
