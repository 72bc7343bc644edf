//! `serve`: a page over a store, and where asked for a gateway into it.

mod keys;
mod open;
mod tunnel;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::interrupt;
use super::say::complain;
use super::store::StoreArg;
use crate::serve::{Keys, KeysError, Limits, Options, ServeError, Server};
pub use keys::KeyVerb;

/// The port of those who name none: GRPO on a telephone's keys.
const PORT: u16 = 4776;

/// How many ports from there on are tried.
const PORTS: u16 = 10;

/// Show a store in the browser, while trainings write to it
///
/// Prints the address of the page, and serves it until Ctrl-C. The page needs no network: over ssh, `ssh -L` is enough. The address has a
/// token that lets one browser in; the next one comes in by an address that is printed then.
///
/// The store is only read, unless --gateway takes rows from other machines.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXIT_CODES)]
#[allow(clippy::doc_markdown, clippy::struct_excessive_bools)] // clap prints these docs as they are; a flag each
pub struct ServeArgs {
    #[command(subcommand)]
    pub verb: Option<ServeVerb>,
    #[command(flatten)]
    pub store: StoreArg,
    /// Open the page in this machine's browser
    #[arg(long)]
    pub open: bool,
    /// The port [default: 4776, or the next that is free]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// The address to listen at, such as 0.0.0.0 for all of this machine; another than loopback needs --cert and --key, or --insecure
    /// [default: 127.0.0.1]
    #[arg(
        long,
        value_name = "ADDRESS",
        visible_alias = "host",
        value_parser = address,
        hide_default_value = true
    )]
    pub bind: Option<Bind>,
    /// A name by which browsers may ask for the page besides localhost and the address; may be given several times
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    pub host_name: Vec<String>,
    /// Let everybody read who reaches the page; on loopback only, where that is everybody on this machine
    #[arg(long)]
    pub no_token: bool,
    /// TLS: a file in PEM with the server's certificate, and those that vouch for it
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// TLS: a file in PEM with the certificate's private key
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Listen where others can connect without TLS
    #[arg(long)]
    pub insecure: bool,
    /// Take rows from EvSys's clients, such as trainings on other machines, with keys of `serve key new`
    #[arg(long)]
    pub gateway: bool,
    /// The most requests a second that the gateway takes with one key
    #[arg(
        long,
        value_name = "N",
        requires = "gateway",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub rate: Option<u32>,
}

/// What else there is to do for a page.
#[derive(Clone, Debug, Subcommand)]
pub enum ServeVerb {
    /// Make, list or revoke the keys by which programs read and write
    ///
    /// They stand as digests in STORE.keys, beside the store. A server that runs knows a new key, and forgets one that is revoked, at once.
    #[command(subcommand)]
    Key(KeyVerb),
}

const EXIT_CODES: &str = "\
Exit codes:
  0  ended by Ctrl-C or SIGTERM, or the keys are as asked for
  1  the server cannot run, or the file of keys cannot be written
  2  what was given cannot be used: an address, a certificate, a store, the name of a key";

/// Where to listen, and how it was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    address: IpAddr,
    /// Where it was given by name.
    name: Option<String>,
}

