//! Where an answer points, and whether the key may go there.

use ureq::http::Uri;

/// `location` as it was said in an answer from `from`: whole, or from the root or the folder of it (RFC 9110, 10.2.2).
pub(super) fn absolute(from: &str, location: &str) -> String {
    let Some((scheme, rest)) = from.split_once("://") else {
        return location.to_owned();
    };
    if location.contains("://") {
        return location.to_owned();
    }
    let root = rest.find('/').unwrap_or(rest.len());
    let folder = rest.rfind('/').map_or(rest.len(), |last| last + 1);
    match location.as_bytes() {
        [b'/', b'/', ..] => format!("{scheme}:{location}"),
        [b'/', ..] => format!("{scheme}://{}{location}", &rest[..root]),
        _ => format!("{scheme}://{}{location}", &rest[..folder]),
    }
}

/// Whether `to` is the host of `from` behind TLS, where its certificate says that it is the same; its port may differ, as that of
/// http does from that of https.
pub(super) fn same_host_behind_tls(from: &str, to: &str) -> bool {
    let (Ok(from), Ok(to)) = (from.parse::<Uri>(), to.parse::<Uri>()) else {
        return false;
    };
    let same = |a: &str| to.host().is_some_and(|b| a.eq_ignore_ascii_case(b));
    // A user's name in it is a disguise, or somebody else's password.
    let plain = to.authority().is_some_and(|to| !to.as_str().contains('@'));
    to.scheme_str() == Some("https") && plain && from.host().is_some_and(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_whole_or_from_the_root_or_the_folder_of_what_was_asked() {
        let from = "http://host:1/base/data";
        for (location, expected) in [
            ("https://other/x", "https://other/x"),
            ("//other/x", "http://other/x"),
            ("/x", "http://host:1/x"),
            ("x/", "http://host:1/base/x/"),
            ("", "http://host:1/base/"),
        ] {
            assert_eq!(absolute(from, location), expected);
        }
    }

    #[test]
    fn the_key_goes_to_the_same_host_behind_tls_and_nowhere_else() {
        let from = "http://me:word@Host.example:8000/data";
        for fine in ["https://host.example/x", "HTTPS://HOST.example:8443/data"] {
            assert!(same_host_behind_tls(from, fine), "{fine}");
        }
        for other in [
            "http://host.example/data",
            "https://host.example.evil.invalid/",
            "https://evil.invalid/host.example",
            "https://host.example@evil.invalid/",
            "https://me:word@host.example/",
            "https://host.example\\@evil.invalid/",
            "ftp://host.example/",
            "https:///host.example",
            "https://",
            "",
        ] {
            assert!(!same_host_behind_tls(from, other), "{other}");
        }
    }
}
