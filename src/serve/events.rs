//! That rows were stored, to whoever listens: server-sent events.
//!
//! One asks the store for all who listen, and nobody asks it while nobody does.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use hyper::StatusCode;
use hyper::body::Bytes;
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::answer::{Answer, Kind, Refused, streamed};
use super::ending::Ending;
use super::read::Reader;

/// How often the store is asked.
const EVERY: Duration = Duration::from_millis(500);

/// How many listen at most.
const LISTENERS: usize = 128;

/// What is said, and by which name whoever connects again says what it heard last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    id: String,
    data: String,
}

#[derive(Debug)]
pub struct Events {
    latest: watch::Sender<Option<Event>>,
    wanted: Notify,
    /// How often something is said where nothing happens, so that who stands between does not hang up, and who has gone is noticed.
    silence: Duration,
}

impl Events {
    pub fn new(silence: Duration) -> Self {
        Self {
            latest: watch::Sender::new(None),
            wanted: Notify::new(),
            silence,
        }
    }

    /// Asks the store as long as anybody listens; never ends. `process` tells this server from one that had the address before.
    pub async fn watch(&self, reader: Arc<Reader>, process: &str) {
        loop {
            while self.latest.receiver_count() == 0 {
                self.wanted.notified().await;
            }
            let asked = Arc::clone(&reader);
            let asked = tokio::task::spawn_blocking(move || asked.change()).await;
            let event = match asked {
                Ok(Ok(change)) => Event {
                    id: format!("{process}-{}", change.state),
                    data: json!({ "newest": change.newest }).to_string(),
                },
                Ok(Err(error)) => wrong(process, &error.to_string()),
                Err(_) => wrong(process, "asking the store went wrong"),
            };
            self.latest.send_if_modified(|latest| {
                let is_new = latest.as_ref() != Some(&event);
                if is_new {
                    *latest = Some(event);
                }
                is_new
            });
            sleep(EVERY).await;
        }
    }

    /// An answer that goes on until who asked goes away or `ending` says so; `place` is kept as long. Who connects again names what it
    /// heard last, and hears it no second time.
    ///
    /// # Errors
    /// If too many listen.
    pub fn listen(
        &self,
        last: Option<String>,
        mut ending: Ending,
        place: impl Send + 'static,
    ) -> Result<Answer, Refused> {
        if self.latest.receiver_count() >= LISTENERS {
            return Err(Refused {
                again: Some(self.silence),
                ..Refused::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("{LISTENERS} pages listen already"),
                )
            });
        }
        let mut latest = self.latest.subscribe();
        latest.mark_changed();
        self.wanted.notify_one();
        let (out, body) = Channel::<Bytes>::new(4);
        let silence = self.silence;
        tokio::spawn(async move {
            let _place = place;
            tokio::select! {
                () = tell(out, latest, last, silence) => {}
                () = ending.comes() => {}
            }
        });
        Ok(streamed(StatusCode::OK, Kind::Events, body.boxed_unsync()))
    }
}

fn wrong(process: &str, why: &str) -> Event {
    Event {
        id: format!("{process}-error"),
        data: json!({ "newest": null, "error": why }).to_string(),
    }
}

/// Ends when nobody hears it any more.
async fn tell(
    mut out: Sender<Bytes>,
    mut latest: watch::Receiver<Option<Event>>,
    mut heard: Option<String>,
    silence: Duration,
) {
    // At once, so that the browser knows that it is connected; and how long it waits where it is not.
    let mut say = ": \nretry: 2000\n\n".to_owned();
    loop {
        if out.send_data(say.into()).await.is_err() {
            return;
        }
        let comment = Instant::now() + silence;
        say = loop {
            tokio::select! {
                changed = latest.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let event = latest.borrow_and_update().clone();
                    if let Some(Event { id, data }) = event && heard.as_ref() != Some(&id) {
                        let text = format!("id: {id}\nevent: change\ndata: {data}\n\n");
                        heard = Some(id);
                        break text;
                    }
                }
                () = sleep_until(comment) => break ": \n\n".to_owned(),
            }
        };
    }
}
