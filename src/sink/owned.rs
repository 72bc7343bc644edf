//! What one process alone may use.

use std::process;

use super::SinkError;

/// Something that belongs to the process that made it.
///
/// A fork copies memory and open files, but no thread, and none of what others know of the process: a child that wrote on would write
/// into its parent's file, one that waited would wait for a thread that it does not have, and one that closed would end what its
/// parent still uses. So in any other process this gives nothing out, and dropping it does nothing.
pub(super) struct Owned<T> {
    process: u32,
    /// `None` once taken.
    inner: Option<T>,
}

impl<T> Owned<T> {
    pub(super) fn new(inner: T) -> Self {
        Self {
            process: process::id(),
            inner: Some(inner),
        }
    }

    /// # Errors
    /// In another process, in the name of `sink`.
    pub(super) fn get(&self, sink: &'static str) -> Result<&T, SinkError> {
        let inner = self.inner.as_ref().filter(|_| self.is_here());
        inner.ok_or(self.refused(sink))
    }

    /// # Errors
    /// As [`Owned::get`].
    pub(super) fn get_mut(&mut self, sink: &'static str) -> Result<&mut T, SinkError> {
        let (refused, here) = (self.refused(sink), self.is_here());
        let inner = self.inner.as_mut().filter(|_| here);
        inner.ok_or(refused)
    }

    /// Takes it out for good.
    ///
    /// # Errors
    /// As [`Owned::get`].
    pub(super) fn take(&mut self, sink: &'static str) -> Result<T, SinkError> {
        let refused = self.refused(sink);
        let inner = if self.is_here() {
            self.inner.take()
        } else {
            None
        };
        inner.ok_or(refused)
    }

    fn is_here(&self) -> bool {
        self.process == process::id()
    }

    fn refused(&self, sink: &'static str) -> SinkError {
        SinkError::Inherited {
            sink,
            owner: self.process,
        }
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.is_here() {
            std::mem::forget(self.inner.take());
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::rc::Rc;

    use super::*;

    impl<T> Owned<T> {
        /// As a forked child has it.
        pub(in crate::sink) fn inherited(inner: T) -> Self {
            Self {
                process: process::id() + 1,
                inner: Some(inner),
            }
        }
    }

    #[test]
    fn what_another_process_made_is_neither_given_out_nor_dropped() {
        let made = Rc::new(());
        let mut own = Owned::new(Rc::clone(&made));
        assert!(own.get("s").is_ok() && own.get_mut("s").is_ok() && own.take("s").is_ok());
        assert_eq!(Rc::strong_count(&made), 1);
        let mut inherited = Owned::inherited(Rc::clone(&made));
        assert!(inherited.get("s").is_err() && inherited.get_mut("s").is_err());
        let error = inherited.take("s").unwrap_err().to_string();
        let owner = (process::id() + 1).to_string();
        assert!(error.contains(&owner), "{error}");
        drop(inherited);
        assert_eq!(Rc::strong_count(&made), 2);
        drop(Owned::new(Rc::clone(&made)));
        assert_eq!(Rc::strong_count(&made), 2);
    }
}
