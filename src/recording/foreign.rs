//! Files that are no recording, told by their first line.

/// How files of other kinds begin that somebody may take for a recording.
const BEGINNINGS: [(&[u8], &str); 9] = [
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF8", "a picture (GIF)"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "a gzipped file: unpack it first"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"PAR1", "a Parquet file"),
    (
        b"SQLite format 3\0",
        "an SQLite database, as a store of runs is: `grpo-metrics show` reads that",
    ),
    (b"\xff\xfe", "text in UTF-16: write it in UTF-8"),
];

/// What a file is whose first line is no record, where that is clear.
pub(super) fn what(line: &[u8]) -> Option<&'static str> {
    let begun = BEGINNINGS.iter().find(|(begin, _)| line.starts_with(begin));
    if let Some((_, found)) = begun {
        return Some(found);
    }
    let is_text = |line: &[u8]| {
        let blank = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r');
        let acts = |byte: &u8| byte.is_ascii_control() && !blank(byte);
        std::str::from_utf8(line).is_ok() && !line.iter().any(acts)
    };
    if !is_text(line) {
        return Some("bytes that are no text");
    }
    let has = |name: &[u8]| line.windows(name.len()).any(|at| at == name);
    let of_a_record = [&b"\"batch\""[..], b"\"rank\"", b"\"world_size\""];
    let is_row = line.starts_with(b"{") && has(b"\"step\"") && !of_a_record.into_iter().any(has);
    is_row
        .then_some("a row of a training's metrics: `grpo-metrics forward` brings those to a store")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_recording_is_told_by_its_first_line() {
        assert_eq!(what(b"\x89PNG\r\n"), Some("a picture (PNG)"));
        assert_eq!(what(&[0; 9]), Some("bytes that are no text"));
        assert_eq!(what(b"\xe9t\xe9"), Some("bytes that are no text"));
        let row = what(br#"{"step": 1, "loss": NaN}"#);
        assert!(row.is_some_and(|found| found.contains("forward")));
        assert_eq!(what(br#"{"step": 1, "rank": 0, "loss": 2}"#), None);
        assert_eq!(what("{\"Größe\":\t1}".as_bytes()), None);
    }
}
