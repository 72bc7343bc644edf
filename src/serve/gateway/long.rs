//! Answers that may be too long for memory: a short one goes out whole, of a long one the beginning goes while the rest is read.

use std::convert::Infallible;
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Bytes, Frame};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time;

use super::refusal::Refusal;
use crate::serve::answer::{Answer, Kind, answer, streamed};
use crate::store::StoreError;

/// Up to here an answer is a short one.
const SHORT: usize = 1 << 20;

/// The parts of a long one, and how many may be on their way.
const PART: usize = 64 << 10;
const ON_THE_WAY: usize = 8;

/// How long one may take to be taken: whoever reads nothing for so long holds up what is to be cleared from the log.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer that is being written. Writing fails where nobody reads it any more.
pub(super) struct Long {
    runtime: Handle,
    written: Vec<u8>,
    /// Whom to tell how it begins; `None` once told.
    first: Option<oneshot::Sender<Result<Answer, Refusal>>>,
    parts: Option<mpsc::Sender<Bytes>>,
}

impl Long {
    pub fn new(runtime: Handle, first: oneshot::Sender<Result<Answer, Refusal>>) -> Self {
        Self {
            runtime,
            written: Vec::new(),
            first: Some(first),
            parts: None,
        }
    }

    /// Sends what was written and is not sent yet.
    fn send(&mut self) -> io::Result<()> {
        if let Some(first) = self.first.take() {
            let (parts, body) = mpsc::channel(ON_THE_WAY);
            self.parts = Some(parts);
            let begun = streamed(StatusCode::OK, Kind::Json, Parts(body).boxed_unsync());
            let _ = first.send(Ok(begun));
        }
        let part = Bytes::from(std::mem::take(&mut self.written));
        let sent = self.parts.as_ref().map(|parts| parts.send(part));
        let Some(sent) = sent else {
            return Ok(());
        };
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        match self
            .runtime
            .block_on(async { time::timeout(PATIENCE, sent).await })
        {
            Ok(sent) => sent.map_err(|_| gone()),
            Err(_) => Err(gone()),
        }
    }

    /// The end: of a short one it is the answer. A long one that could not be read to its end is none, as JSON.
    pub fn end(mut self, outcome: Result<(), StoreError>) {
        let Some(first) = self.first.take() else {
            match outcome {
                Ok(()) => drop(self.send()),
                Err(error) => {
                    tracing::warn!(
                        "an answer of the gateway could not be read to its end: {error}"
                    );
                }
            }
            return;
        };
        let told = match outcome {
            Ok(()) => Ok(answer(StatusCode::OK, Kind::Json, self.written)),
            Err(error) => Err(Refusal::reading(&error)),
        };
        let _ = first.send(told);
    }
}

impl Write for Long {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(bytes);
        let most = if self.first.is_some() { SHORT } else { PART };
        if self.written.len() >= most {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A body whose parts come as they are read.
struct Parts(mpsc::Receiver<Bytes>);

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = self.get_mut().0.poll_recv(cx);
        part.map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}
