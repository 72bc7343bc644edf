//! Ctrl-C and SIGTERM: the verb at work ends what it has in hand, says where it is, and exits with 130.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// The exit code of a command that was interrupted, as shells have it.
pub(super) const EXIT_CODE: u8 = 130;

/// The signal that came, once a verb listens; 0 for none.
static CAME: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// Somebody wishes the verb to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interrupt {
    CtrlC,
    Terminated,
}

/// From here on the first Ctrl-C or SIGTERM is left to the verb, which asks for it; the second ends the process at once.
pub(super) fn listen() {
    let came = CAME.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        let twice = Arc::new(AtomicBool::new(false));
        let number = usize::try_from(signal).unwrap_or_default();
        let listening =
            flag::register_conditional_shutdown(signal, EXIT_CODE.into(), Arc::clone(&twice))
                .and_then(|_| flag::register(signal, twice))
                .and_then(|_| flag::register_usize(signal, Arc::clone(came), number));
        if let Err(error) = listening {
            tracing::warn!("a signal will end this at once, as nobody can listen for it: {error}");
        }
    }
}

/// What came, if anything did.
pub(super) fn came() -> Option<Interrupt> {
    let signal = CAME.get()?.load(Ordering::Relaxed);
    match i32::try_from(signal).ok()? {
        SIGINT => Some(Interrupt::CtrlC),
        SIGTERM => Some(Interrupt::Terminated),
        _ => None,
    }
}

impl fmt::Display for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CtrlC => "Ctrl-C",
            Self::Terminated => "SIGTERM",
        })
    }
}
