//! What the command says on stderr: its own messages, and what the library has to say while it works.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, WeakProgressBar};
use tracing::{Event, Level};
use tracing_subscriber::Registry;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent};

use crate::hooks::event::Said;
use crate::sink::{lines, one_line};

/// The bar that is drawn. What is said goes above it, not through it.
static BAR: Mutex<Option<WeakProgressBar>> = Mutex::new(None);

/// From here on, what is said makes room for this bar, as long as there is one.
pub(super) fn above(bar: &ProgressBar) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.downgrade());
}

/// Says something in a line. Nobody is left to be told if that fails, where `eprintln!` would panic.
pub(super) fn complain(message: &str) {
    tell(&one_line(message));
}

/// Says something in lines of our own; a name from outside among them is [`one_line`].
pub(super) fn tell(text: &str) {
    let text = lines(text.trim_end()) + "\n";
    let _ = Stderr.write_all(text.as_bytes());
}

/// Asks something, on the line where the answer is then given.
pub(super) fn ask(question: &str) {
    let _ = Stderr.write_all(one_line(question).as_bytes());
    let _ = Stderr.flush();
}

/// From here on, what the library says from this level up is said as the command's own messages are: no time, no colour,
/// no place in the source.
pub(super) fn listen(level: Level) {
    let subscriber = tracing_subscriber::fmt()
        // It would tell of a stderr that is gone by a panic.
        .log_internal_errors(false)
        .with_max_level(level)
        .with_writer(|| Stderr)
        .event_format(Message)
        .finish();
    // It fails only where the program has a subscriber already, which is then the one to listen.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Standard error, above the bar.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut stderr = io::stderr();
        match bar.and_then(|bar| bar.upgrade()) {
            Some(bar) => bar.suspend(|| stderr.write(text)),
            None => stderr.write(text),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// How the library's events read: `warning: step 7: 0.4 of the tokens are clipped`.
struct Message;

impl FormatEvent<Registry, DefaultFields> for Message {
    fn format_event(
        &self,
        _: &FmtContext<'_, Registry, DefaultFields>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let said = Said::of(event);
        let kind = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            _ => "note",
        };
        writeln!(line, "{kind}: {}", one_line(&said.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// What a body's events read like, from this level up.
    fn heard(level: Level, body: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl Write for Lines {
            fn write(&mut self, text: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(text)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(move || writer.clone())
            .event_format(Message)
            .finish();
        tracing::subscriber::with_default(subscriber, body);
        let lines = lines.0.lock().unwrap();
        String::from_utf8(lines.clone()).unwrap()
    }

    #[test]
    fn an_event_reads_like_a_message_of_the_command() {
        let lines = heard(Level::WARN, || {
            tracing::warn!(step = 7, "too much");
            tracing::warn!(step = 8_u64, error = %io::Error::other("no room"), "not written");
            tracing::error!(callback = "csv", hook = 3, "it failed:\nso it goes");
            tracing::info!("nobody asked");
        });
        insta::assert_snapshot!(lines, @r"
        warning: step 7: too much
        warning: step 8: not written: no room
        error: it failed:\nso it goes, callback csv, hook 3
        ");
    }

    #[test]
    fn what_is_no_warning_is_a_note_to_those_who_ask() {
        let lines = heard(Level::DEBUG, || {
            tracing::debug!("again");
            tracing::trace!("and again");
        });
        assert_eq!(lines, "note: again\n");
    }
}
