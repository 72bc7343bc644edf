//! The command: one file a verb. Messages go to stderr, data to stdout.

mod audit;
mod compare;
mod deliver;
mod doctor;
mod export;
mod forward;
mod grid;
mod interrupt;
mod key;
mod keys;
mod manual;
mod merge;
mod options;
mod probed;
mod record;
mod replay;
#[cfg(feature = "serve")]
mod report;
mod runs;
mod say;
mod screen;
#[cfg(feature = "serve")]
mod serve;
mod show;
mod store;
mod target;

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tracing::Level;

use say::complain;

const EXIT_CODES: &str = "\
Exit codes:
  0  done (also when the reader of the output goes away before the end)
  1  an output could not be written: a store, a file, a full disk
  2  what was given cannot be used: an argument, a recording, the name of a store or run
  130  stopped by Ctrl-C or SIGTERM; what is stored is whole";

const DONE: u8 = 0;
const NOT_WRITTEN: u8 = 1;
const NOT_USABLE: u8 = 2;

/// The training metrics of GRPO runs, exact whatever the layout.
#[derive(Debug, Parser)]
#[command(name = "grpo-metrics", version, arg_required_else_help = true)]
#[command(after_help = EXIT_CODES)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Replay(Box<replay::ReplayArgs>),
    /// List the keys that a row can have, and what they mean
    ///
    /// A metric that a training reports under a name of its own appears under exactly that name, in every dialect.
    Keys(keys::KeysArgs),
    Merge(Box<merge::MergeArgs>),
    Audit(Box<audit::AuditArgs>),
    Compare(compare::CompareArgs),
    Record(record::RecordArgs),
    Forward(forward::ForwardArgs),
    Deliver(deliver::DeliverArgs),
    Show(show::ShowArgs),
    Runs(runs::RunsArgs),
    #[cfg(feature = "serve")]
    Report(report::ReportArgs),
    #[cfg(feature = "serve")]
    Serve(Box<serve::ServeArgs>),
    Export(export::ExportArgs),
    Doctor(doctor::DoctorArgs),
    Completions(manual::CompletionsArgs),
    Man(manual::ManArgs),
}

impl Verb {
    /// From which level up the library's own messages are shown.
    fn level(&self) -> Level {
        match self {
            Self::Replay(args) if args.quiet => Level::ERROR,
            Self::Forward(args) if args.verbose => Level::DEBUG,
            // That a browser was let in, and by which address the next one comes in.
            #[cfg(feature = "serve")]
            Self::Serve(_) => Level::INFO,
            _ => Level::WARN,
        }
    }
}

