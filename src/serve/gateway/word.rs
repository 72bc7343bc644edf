//! Words of clients: as they are said back, and what they were probably meant to be.

/// How much of one is said back.
const SAID: usize = 60;

/// The beginning of what a client said.
pub(super) fn said(text: &str) -> String {
    let mut said: String = text.chars().take(SAID).collect();
    if said.len() < text.len() {
        said.push_str("...");
    }
    said
}

/// The known name that `name` was probably meant to be. One of a megabyte was meant to be none.
pub(super) fn nearest(
    name: &str,
    known: impl IntoIterator<Item = &'static str>,
) -> Option<&'static str> {
    const ALIKE: f64 = 0.6;
    if name.len() > 100 {
        return None;
    }
    let alike = |known: &str| strsim::normalized_damerau_levenshtein(name, known);
    known
        .into_iter()
        .map(|known| (alike(known), known))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}
