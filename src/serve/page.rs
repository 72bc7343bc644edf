//! The page itself: its files, which are in the command, and the document that names them.

use std::sync::OnceLock;

use hyper::body::Bytes;
use hyper::header::HeaderValue;
use ring::digest::{SHA256, digest};
use serde_json::json;

use super::answer::Kind;

macro_rules! files {
    ($($name:literal $kind:ident)*) => {
        &[$(($name, Kind::$kind, include_bytes!(concat!("page/", $name)))),*]
    };
}

/// Every file of the page. A script but `uplot.js` is a module, which others import by its name without the ending.
const FILES: &[(&str, Kind, &[u8])] = files! {
    "uplot.css" Style
    "style.css" Style
    "uplot.js" Script
    "main.js" Script
    "address.js" Script
    "compare.js" Script
    "dom.js" Script
    "form.js" Script
    "heat.js" Script
    "plot.js" Script
    "run.js" Script
    "runs.js" Script
    "source.js" Script
    "spark.js" Script
    "step.js" Script
};

const INDEX: &str = include_str!("page/index.html");

/// Whose script stands by itself: it makes the global `uPlot`.
pub const LIBRARY: &str = "uplot.js";

/// The module that begins.
pub const FIRST: &str = "main.js";

/// A file of the page.
pub fn asset(name: &str) -> Option<(Kind, &'static [u8])> {
    let found = FILES.iter().find(|(called, ..)| *called == name);
    found.map(|(_, kind, bytes)| (*kind, *bytes))
}

/// The names of the files of a kind, in the order in which a document has them.
pub fn names(kind: Kind) -> impl Iterator<Item = &'static str> {
    let of_kind = FILES.iter().filter(move |(_, of, _)| *of == kind);
    of_kind.map(|(name, ..)| *name)
}

/// The document with these elements for its styles and scripts.
pub fn document(styles: &str, scripts: &str) -> String {
    INDEX
        .replace("<!-- styles -->", styles)
        .replace("<!-- scripts -->", scripts)
}

/// What modules import each other by, each at the address that `place` has for it.
pub fn import_map(place: impl Fn(&str) -> String) -> String {
    let modules = names(Kind::Script).filter(|name| *name != LIBRARY);
    let imports = modules.map(|name| (name.trim_end_matches(".js").to_owned(), place(name)));
    let imports: serde_json::Map<_, _> = imports.map(|(name, at)| (name, at.into())).collect();
    json!({ "imports": imports }).to_string()
}

/// The document that is served, and the policy that a browser is to hold it to: nothing but its own files runs, and nothing is
/// asked of another host.
pub fn index() -> (Bytes, HeaderValue) {
    static INDEX: OnceLock<(Bytes, HeaderValue)> = OnceLock::new();
    INDEX.get_or_init(assembled).clone()
}

fn assembled() -> (Bytes, HeaderValue) {
    let styles = names(Kind::Style);
    let styles = styles.map(|name| format!(r#"<link rel="stylesheet" href="assets/{name}">"#));
    let styles: Vec<String> = styles.collect();
    let map = import_map(|name| format!("./assets/{name}"));
    let scripts = format!(
        r#"<script src="assets/{LIBRARY}"></script><script type="importmap">{map}</script><script type="module" src="assets/{FIRST}"></script>"#
    );
    let policy = format!(
        "default-src 'none'; script-src 'self' 'sha256-{}'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        base64(digest(&SHA256, map.as_bytes()).as_ref())
    );
    let policy = HeaderValue::from_str(&policy);
    // It is made of letters that a header may have; a test looks.
    let nothing = HeaderValue::from_static("default-src 'none'");
    (
        document(&styles.concat(), &scripts).into(),
        policy.unwrap_or(nothing),
    )
}

/// As RFC 4648 has it, with padding.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |nth: usize| u32::from(chunk.get(nth).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let six = (bits >> (18 - 6 * digit)) & 63;
            let is_there = digit <= chunk.len();
            text.push(if is_there {
                char::from(DIGITS[six as usize])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_the_rfc_has_it() {
        // RFC 4648, section 10.
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (text, encoded) in vectors {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn every_file_that_the_document_names_is_there_and_every_module_in_the_map() {
        let (document, policy) = index();
        let document = std::str::from_utf8(&document).unwrap();
        let named = document.split("assets/").skip(1);
        let named: Vec<&str> = named.map(|rest| rest.split('"').next().unwrap()).collect();
        assert_eq!(named.iter().filter(|name| asset(name).is_none()).count(), 0);
        for (name, ..) in FILES {
            assert!(named.contains(name), "{name} is in no document");
        }
        assert!(
            policy
                .to_str()
                .unwrap()
                .contains("script-src 'self' 'sha256-")
        );
    }

    #[test]
    fn every_file_of_the_folder_is_served_but_what_is_none_of_the_page() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/serve/page");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_of_the_page = path
                .extension()
                .is_some_and(|ending| ending == "js" || ending == "css");
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(asset(name).is_some(), is_of_the_page, "{name}");
        }
    }
}
