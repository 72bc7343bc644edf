//! Runs of the embedded store, read for people: which are meant, which of their keys come first, how each has gone, and how runs
//! stand beside each other. The command's `show` and `runs` and Python's `open` read the same from here.

mod compare;
mod digest;
mod find;
mod key;
mod list;
mod run;
mod select;

pub use crate::dialect::glance::{Better, Glance, glance};
pub use compare::{Apart, Compared, Outcome, compare, differences};
pub use digest::digest;
pub use find::{FindError, find};
pub use key::{KeyError, Keys};
pub use list::{Since, SinceError, Which, run_json, standing};
pub use run::{Name, ReadRun, Series};
pub use select::{Selected, family, select};
