//! The key as it goes out: written into a request when all that is logged of it has been.
//!
//! The HTTP library logs every byte of a request at TRACE as it writes it. So the request is written with as many stars as the key has
//! characters, and the connection puts the key in their place.

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

use super::Secret;

/// What stands in a request for the key.
pub(super) fn stars(key: &Secret) -> String {
    format!("Bearer {}", "*".repeat(key.0.len()))
}

/// Puts the key into what goes over the connections made so far.
#[derive(Debug)]
pub(super) struct Signing(pub(super) Secret);

impl<In: Transport> Connector<In> for Signing {
    type Out = Signed<In>;

    fn connect(&self, _: &ConnectionDetails, made: Option<In>) -> Result<Option<Self::Out>, Error> {
        Ok(made.map(|inner| Signed {
            inner,
            key: self.0.clone(),
        }))
    }
}

#[derive(Debug)]
pub(super) struct Signed<In> {
    inner: In,
    key: Secret,
}

impl<In: Transport> Transport for Signed<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if let Some(output) = self.inner.buffers().output().get_mut(..amount) {
            sign(output, &self.key);
        }
        self.inner.transmit_output(amount, timeout)
    }

    fn maybe_await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.maybe_await_input(timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// The header is written whole or not at all, so it is never in two parts; and a body of JSON, which has no bare end of line, never
/// looks like it.
fn sign(output: &mut [u8], key: &Secret) {
    let header = format!("authorization: {}\r\n", stars(key));
    let len = header.len();
    if let Some(at) = output
        .windows(len)
        .position(|part| part == header.as_bytes())
    {
        let end = at + len - "\r\n".len();
        output[end - key.0.len()..end].copy_from_slice(key.0.as_bytes());
    }
}
