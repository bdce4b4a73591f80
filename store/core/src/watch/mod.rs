//! Watches as values: who watches what, which events reach whom, and what a stream has been told so far (`store.md` section 6).
//!
//! Reading order: `range` (what a watcher looks at), `index` (the watchers of a key), `event` (an event encoded once), `ring`
//! (the recent events that all streams share), `feed` (what publishing does to it), `dispatch` (which streams are woken),
//! `stream` (the watchers of one client stream and how far each has come), `session` (a client's requests and what it is sent),
//! `queue` (what waits for the client), `message` (what goes over the wire). The shell around it, with its tasks and locks, is
//! `watch_hub` of the server; the simulator has another.
//!
//! Nothing here waits: what a session needs of the member around it stands behind `session::Port`.

mod dispatch;
mod event;
mod feed;
mod index;
mod message;
mod queue;
mod range;
mod ring;
mod session;
mod stream;

pub use dispatch::{Look, Wanted, Woken};
pub use event::{Block, Encoded};
pub use feed::{Feed, Published, encode};
pub use index::IntervalIndex;
pub use message::{CONTROL_BYTES, Message, Picked, fragments};
pub use queue::Queue;
pub use range::{KeyRange, RangeEmpty};
pub use ring::{Limits, Ring};
pub use session::{Handled, Next, Port, Session};
pub use stream::{
    Admitted, Created, Delivery, MESSAGE_REVISIONS_MAX, NO_WATCH_ID, Now, Progress, Progressed, Rejection, Removed,
    Stream,
};
