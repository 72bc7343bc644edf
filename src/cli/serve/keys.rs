//! `serve key`: the keys of programs.

use std::io::Write;
use std::path::Path;

use clap::Subcommand;

use super::ServeVerbError;
use crate::cli::grid::Grid;
use crate::cli::say::complain;
use crate::export::moment;
use crate::serve::Keys;
use crate::sink::{lines, one_line};

/// What is done to keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeyVerb {
    /// Make a key, and print it: it is shown this once
    New {
        /// Who is to have it, which stands as the user of what is written with it
        name: String,
    },
    /// List the keys by their names
    List,
    /// Revoke keys: from then on they let nobody in
    Rm {
        /// Their names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// Does it, and writes the new key or the list to `out`.
///
/// # Errors
/// If a name cannot be used, or the file of keys or `out` refuses.
pub fn run(verb: &KeyVerb, store: &Path, out: &mut dyn Write) -> Result<(), ServeVerbError> {
    let keys = Keys::of(store);
    match verb {
        KeyVerb::New { name } => {
            writeln!(out, "{}", keys.make(name)?)?;
            complain(&format!(
                "note: this key of {name} is shown this once; `serve key rm` revokes it"
            ));
        }
        KeyVerb::List => {
            let all = keys.list()?;
            if all.is_empty() {
                writeln!(out, "no keys")?;
                return Ok(());
            }
            let mut grid = Grid::new(&["key of", "made"], 0..0);
            for key in all {
                let made = moment(i64::try_from(key.created).unwrap_or(i64::MAX));
                // To the second, as a person reads it.
                let made = made.chars().take(19).collect::<String>().replace('T', " ");
                grid.line([one_line(&key.name), made]);
            }
            out.write_all(lines(&grid.text()).as_bytes())?;
        }
        KeyVerb::Rm { names } => {
            for name in names {
                keys.remove(name)?;
            }
        }
    }
    Ok(())
}
