//! Names of reward components: each one's own.

use std::borrow::Cow;
use std::collections::HashSet;

use super::Values;

/// Gives a component whose name another has already a name of its own (`a`, then `a_2`): none is left out. Which those
/// were, each with its new name.
pub(super) fn set_apart(components: &mut [(Cow<'_, str>, Values<'_>)]) -> Vec<(String, String)> {
    let mut renamed = Vec::new();
    for at in repeated(components) {
        let name = components[at].0.to_string();
        let is_free = |own: &String| components.iter().all(|(other, _)| other != own);
        let mut numbered = (2_u64..).map(|nth| format!("{name}_{nth}"));
        if let Some(own) = numbered.find(is_free) {
            components[at].0 = Cow::Owned(own.clone());
            renamed.push((name, own));
        }
    }
    renamed
}

/// Where those stand whose name stands further ahead already.
fn repeated(components: &[(Cow<'_, str>, Values<'_>)]) -> Vec<usize> {
    if components.len() < 2 {
        return Vec::new();
    }
    let mut seen = HashSet::with_capacity(components.len());
    let mut again = Vec::new();
    for (at, (name, _)) in components.iter().enumerate() {
        if !seen.insert(&**name) {
            again.push(at);
        }
    }
    again
}
