//! The frames that wait for one peer, bounded in number and in bytes. What finds no room is dropped: raft sends anew, and a forward
//! goes back to who made it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::Frame;
use crate::memory::{Budget, Charge, Part};

const FRAMES_MAX: usize = 4_096;
/// Entries and commands of the frames; a larger frame waits only alone.
const BYTES_MAX: usize = 64 << 20;

/// The end that frames are put in.
pub(super) struct Queue {
    frames: mpsc::Sender<Queued>,
    bytes: Arc<AtomicUsize>,
}

/// A frame that waits for its peer; small ones cost next to nothing.
pub(super) struct Queued {
    pub frame: Frame,
    _charge: Charge,
    _room: Room,
}

/// The bytes that a frame takes in its queue, as long as it waits.
struct Room {
    of: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Queue {
    pub fn new() -> (Queue, mpsc::Receiver<Queued>) {
        let (frames, receiver) = mpsc::channel(FRAMES_MAX);
        (Queue { frames, bytes: Arc::default() }, receiver)
    }

    /// False when there is no room; the frame is gone then. It is charged to `budget` as long as it waits.
    pub fn push(&self, frame: Frame, budget: &Arc<Budget>) -> bool {
        let bytes = frame.payload_bytes();
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let room = Room { of: self.bytes.clone(), bytes };
        if before > 0 && before + bytes > BYTES_MAX {
            return false;
        }
        let charge = budget.charge(Part::Peers, bytes);
        self.frames.try_send(Queued { frame, _charge: charge, _room: room }).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use quorate_core::node::{Payload, Proposal};

    fn frame(bytes: usize) -> Frame {
        let payload = Payload::Command(Bytes::from(vec![0; bytes]));
        Frame::Refused { proposals: vec![Proposal { id: Default::default(), payload }] }
    }

    #[test]
    fn frames_wait_up_to_a_number_of_bytes_and_a_larger_one_only_alone() {
        let budget = Budget::new(1);
        let (queue, mut receiver) = Queue::new();
        let push = |bytes| queue.push(frame(bytes), &budget);
        // A proposal counts for a little more than its payload.
        let half = BYTES_MAX / 2 - (1 << 10);
        assert!(push(half) && push(half), "both fit");
        assert!(!push(4 << 10), "no room is left");
        drop(receiver.try_recv());
        assert!(push(4 << 10), "there is room again");
        drop((receiver.try_recv(), receiver.try_recv()));
        assert_eq!((queue.bytes.load(Ordering::Relaxed), budget.charged(Part::Peers)), (0, 0), "nothing waits");
        assert!(push(2 * BYTES_MAX) && !push(1), "a large frame waits alone");
    }

    #[test]
    fn frames_without_payload_wait_up_to_a_number() {
        let budget = Budget::new(1);
        let (queue, _receiver) = Queue::new();
        let push = || queue.push(Frame::Ping { sent: 1 }, &budget);
        assert!((0..FRAMES_MAX).all(|_| push()) && !push());
    }
}
