//! The socket: who connects, for how long, and how it ends.

mod crowd;
mod patient;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::access::{Access, Hosts, Peer};
use super::ending::{Ending, end};
use super::gateway::Gateway;
use super::keys::Keys;
use super::read::Reader;
use super::route::Routes;
use super::secret::secret;
use super::tls::Tls;
use super::{Limits, Options, ServeError};
use crate::store::StoreError;
use crowd::{Crowd, Guest};
use patient::Patient;

/// How often it is asked whether to end.
const ASKED: Duration = Duration::from_millis(100);

/// How long requests that are under way have when it ends.
const GRACE: Duration = Duration::from_secs(5);

/// The most bytes of a connection that are held for what comes next: more than its headers may have.
const BUFFER: usize = 64 << 10;

/// How many threads may block besides those that read the store: for keys, and for who asks whether rows were stored.
const OTHER_THREADS: usize = 8;

/// A server that has its address, and answers once it runs.
#[derive(Debug)]
pub struct Server {
    options: Options,
    listener: TcpListener,
    tls: Option<Tls>,
    routes: Arc<Routes>,
    process: String,
}

impl Server {
    /// Takes the address, and opens the store where it is to be written.
    ///
    /// # Errors
    /// If what was asked for is not safe, the address or the certificate cannot be had, or the store cannot be opened.
    pub fn bind(options: Options) -> Result<Self, ServeError> {
        options.check()?;
        let tls = options.certificate.as_ref().map(Tls::of).transpose()?;
        let bound = |source| ServeError::Bind {
            address: options.address,
            source,
        };
        let listener = TcpListener::bind(options.address).map_err(bound)?;
        listener.set_nonblocking(true).map_err(bound)?;
        let address = listener.local_addr().map_err(bound)?;
        let gateway = options.gateway.then(|| Gateway::open(&options.store));
        let gateway = gateway
            .transpose()
            .map_err(|source: StoreError| ServeError::Gateway(source))?;
        let access = Access::new(
            Hosts::of(&options.host_names),
            Keys::of(&options.store),
            options.token,
            tls.is_some(),
        )?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let host = host(&options, address.ip());
        let base = format!("{scheme}://{host}:{}/", address.port());
        let reader = Reader::new(options.store.clone());
        let limits = options.limits.clone();
        Ok(Self {
            routes: Arc::new(Routes::new(access, reader, gateway, limits, base)),
            options,
            listener,
            tls,
            process: secret()?.chars().take(8).collect(),
        })
    }

    /// The address to open, with the token that lets one browser in.
    #[must_use]
    pub fn address(&self) -> String {
        self.routes.address()
    }

    /// The port that was taken.
    #[must_use]
    pub fn port(&self) -> u16 {
        let address = self.listener.local_addr();
        address.unwrap_or(self.options.address).port()
    }

    /// Answers until `until` says that it is enough, which it is asked ten times a second. What is under way then has five seconds.
    ///
    /// # Errors
    /// If the system has no room for a server.
    pub fn run(self, until: &dyn Fn() -> bool) -> Result<(), ServeError> {
        let limits = &self.options.limits;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(limits.reading + OTHER_THREADS)
            .build()
            .map_err(ServeError::Run)?;
        let served = runtime.block_on(self.serve(until));
        // A thread that still reads the store is not waited for.
        runtime.shutdown_timeout(Duration::from_millis(500));
        served
    }

    async fn serve(&self, until: &dyn Fn() -> bool) -> Result<(), ServeError> {
        let listener = self.listener.try_clone().map_err(ServeError::Run)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(ServeError::Run)?;
        let (end, ending) = end();
        let crowd = Arc::new(Crowd::of(self.options.limits.connections));
        let routes = Arc::clone(&self.routes);
        let (reader, process) = (Arc::clone(&routes.reader), self.process.clone());
        tokio::spawn(async move { routes.events.watch(reader, &process).await });
        let accepting = async {
            loop {
                match listener.accept().await {
                    Ok((stream, from)) => self.begin(stream, from.ip(), &crowd, &ending),
                    // Of a client that has gone again, or of too many files: the next one may do better.
                    Err(error) => {
                        tracing::warn!("a connection could not be taken: {error}");
                        sleep(ASKED).await;
                    }
                }
            }
        };
        let asking = async {
            while !until() {
                sleep(ASKED).await;
            }
        };
        tokio::select! {
            () = accepting => {}
            () = asking => {}
        }
        drop(listener);
        // Every connection hears it, and so would this function.
        drop(ending);
        let _ = timeout(GRACE, end.now()).await;
        Ok(())
    }

