//! The key that nobody is to see.

use std::fmt;

/// A text that nothing shows: no error, no log line, no `Debug`.
#[derive(Clone)]
pub(in crate::store::evsys) struct Secret(pub(super) String);

impl Secret {
    /// `text`, if it can be sent in a header.
    pub(in crate::store::evsys) fn new(text: String) -> Option<Self> {
        let sendable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        sendable.then_some(Self(text))
    }

    /// `text` without the secret, should somebody have put it there.
    pub(in crate::store::evsys) fn scrub(&self, text: &str) -> String {
        text.replace(&self.0, "<key>")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<key>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_no_header_can_carry_is_none() {
        for text in ["", "a b", "a\nb", "ü"] {
            assert!(Secret::new(text.to_owned()).is_none(), "{text:?}");
        }
    }
}
