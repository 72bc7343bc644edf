//! `--open`: the page in this machine's browser. That it does not open is told, and no more: the address is printed in any case.
//!
//! What a program is started with can be seen by everybody on the machine. The browser is therefore given a file that only its owner can
//! read, which sends it on to the address with its token.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{self, Child, Command, Stdio};
use std::thread;

use crate::cli::say::complain;

/// What opens files and addresses as a click would.
const OPENER: &str = if cfg!(target_os = "macos") {
    "open"
} else {
    "xdg-open"
};

/// The file that sends the browser on; removed when it is dropped.
#[derive(Debug)]
pub struct SentOn(Option<PathBuf>);

impl Drop for SentOn {
    fn drop(&mut self) {
        if let Some(file) = &self.0 {
            let _ = fs::remove_file(file);
        }
    }
}

/// Opens an address in the browser.
pub fn open(address: &str) -> SentOn {
    let opened = if address.contains("?token=") {
        sent_on(address).and_then(|file| {
            let sent_on = SentOn(Some(file.clone()));
            start(&file.to_string_lossy()).map(|child| (sent_on, child))
        })
    } else {
        start(address).map(|child| (SentOn(None), child))
    };
    match opened {
        Ok((sent_on, child)) => {
            thread::spawn(move || watch(child));
            sent_on
        }
        Err(error) => {
            complain(&format!(
                "note: --open: the browser could not be started by {OPENER}: {error}"
            ));
            SentOn(None)
        }
    }
}

fn start(what: &str) -> io::Result<Child> {
    let mut command = Command::new(OPENER);
    command.arg(what);
    let null = || Stdio::null();
    command.stdin(null()).stdout(null()).stderr(null()).spawn()
}

fn watch(mut child: Child) {
    if let Ok(status) = child.wait()
        && !status.success()
    {
        complain(&format!(
            "note: --open: {OPENER} found no browser: {status}"
        ));
    }
}

fn sent_on(address: &str) -> io::Result<PathBuf> {
    let path = env::temp_dir().join(format!("grpo-metrics-{}.html", process::id()));
    let mut options = OpenOptions::new();
    // Never what somebody else has put there.
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&path)?;
    file.write_all(document(address).as_bytes())?;
    Ok(path)
}

fn document(address: &str) -> String {
    let address = address
        .replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;");
    format!(
        r#"<!doctype html><meta charset="utf-8"><title>grpo-metrics</title><meta name="referrer" content="no-referrer"><meta http-equiv="refresh" content="0; url={address}"><a href="{address}">the page</a>
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_sends_on_is_its_owners_alone_and_goes_when_it_is_over() {
        let path = sent_on("http://127.0.0.1:1/?token=\"&<").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.contains(r#"url=http://127.0.0.1:1/?token=&quot;&amp;&lt;">"#),
            "{text}"
        );
        #[cfg(unix)]
        {
            let mode =
                std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        assert!(
            sent_on("twice").is_err(),
            "what is there is not written over"
        );
        drop(SentOn(Some(path.clone())));
        assert!(!path.exists());
    }
}
