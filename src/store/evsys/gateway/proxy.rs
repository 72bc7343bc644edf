//! The proxy on the way to the gateway, if there is one.

use std::env;
use std::net::IpAddr;

use ureq::Proxy;
use ureq::http::Uri;

/// The proxy that the environment names for `url`: none on the way to this machine, nor to a host that `NO_PROXY` lists.
pub(super) fn proxy(url: &str) -> Option<Proxy> {
    let url: Uri = url.parse().ok()?;
    let host = host(&url)?;
    let default = if url.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    let port = url.port_u16().unwrap_or(default);
    let lists = ["NO_PROXY", "no_proxy"].map(|name| env::var(name).unwrap_or_default());
    let direct = is_here(host) || lists.iter().any(|list| is_listed(list, host, port));
    if direct { None } else { Proxy::try_from_env() }
}

/// A URL's host, an IPv6 address without its brackets.
pub(super) fn host(url: &Uri) -> Option<&str> {
    let host = url.host()?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    Some(bare.unwrap_or(host))
}

/// Whether a host is this machine, by name or by address: what goes there crosses no network.
pub(super) fn is_here(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Whether a list as in `NO_PROXY` has a host: by its name or a domain of it (with or without `.` or `*.` before it), by its address
/// or a network of it (`10.0.0.0/8`), each perhaps with a port; `*` is every host.
fn is_listed(list: &str, host: &str, port: u16) -> bool {
    let host = host.to_ascii_lowercase();
    let entries = list
        .split([',', ' '])
        .map(str::trim)
        .filter(|entry| !entry.is_empty());
    entries.map(str::to_ascii_lowercase).any(|entry| {
        let with_port = format!(":{port}");
        let entry = entry.strip_suffix(&with_port).unwrap_or(&entry);
        let bare = entry
            .strip_prefix('[')
            .and_then(|entry| entry.strip_suffix(']'));
        let entry = bare.unwrap_or(entry);
        if entry == "*" || entry == host {
            return true;
        }
        if let Ok(address) = host.parse() {
            return is_within(entry, address);
        }
        let domain = entry.trim_start_matches('*').trim_start_matches('.');
        let before = host.strip_suffix(domain);
        !domain.is_empty()
            && before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    })
}

/// Whether a network as `10.0.0.0/8` has an address.
fn is_within(network: &str, address: IpAddr) -> bool {
    let Some((first, bits)) = network.split_once('/') else {
        return network.parse() == Ok(address);
    };
    // The bits that count are those that are left when the others are shifted out.
    let same = |first: u128, address: u128, of: u32| {
        let bits = bits.parse::<u32>().ok().filter(|bits| *bits <= of);
        bits.is_some_and(|bits| (first ^ address).checked_shr(of - bits).unwrap_or(0) == 0)
    };
    match (first.parse(), address) {
        (Ok(IpAddr::V4(first)), IpAddr::V4(address)) => {
            same(first.to_bits().into(), address.to_bits().into(), 32)
        }
        (Ok(IpAddr::V6(first)), IpAddr::V6(address)) => {
            same(first.to_bits(), address.to_bits(), 128)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_this_machine_by_its_whole_name_or_address() {
        for here in [
            "localhost",
            "LocalHost",
            "127.0.0.1",
            "127.8.9.1",
            "::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in [
            "localhost.evil.invalid",
            "127.evil.invalid",
            "127.0.0.1.evil.invalid",
            "10.0.0.1",
            "::2",
            "",
        ] {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn no_proxy_lists_hosts_domains_addresses_and_networks() {
        for (list, host) in [
            ("*", "a.example"),
            ("x, a.example", "A.example"),
            ("x a.example", "a.example"),
            ("example", "a.example"),
            (".example", "a.example"),
            ("*.example", "a.example"),
            (".a.example", "a.example"),
            ("a.example:8000", "a.example"),
            ("10.0.0.0/8", "10.2.3.4"),
            ("0.0.0.0/0", "10.2.3.4"),
            ("10.2.3.4/32", "10.2.3.4"),
            ("10.2.3.4:8000", "10.2.3.4"),
            ("fd00::/8", "fd12::1"),
            ("::/0", "fd12::1"),
            ("[fd12::1]:8000", "fd12::1"),
            ("FD12:0::1", "fd12::1"),
        ] {
            assert!(is_listed(list, host, 8000), "{list}: {host}");
        }
        for (list, host) in [
            ("", "a.example"),
            (",., ,", "a.example"),
            ("xample", "a.example"),
            ("b.a.example", "a.example"),
            ("a.example:1", "a.example"),
            ("10.0.0.0/8", "11.2.3.4"),
            ("10.0.0.0/33", "10.0.0.0"),
            ("10.0.0.0/x", "10.0.0.0"),
            ("3.4", "10.2.3.4"),
            ("fd00::/8", "fe00::1"),
        ] {
            assert!(!is_listed(list, host, 8000), "{list}: {host}");
        }
    }
}
