//! Whether a server notes signs of life, which `EvSys` itself does not.

use super::gateway::Fault;

/// What is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signs {
    /// Nothing yet; so many times the server was in trouble.
    Asked(u8),
    /// It does.
    Taken,
    /// It does not, and is not asked again.
    NotTaken,
}

impl Signs {
    /// After another was sent. A server that does not take it is asked once, and one that is in trouble a few times.
    pub fn after<T>(self, outcome: &Result<T, Fault>) -> Self {
        const TROUBLES: u8 = 3;
        match (self, outcome) {
            (_, Ok(_)) | (Self::Taken, Err(_)) => Self::Taken,
            (Self::Asked(times), Err(fault)) if fault.is_transient() && times < TROUBLES => {
                Self::Asked(times + 1)
            }
            (_, Err(_)) => Self::NotTaken,
        }
    }
}
