//! The one thread that owns the model, and the handle a front end talks to it with.

pub mod protocol;

pub use protocol::*;

/// Handle to the worker thread. Dropping it ends the thread.
pub struct Worker {}

impl Worker {
    /// Start the thread. `wake` is called, from the thread, after each new event: a window requests a repaint.
    pub fn spawn(wake: impl Fn() + Send + Sync + 'static) -> Self {
        let _ = Box::new(wake);
        Self {}
    }

    /// Put a request into its slot; the newest wins. Never blocks.
    pub fn send(&self, request: Request) -> RequestId {
        let _ = request.slot();
        0
    }

    /// Stop what a slot is doing.
    pub fn cancel(&self, slot: Slot) {
        let _ = slot;
    }

    /// Events since the last poll: the newest per topic, oldest first. Never blocks.
    pub fn poll(&self) -> Vec<Event> {
        Vec::new()
    }
}
