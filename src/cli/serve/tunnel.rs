//! How the page is reached from where somebody sits who came over ssh.

use std::env;

/// The command that brings the port there; none for who sits at this machine.
pub fn line(port: u16) -> Option<String> {
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    of(
        &variable("SSH_CONNECTION")?,
        variable("USER").or_else(|| variable("LOGNAME")),
        port,
    )
}

/// `connection` as ssh says it: the client's address and port, the server's address and port.
fn of(connection: &str, user: Option<String>, port: u16) -> Option<String> {
    let mut parts = connection.split_whitespace().skip(2);
    let (host, listens) = (parts.next()?, parts.next()?);
    let at = if listens == "22" {
        String::new()
    } else {
        format!("-p {listens} ")
    };
    let user = user.map_or_else(String::new, |user| format!("{user}@"));
    Some(format!(
        "ssh -N -L {port}:127.0.0.1:{port} {at}{user}{host}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tunnel_leads_to_where_ssh_came_in() {
        let of = |connection, user: Option<&str>| of(connection, user.map(str::to_owned), 4776);
        assert_eq!(
            of("10.0.0.9 50022 10.0.0.7 22", Some("me")).unwrap(),
            "ssh -N -L 4776:127.0.0.1:4776 me@10.0.0.7"
        );
        assert_eq!(
            of("2001:db8::9 50022 2001:db8::7 2222", None).unwrap(),
            "ssh -N -L 4776:127.0.0.1:4776 -p 2222 2001:db8::7"
        );
        assert_eq!(of("10.0.0.9", None), None);
    }
}
