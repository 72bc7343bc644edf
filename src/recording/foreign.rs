//! Files that are no recording, told by their first line.

/// How files of other kinds begin that somebody may take for a recording.
const BEGINNINGS: [(&[u8], &str); 8] = [
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF8", "a picture (GIF)"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "a gzipped file: unpack it first"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (
        b"SQLite format 3\0",
        "an SQLite database, as a store of runs is: `grpo-metrics show` reads that",
    ),
    (b"\xff\xfe", "text in UTF-16: write it in UTF-8"),
];

/// `SkyRL`'s dumps, and what `torch.save` writes, as slime does.
const PICKLE: &str = "a pickle, as SkyRL and slime dump their batches: who loads one runs what is in it, so it is not loaded here; \
     `python -m grpo_metrics.convert FILE DIR` takes the numbers out of it and nothing else";

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

/// What a file is that begins so, if that is a pickle: by itself, or in the archive that `torch.save` makes.
pub(super) fn pickle(start: &[u8]) -> Option<&'static str> {
    let name = b"/data.pkl";
    let archived =
        start.starts_with(b"PK\x03\x04") && start.windows(name.len()).any(|at| at == name);
    (archived || matches!(start, [0x80, 2..=5, ..])).then_some(PICKLE)
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

    #[test]
    fn a_pickle_is_told_by_its_first_bytes_with_or_without_its_archive() {
        for start in [&b"\x80\x05\x95"[..], b"PK\x03\x04\0\0archive/data.pklFB"] {
            assert!(pickle(start).is_some_and(|found| found.contains("grpo_metrics.convert")));
        }
        for other in [&b"PK\x03\x04\0\0sheet.xml"[..], b"{\"step\": 1}", b""] {
            assert_eq!(pickle(other), None);
        }
    }
}
