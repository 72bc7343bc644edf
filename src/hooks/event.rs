//! How what the library has to say of its work (through `tracing`) reads as one sentence.

#[cfg(test)]
pub(crate) mod logged;

use std::fmt::{self, Write as _};

use tracing::Event;
use tracing::field::{Field, Visit};

/// An event's fields: the step first, the error behind the message, the others between.
#[derive(Clone, Debug, Default)]
pub struct Said {
    step: Option<String>,
    message: String,
    others: String,
    error: Option<String>,
}

impl Said {
    /// What `event` says.
    #[must_use]
    pub fn of(event: &Event<'_>) -> Self {
        let mut said = Self::default();
        event.record(&mut said);
        said
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "step" => self.step = Some(format!("{value:?}")),
            "error" => self.error = Some(format!("{value:?}")),
            name => {
                let _ = write!(self.others, ", {name} {value:?}");
            }
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // In a sentence, without the quotes of `Debug`.
        self.record_debug(field, &format_args!("{value}"));
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(step) = &self.step {
            write!(f, "step {step}: ")?;
        }
        write!(f, "{}{}", self.message, self.others)?;
        match &self.error {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}
