//! `completions` and `man`: what shells and readers of manuals are told of the command, made from its arguments.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::say::tell;
use crate::sink::{one_line, why};

/// Write the completions of a shell to standard output
///
/// For bash: grpo-metrics completions bash > ~/.local/share/bash-completion/completions/grpo-metrics
#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_parser = shells())]
    pub shell: Shell,
}

fn shells() -> impl TypedValueParser<Value = Shell> {
    PossibleValuesParser::new(["bash", "elvish", "fish", "powershell", "zsh"])
        .try_map(|name| name.parse::<Shell>())
}

/// Write the manual: to standard output, or a page for each verb to a folder
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// The folder for grpo-metrics.1, grpo-metrics-replay.1 and the others, made if need be
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// Why there is no manual.
#[derive(Debug, thiserror::Error)]
pub enum ManualError {
    #[error("{path}: cannot write it: {source}")]
    Page { path: String, source: io::Error },
    #[error("could not write it: {0}")]
    Write(#[from] io::Error),
}

/// Writes the completions of `command` for a shell.
///
/// # Errors
/// If `out` refuses.
pub fn completions(
    args: &CompletionsArgs,
    mut command: Command,
    out: &mut dyn Write,
) -> Result<(), ManualError> {
    let name = command.get_name().to_owned();
    // It would panic where `out` refuses.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut text);
    // For bash, a hyphen in the command's name is written in two ways (clap_complete 4.6), so that a verb's arguments are found by neither.
    let text = String::from_utf8_lossy(&text).replace("grpo__subcmd__metrics", "grpo__metrics");
    Ok(out.write_all(text.as_bytes())?)
}

/// Writes the manual of `command`.
///
/// # Errors
/// If `out` or the folder refuses.
pub fn man(args: &ManArgs, command: Command, out: &mut dyn Write) -> Result<(), ManualError> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let Some(folder) = &args.folder else {
        return Ok(Man::new(command).render(out)?);
    };
    let fault = |path: &Path| {
        let path = path.to_owned();
        move |error| ManualError::Page {
            source: why(&path, error),
            path: path.display().to_string(),
        }
    };
    fs::create_dir_all(folder).map_err(fault(folder))?;
    let mut pages = 0;
    let mut write = |command: &Command| {
        let name = command.get_display_name().unwrap_or(command.get_name());
        let path = folder.join(format!("{name}.1"));
        let mut page = Vec::new();
        Man::new(command.clone()).render(&mut page)?;
        fs::write(&path, page).map_err(fault(&path))?;
        pages += 1;
        Ok::<_, ManualError>(())
    };
    each(&command, &mut write)?;
    let folder = one_line(&folder.display().to_string());
    tell(&format!(
        "{folder}: {pages} pages; man -l {folder}/grpo-metrics.1"
    ));
    Ok(())
}

/// A command and those beneath it that are shown.
fn each(
    command: &Command,
    page: &mut dyn FnMut(&Command) -> Result<(), ManualError>,
) -> Result<(), ManualError> {
    page(command)?;
    let shown = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    shown.into_iter().try_for_each(|verb| each(verb, page))
}
