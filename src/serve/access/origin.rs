//! For which name of this server somebody asks, and from which page.
//!
//! A page of another address can have a browser ask here. It is told by what the browser says of it (`Origin`, `Sec-Fetch-Site`), and
//! where it has its own name lead to this machine, by that name (`Host`).

use std::net::IpAddr;

use hyper::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, StatusCode};

use super::super::answer::Refused;

/// The names by which this server may be asked, besides those of loopback and the address that was connected to.
#[derive(Clone, Debug, Default)]
pub struct Hosts(Vec<String>);

impl Hosts {
    pub fn of(names: &[String]) -> Self {
        Self(names.iter().map(|name| plain(name)).collect())
    }

    fn knows(&self, host: &str, to: IpAddr) -> bool {
        let host = plain(host);
        if self.0.contains(&host) || host == "localhost" {
            return true;
        }
        let address = host.parse::<IpAddr>();
        address.is_ok_and(|address| {
            let address = address.to_canonical();
            address.is_loopback() || address == to.to_canonical()
        })
    }
}

/// A name as they are compared: in small letters, without the dot at its end and the brackets of an address.
fn plain(host: &str) -> String {
    let host = host.strip_prefix('[').unwrap_or(host);
    let host = host.strip_suffix(']').unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// The host and port that a request names, if it names one.
pub fn host(headers: &HeaderMap) -> Option<Authority> {
    let mut named = headers.get_all(HOST).iter();
    let (first, None) = (named.next()?, named.next()) else {
        return None;
    };
    let host: Authority = first.to_str().ok()?.parse().ok()?;
    (!host.as_str().contains('@')).then_some(host)
}

/// # Errors
/// If the name is not this server's, or the page another's.
pub fn checked(request: &Parts, hosts: &Hosts, to: IpAddr) -> Result<(), Refused> {
    let Some(named) = host(&request.headers) else {
        return Err(Refused::new(
            StatusCode::BAD_REQUEST,
            "expected one header `Host` with a name and a port",
        ));
    };
    let asked = request.uri.authority();
    if !hosts.knows(named.host(), to) || asked.is_some_and(|asked| *asked != named) {
        return Err(Refused::new(
            StatusCode::MISDIRECTED_REQUEST,
            format!(
                "this server is not asked by the name `{}`: `--host-name` lets it be",
                named.host()
            ),
        ));
    }
    if is_foreign(request, &named) {
        return Err(Refused::new(
            StatusCode::FORBIDDEN,
            "asked by a page of another address, which may not read here",
        ));
    }
    Ok(())
}

fn is_foreign(request: &Parts, named: &Authority) -> bool {
    let said = |name: &str| request.headers.get(name).map(HeaderValue::as_bytes);
    let is_own = |origin: &str| {
        // Where another server stands before this one for TLS, only that one knows.
        let scheme = ["http://", "https://"];
        let mut hosts = scheme
            .iter()
            .filter_map(|scheme| origin.strip_prefix(scheme));
        hosts.any(|host| host.eq_ignore_ascii_case(named.as_str()))
    };
    let mut origins = request.headers.get_all(ORIGIN).iter();
    if origins.any(|origin| !origin.to_str().is_ok_and(is_own)) {
        return true;
    }
    match said("sec-fetch-site") {
        None | Some(b"same-origin" | b"none") => false,
        // A link from elsewhere opens the page; it has no numbers in it, and asks for them itself.
        Some(_) => {
            let is_link = said("sec-fetch-mode") == Some(b"navigate")
                && said("sec-fetch-dest") == Some(b"document");
            !(is_link && request.method == Method::GET && request.uri.path() == "/")
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));

    fn status(path: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let hosts = Hosts::of(&["Gpu.Example".to_owned(), "2001:db8::1".to_owned()]);
        match checked(&head, &hosts, HERE) {
            Ok(()) => 200,
            Err(refused) => refused.status.as_u16(),
        }
    }

    #[test]
    fn names_of_loopback_the_bound_address_and_names_that_were_given_are_this_servers_at_any_port()
    {
        let own = [
            "localhost",
            "localhost:9000",
            "LOCALHOST.:1",
            "127.0.0.1:4776",
            "127.8.9.1",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
            "10.0.0.7:1",
            "gpu.example:4776",
            "GPU.EXAMPLE",
            "[2001:db8::1]:4776",
        ];
        for host in own {
            assert_eq!(status("/api/runs", &[("host", host)]), 200, "{host}");
        }
        let foreign = [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.8",
            "0.0.0.0",
            "2130706433",
            "gpu.example.evil",
        ];
        for host in foreign {
            assert_eq!(status("/api/runs", &[("host", host)]), 421, "{host}");
        }
        for hosts in [
            &[][..],
            &[("host", "")],
            &[("host", "a b")],
            &[("host", "x@localhost")],
            &[("host", "localhost"), ("host", "localhost")],
        ] {
            assert_eq!(status("/", hosts), 400, "{hosts:?}");
        }
        let absolute = "http://evil.example/api/runs";
        assert_eq!(status(absolute, &[("host", "localhost")]), 421);
    }

    #[test]
    fn a_page_of_another_address_may_link_to_the_page_and_nothing_else() {
        let host = ("host", "localhost:9000");
        let with = |path: &str, more: &[(&str, &str)]| status(path, &[&[host], more].concat());
        for origin in ["http://localhost:9000", "https://LOCALHOST:9000"] {
            assert_eq!(with("/api/runs", &[("origin", origin)]), 200, "{origin}");
        }
        for origin in [
            "null",
            "http://localhost:9001",
            "http://localhost",
            "http://127.0.0.1:9000",
            "http://evil.example",
            "ftp://localhost:9000",
            "localhost:9000",
            "",
        ] {
            assert_eq!(with("/api/runs", &[("origin", origin)]), 403, "{origin}");
        }
        let from = |site| ("sec-fetch-site", site);
        let link = [
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        let frame = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
        for site in ["same-origin", "none"] {
            assert_eq!(with("/api/runs", &[from(site)]), 200);
        }
        for site in ["same-site", "cross-site", "?"] {
            assert_eq!(with("/api/runs", &[from(site)]), 403);
            assert_eq!(with("/", &[from(site)]), 403);
            assert_eq!(with("/", &[from(site), link[0], link[1]]), 200);
            assert_eq!(with("/?token=1", &[from(site), link[0], link[1]]), 200);
            assert_eq!(with("/api/runs", &[from(site), link[0], link[1]]), 403);
            assert_eq!(with("/", &[from(site), frame[0], frame[1]]), 403);
        }
    }
}
