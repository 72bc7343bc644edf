//! The file: the page's document with its styles, its scripts and the data in it, under a policy by which nothing is loaded from anywhere.

use std::io::{self, BufWriter, Write};

use ring::digest::{SHA256, digest};
use serde::Serialize;

use crate::serve::answer::Kind;
use crate::serve::page;

/// Where the data comes in the document.
const DATA: &str = "<!-- data -->";

/// Writes the document with `data` in it.
pub(super) fn write(data: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let document = document();
    let (before, after) = document.split_once(DATA).unwrap_or((&document, ""));
    let mut out = BufWriter::new(out);
    out.write_all(before.as_bytes())?;
    serde_json::to_writer(Harmless(&mut out), data)?;
    out.write_all(after.as_bytes())?;
    out.flush()
}

fn document() -> String {
    let style: String = texts(Kind::Style).map(|(_, text)| text).collect();
    let library = text(page::LIBRARY);
    let first = text(page::FIRST);
    let map = page::import_map(|name| {
        format!(
            "data:text/javascript;base64,{}",
            page::base64(text(name).as_bytes())
        )
    });
    let policy = format!(
        "default-src 'none'; script-src data: {}; style-src {}; img-src data:; base-uri 'none'; form-action 'none'",
        [library, &map, first].map(hash).join(" "),
        hash(&style),
    );
    let styles = format!(
        r#"<meta http-equiv="Content-Security-Policy" content="{policy}"><style>{style}</style>"#
    );
    let scripts = format!(
        r#"<script type="application/json" id="data">{DATA}</script><script>{library}</script><script type="importmap">{map}</script><script type="module">{first}</script>"#
    );
    page::document(&styles, &scripts)
}

fn texts(kind: Kind) -> impl Iterator<Item = (&'static str, &'static str)> {
    page::names(kind).map(|name| (name, text(name)))
}

/// A file of the page; each is text, and there.
fn text(name: &str) -> &'static str {
    let found = page::asset(name).and_then(|(_, bytes)| std::str::from_utf8(bytes).ok());
    found.unwrap_or_default()
}

/// What a policy calls a script or a style by that stands in the document.
fn hash(text: &str) -> String {
    let sum = digest(&SHA256, text.as_bytes());
    format!("'sha256-{}'", page::base64(sum.as_ref()))
}

/// JSON in which no text can end the element that it stands in: `<` only occurs in its strings, where it has another spelling.
struct Harmless<W>(W);

impl<W: Write> Write for Harmless<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for (nth, part) in bytes.split(|byte| *byte == b'<').enumerate() {
            if nth > 0 {
                self.0.write_all(b"\\u003c")?;
            }
            self.0.write_all(part)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_the_element_of_the_data() {
        let hostile = "</script><script>alert(1)</script><!--<script>";
        let mut file = Vec::new();
        write(&[hostile], &mut file).unwrap();
        let file = String::from_utf8(file).unwrap();
        let (_, rest) = file.split_once(r#"id="data">"#).unwrap();
        let (data, _) = rest.split_once("</script>").unwrap();
        assert_eq!(
            serde_json::from_str::<[String; 1]>(data).unwrap(),
            [hostile]
        );
        assert!(!data.contains('<'));
    }

    #[test]
    fn what_stands_in_the_document_ends_no_element_of_its_own() {
        for kind in [Kind::Script, Kind::Style] {
            for (name, text) in texts(kind) {
                assert!(
                    !text.is_empty() && !text.contains("</s") && !text.contains("<!--"),
                    "{name}"
                );
            }
        }
        assert_eq!(document().matches(DATA).count(), 1);
    }

    #[test]
    fn the_document_asks_for_nothing() {
        let document = document();
        assert!(
            !document.contains("assets/")
                && !document.contains("src=")
                && !document.contains("http://")
        );
        assert!(document.contains("default-src 'none'; script-src data: 'sha256-"));
    }
}