/// Why a verb came to no good end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// What was given cannot be used.
    #[error("{0}")]
    Input(#[source] Box<dyn Error>),
    /// What was computed cannot be written.
    #[error("{0}")]
    Output(#[source] Box<dyn Error>),
    /// Somebody wished it to end; says where it is.
    #[error("{0}")]
    Interrupted(#[source] Box<dyn Error>),
}

impl Failure {
    fn of(error: impl Error + 'static, is_output: bool) -> Self {
        let error = Box::new(error);
        if is_output {
            Self::Output(error)
        } else {
            Self::Input(error)
        }
    }

    const fn exit_code(&self) -> u8 {
        match self {
            Self::Input(_) => NOT_USABLE,
            Self::Output(_) => NOT_WRITTEN,
            Self::Interrupted(_) => interrupt::EXIT_CODE,
        }
    }
}

impl From<replay::ReplayError> for Failure {
    fn from(error: replay::ReplayError) -> Self {
        if let replay::ReplayError::Interrupted { .. } = error {
            return Self::Interrupted(Box::new(error));
        }
        let is_output = error.is_output();
        Self::of(error, is_output)
    }
}

impl From<merge::MergeVerbError> for Failure {
    fn from(error: merge::MergeVerbError) -> Self {
        if let merge::MergeVerbError::Interrupted { .. } = error {
            return Self::Interrupted(Box::new(error));
        }
        let is_output = error.is_output();
        Self::of(error, is_output)
    }
}

impl From<record::RecordError> for Failure {
    fn from(error: record::RecordError) -> Self {
        if let record::RecordError::Interrupted { .. } = error {
            return Self::Interrupted(Box::new(error));
        }
        let is_output = error.is_output();
        Self::of(error, is_output)
    }
}

impl From<forward::ForwardVerbError> for Failure {
    fn from(error: forward::ForwardVerbError) -> Self {
        if let forward::ForwardVerbError::Interrupted { .. } = error {
            return Self::Interrupted(Box::new(error));
        }
        let is_output = error.is_output();
        Self::of(error, is_output)
    }
}

impl From<deliver::DeliverError> for Failure {
    fn from(error: deliver::DeliverError) -> Self {
        if let deliver::DeliverError::Interrupted { .. } = error {
            return Self::Interrupted(Box::new(error));
        }
        let is_output = error.is_output();
        Self::of(error, is_output)
    }
}

impl From<audit::AuditVerbError> for Failure {
    fn from(error: audit::AuditVerbError) -> Self {
        let is_output = error.is_output();
        Self::of(error, is_output)
    }
}

impl From<compare::CompareError> for Failure {
    fn from(error: compare::CompareError) -> Self {
        let is_output = matches!(error, compare::CompareError::Write(_));
        Self::of(error, is_output)
    }
}

impl From<keys::KeysError> for Failure {
    fn from(error: keys::KeysError) -> Self {
        let is_output = matches!(error, keys::KeysError::Write(_));
        Self::of(error, is_output)
    }
}

impl From<doctor::DoctorError> for Failure {
    fn from(error: doctor::DoctorError) -> Self {
        let is_output = error.is_output();
        Self::of(error, is_output)
    }
}

impl From<manual::ManualError> for Failure {
    fn from(error: manual::ManualError) -> Self {
        Self::of(error, true)
    }
}

impl From<export::ExportVerbError> for Failure {
    fn from(error: export::ExportVerbError) -> Self {
        if let export::ExportVerbError::Interrupted { .. } = error {
            return Self::Interrupted(Box::new(error));
        }
        let is_output = error.is_output();
        Self::of(error, is_output)
    }
}

#[cfg(feature = "serve")]
impl From<serve::ServeVerbError> for Failure {
    fn from(error: serve::ServeVerbError) -> Self {
        let is_output = error.is_output();
        Self::of(error, is_output)
    }
}

#[cfg(feature = "serve")]
impl From<report::ReportVerbError> for Failure {
    fn from(error: report::ReportVerbError) -> Self {
        if let report::ReportVerbError::Interrupted { .. } = error {
            return Self::Interrupted(Box::new(error));
        }
        let is_output = error.is_output();
        Self::of(error, is_output)
    }
}

impl From<runs::RunsError> for Failure {
    fn from(error: runs::RunsError) -> Self {
        let is_output = error.is_output();
        Self::of(error, is_output)
    }
}

impl From<show::ShowError> for Failure {
    fn from(error: show::ShowError) -> Self {
        if let show::ShowError::Interrupted { .. } = error {
            return Self::Interrupted(Box::new(error));
        }
        let is_output = error.is_output();
        Self::of(error, is_output)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::of(error, true)
    }
}

/// Runs the command with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::from(run(env::args_os()))
}

/// Runs the command with these arguments, of which the first is its own name, and gives the exit code. The process is to be the
/// command's own: it listens to signals, to the library's messages, and writes to standard output and error.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let code = match Command::try_parse_from(arguments) {
        Ok(command) => carried_out(command.verb),
        // Without colours, since what was given stands in it.
        Err(error) if error.use_stderr() => {
            say::tell(&error.render().to_string());
            NOT_USABLE
        }
        Err(help) => {
            let _ = help.print();
            DONE
        }
    };
    // A process that is Python's does not do it at its end.
    let _ = io::stdout().flush();
    code
}

fn carried_out(verb: Verb) -> u8 {
    say::listen(verb.level());
    match carry_out(verb, &mut io::stdout().lock()) {
        Ok(()) => DONE,
        Err(failure) if is_broken_pipe(&failure) => DONE,
        Err(failure) => {
            let kind = match failure {
                Failure::Interrupted(_) => "",
                _ => "error: ",
            };
            complain(&format!("{kind}{failure}"));
            failure.exit_code()
        }
    }
}

fn carry_out(verb: Verb, out: &mut dyn Write) -> Result<(), Failure> {
    match verb {
        Verb::Replay(args) => replay::run(&args)?,
        Verb::Keys(args) => keys::run(&args, out)?,
        Verb::Merge(args) => merge::run(&args, out)?,
        Verb::Audit(args) => audit::run(&args, out)?,
        Verb::Compare(args) => compare::run(&args, out)?,
        Verb::Record(args) => record::run(&args)?,
        Verb::Forward(args) => forward::run(&args, out)?,
        Verb::Deliver(args) => deliver::run(&args, out)?,
        Verb::Export(args) => export::run(&args)?,
        #[cfg(feature = "serve")]
        Verb::Report(args) => report::run(&args)?,
        Verb::Doctor(args) => doctor::run(&args, out)?,
        Verb::Completions(args) => manual::completions(&args, Command::command(), out)?,
        Verb::Man(args) => manual::man(&args, Command::command(), out)?,
        Verb::Show(args) => show::run(&args, out)?,
        Verb::Runs(args) => runs::run(&args, out)?,
        #[cfg(feature = "serve")]
        Verb::Serve(args) => serve::run(&args, out)?,
    }
    out.flush()?;
    Ok(())
}

/// Whether it comes down to a reader that has gone away, as `head` does: the end of the work, not a fault.
fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && io.kind() == io::ErrorKind::BrokenPipe
        {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_of_every_verb_are_consistent() {
        super::Command::command().debug_assert();
    }
}