    /// Serves a connection, if there is room for it.
    fn begin(&self, stream: TcpStream, from: IpAddr, crowd: &Arc<Crowd>, ending: &Ending) {
        let Some(guest) = Crowd::enter(crowd) else {
            // Only what fits at once is said: nobody waits for it.
            const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            if self.tls.is_none() {
                let _ = stream.try_write(FULL);
            }
            return;
        };
        let to = stream
            .local_addr()
            .map_or(self.options.address.ip(), |to| to.ip());
        let _ = stream.set_nodelay(true);
        let connection = Connection {
            peer: Peer { from, to },
            guest: Arc::new(guest),
            routes: Arc::clone(&self.routes),
            ending: ending.clone(),
            limits: self.options.limits.clone(),
        };
        let tls = self.tls.clone();
        tokio::spawn(async move {
            let Some(tls) = tls else {
                return connection.serve(stream).await;
            };
            let guest = Arc::clone(&connection.guest);
            tokio::select! {
                shaken = timeout(connection.limits.header_time, tls.accept(stream)) => {
                    if let Ok(Some(stream)) = shaken {
                        connection.serve(stream).await;
                    }
                }
                () = guest.asked_to_leave() => {}
            }
        });
    }
}

/// One that is served.
struct Connection {
    peer: Peer,
    guest: Arc<Guest>,
    routes: Arc<Routes>,
    ending: Ending,
    limits: Limits,
}

impl Connection {
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self {
            peer,
            guest,
            routes,
            mut ending,
            limits,
        } = self;
        let told = ending.clone();
        let leaving = Arc::clone(&guest);
        let service = service_fn(move |request| {
            let (routes, told) = (Arc::clone(&routes), told.clone());
            // Busy until the answer is made, and where it goes on, until that ends.
            let busy = Arc::new(Guest::busy(&guest));
            async move {
                let answer = routes.answer(request, peer, told, Arc::clone(&busy)).await;
                drop(busy);
                Ok::<_, std::convert::Infallible>(answer)
            }
        });
        let stream = TokioIo::new(Patient::new(stream, limits.request_time));
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_time)
            .max_header_size(limits.headers)
            .max_buf_size(BUFFER.max(limits.headers))
            .serve_connection(stream, service);
        let mut serving = std::pin::pin!(serving);
        // How a connection ends is its client's affair.
        tokio::select! {
            _ = serving.as_mut() => {}
            () = leaving.asked_to_leave() => {}
            () = ending.comes() => {
                serving.as_mut().graceful_shutdown();
                let _ = timeout(GRACE, serving).await;
            }
        }
    }
}

/// The host of the address to print: loopback is reached from this machine alone, whatever names it has elsewhere.
fn host(options: &Options, ip: IpAddr) -> String {
    let named = options.host_names.first();
    match named.filter(|_| !ip.to_canonical().is_loopback()) {
        Some(name) => name
            .parse()
            .map_or_else(|_| name.clone(), |ip: IpAddr| in_an_address(ip)),
        None => in_an_address(reached_at(ip)),
    }
}

fn in_an_address(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// At which address one is reached: where it is all of this machine's, at the one that leads out of it.
fn reached_at(ip: IpAddr) -> IpAddr {
    let out = |any: IpAddr, there: IpAddr| -> io::Result<IpAddr> {
        // Nothing is sent: the system only says from where it would be.
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((there, 9))?;
        Ok(socket.local_addr()?.ip())
    };
    match ip {
        IpAddr::V4(any) if any.is_unspecified() => {
            let documentation = Ipv4Addr::new(192, 0, 2, 1);
            out(ip, documentation.into()).unwrap_or(Ipv4Addr::LOCALHOST.into())
        }
        IpAddr::V6(any) if any.is_unspecified() => {
            let documentation = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
            out(ip, documentation.into()).unwrap_or(Ipv6Addr::LOCALHOST.into())
        }
        ip => ip,
    }
}
