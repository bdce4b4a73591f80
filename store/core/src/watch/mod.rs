//! Watches as values: who watches what, which events reach whom, and what a stream has been told so far (`store.md` section 6).
//!
//! Reading order: `range` (what a watcher looks at), `index` (the watchers of a key), `event` (an event encoded once), `ring`
//! (the recent events that all streams share), `stream` (the watchers of one client stream and how far each has come),
//! `message` (what goes over the wire). The shell around it, with its tasks and queues, is `watch_hub` of the server.
//!
//! Nothing here waits or reads the store: a stream says from which revision it needs events, and is handed them.

mod event;
mod index;
mod message;
mod range;
mod ring;
mod stream;

pub use event::{Block, Encoded};
pub use index::IntervalIndex;
pub use message::{CONTROL_BYTES, Message, Picked, fragments};
pub use range::{KeyRange, RangeEmpty};
pub use ring::{Limits, Ring};
pub use stream::{
    Admitted, Created, Delivery, MESSAGE_REVISIONS_MAX, NO_WATCH_ID, Now, Progress, Progressed, Rejection, Removed,
    Stream,
};