/// Why nothing is served, or no key made.
#[derive(Debug, thiserror::Error)]
pub enum ServeVerbError {
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Every port that was tried is another's.
    #[error("expected a free port from {PORT} to {}, found none: --port names another", PORT + PORTS - 1)]
    NoPort,
    /// A flag of the page, where a key is made.
    #[error("{flag}: expected it where a page is served, found it beside `serve key`")]
    Flag { flag: &'static str },
    #[error("could not write: {0}")]
    Write(#[from] io::Error),
}

impl ServeVerbError {
    /// Whether it is an output that failed, not what was given.
    #[must_use]
    pub fn is_output(&self) -> bool {
        match self {
            Self::Serve(ServeError::Run(_))
            | Self::Keys(KeysError::Write { .. } | KeysError::NoRandomness)
            | Self::Write(_) => true,
            Self::Serve(ServeError::Gateway(error)) => !error.is_permanent(),
            _ => false,
        }
    }
}

/// Serves the page, or does what `args` says about keys, and writes the address or the keys to `out`.
///
/// # Errors
/// If what was asked for is not safe, the address cannot be had, or a file or `out` refuses.
pub fn run(args: &ServeArgs, out: &mut dyn Write) -> Result<(), ServeVerbError> {
    let store = args.store.path();
    if let Some(ServeVerb::Key(verb)) = &args.verb {
        return match args.given() {
            Some(flag) => Err(ServeVerbError::Flag { flag }),
            None => keys::run(verb, &store, out),
        };
    }
    interrupt::listen();
    let server = bound(args, &store)?;
    let address = server.address();
    writeln!(out, "{address}")?;
    out.flush()?;
    say(args, &store);
    if let Some(tunnel) = tunnel::line(server.port()) {
        complain(&format!(
            "note: from the machine where you sit, `{tunnel}` makes this address work there"
        ));
    }
    let opened = args.open.then(|| open::open(&address));
    server.run(&|| interrupt::came().is_some())?;
    drop(opened);
    Ok(())
}

/// A server that has its address: the port that was named, or one of those from the default one on.
fn bound(args: &ServeArgs, store: &Path) -> Result<Server, ServeVerbError> {
    let at = |port| Server::bind(args.options(store, port));
    if let Some(port) = args.port {
        return Ok(at(port)?);
    }
    for port in PORT..PORT + PORTS {
        match at(port) {
            Err(ServeError::Bind { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => {}
            other => return Ok(other?),
        }
    }
    Err(ServeVerbError::NoPort)
}

/// What somebody may wonder about, or has to know.
fn say(args: &ServeArgs, store: &Path) {
    let shown = store.display();
    if !args.gateway && !store.exists() {
        complain(&format!(
            "note: {shown}: there is no store yet; the page shows it once it is there"
        ));
    }
    if args.gateway && Keys::of(store).list().is_ok_and(|keys| keys.is_empty()) {
        complain(
            "note: nobody has a key, without which nothing is written: `grpo-metrics serve key new NAME` makes one",
        );
    }
    if args.insecure && args.cert.is_none() {
        complain(
            "warning: without TLS, whoever sees the network sees the numbers, the tokens and the keys",
        );
    }
}

impl ServeArgs {
    fn options(&self, store: &Path, port: u16) -> Options {
        let loopback = Bind {
            address: Ipv4Addr::LOCALHOST.into(),
            name: None,
        };
        let bind = self.bind.clone().unwrap_or(loopback);
        let names = self.host_name.iter().chain(&bind.name);
        Options {
            address: SocketAddr::new(bind.address, port),
            host_names: names.cloned().collect(),
            token: !self.no_token,
            certificate: self.cert.clone().zip(self.key.clone()),
            insecure: self.insecure,
            gateway: self.gateway,
            limits: Limits {
                rate: self.rate.unwrap_or(Limits::default().rate),
                ..Limits::default()
            },
            ..Options::of(store.to_owned())
        }
    }

    /// A flag of the page, if any is given.
    fn given(&self) -> Option<&'static str> {
        [
            ("--open", self.open),
            ("--port", self.port.is_some()),
            ("--bind", self.bind.is_some()),
            ("--host-name", !self.host_name.is_empty()),
            ("--no-token", self.no_token),
            ("--cert", self.cert.is_some()),
            ("--insecure", self.insecure),
            ("--gateway", self.gateway),
        ]
        .into_iter()
        .find_map(|(flag, given)| given.then_some(flag))
    }
}

/// A name, without what stands around it in an address.
fn host_name(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && !text.contains([':', '/', '@', '[', ']', ' ']);
    if is_name || text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    Err("expected a name such as gpu.example, without a scheme and a port".to_owned())
}

/// An address, or a name that leads to one.
fn address(text: &str) -> Result<Bind, String> {
    if let Ok(address) = text.parse() {
        return Ok(Bind {
            address,
            name: None,
        });
    }
    let found = (text, 0).to_socket_addrs();
    let address = found.ok().and_then(|mut found| found.next());
    match address {
        Some(address) => Ok(Bind {
            address: address.ip(),
            name: Some(text.to_owned()).filter(|name| name != "localhost"),
        }),
        None => Err(
            "expected an address of this machine such as 127.0.0.1, 0.0.0.0 or a name that leads to one"
                .to_owned(),
        ),
    }
}
