//! Advantages by token, as files have them whose trainers spread a completion's over its tokens.

use super::super::field::{Cells, Fields, Owned};

/// Advantages by token, which are those of their completions where every completion's counted tokens have one and the same.
#[derive(Default)]
pub(super) struct Advantages {
    cells: Vec<f32>,
    /// Of a completion whose tokens have several, or none that counts, nothing.
    same: Vec<Option<f64>>,
    vary: bool,
}

impl Advantages {
    pub fn take(&mut self, cells: &[f32], mask: &[u8]) {
        let counted = cells.iter().zip(mask).filter(|(_, counts)| **counts != 0);
        let mut counted = counted.map(|(x, _)| *x);
        let first = counted.next();
        let same = first.is_none_or(|first| counted.all(|x| x.to_bits() == first.to_bits()));
        self.vary |= !same;
        self.same.push(first.filter(|_| same).map(f64::from));
        self.cells.extend_from_slice(cells);
    }

    pub fn into(self, fields: &mut Fields) {
        if self.vary {
            fields.insert("token_advantages", Owned::Tokens(Cells::flat(self.cells)));
        } else if self.same.iter().any(Option::is_some) {
            fields.insert(
                "advantages",
                Owned::Numbers(self.same.into_iter().collect()),
            );
        }
    }
}
