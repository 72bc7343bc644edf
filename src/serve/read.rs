//! Answers about runs.

mod course;

pub(crate) use course::{kept, smoothed};
