//! That the server ends, to everything that goes on until then.

use tokio::sync::watch::{Receiver, Sender, channel};

/// Says that it ends.
#[derive(Debug)]
pub struct End(Sender<bool>);

/// Hears that it ends.
#[derive(Clone, Debug)]
pub struct Ending(Receiver<bool>);

/// Who says it, and who hears it.
pub fn end() -> (End, Ending) {
    let (say, hear) = channel(false);
    (End(say), Ending(hear))
}

impl End {
    /// Says it, and waits until nobody is left to hear it.
    pub async fn now(self) {
        let _ = self.0.send(true);
        self.0.closed().await;
    }
}

impl Ending {
    /// Waits for it.
    pub async fn comes(&mut self) {
        // Who would say it may be gone, which is the end, too.
        let _ = self.0.wait_for(|ends| *ends).await;
    }
}
