//! What waits on a stream for its client. Whoever fills it makes no more events while it is above its mark, and takes no more
//! requests while answers to earlier ones wait.

use std::collections::VecDeque;

use super::message::Message;

/// A stream with this much waiting gets no more events until its client has read some. Together with one chunk of events it
/// is all that a client that does not read can hold; the events' bytes are shared by the streams they go to.
const WAITING_BYTES_MAX: usize = 256 << 10;

/// Answers to requests (created, canceled) that may wait before the next request is read.
const WAITING_ANSWERS_MAX: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub struct Queue {
    messages: VecDeque<Message>,
    bytes: usize,
    answers: usize,
}

fn is_answer(message: &Message) -> bool {
    message.head.created || message.head.canceled
}

impl Queue {
    pub fn push(&mut self, message: Message) {
        self.bytes += message.charge();
        self.answers += usize::from(is_answer(&message));
        self.messages.push_back(message);
    }

    pub fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.charge();
        self.answers -= usize::from(is_answer(&message));
        Some(message)
    }

    /// Drops the events that wait for a watcher that is no more; how many these were.
    pub fn purge(&mut self, watch_id: i64) -> usize {
        let mut dropped = 0;
        self.messages.retain(|message| {
            let keep = is_answer(message) || message.head.watch_id != watch_id;
            if !keep {
                self.bytes -= message.charge();
                dropped += message.events.len();
            }
            keep
        });
        dropped
    }

    /// Drops everything; how many events that were.
    pub fn clear(&mut self) -> usize {
        let dropped = self.events();
        *self = Queue::default();
        dropped
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Events that wait.
    pub fn events(&self) -> usize {
        self.messages.iter().map(|message| message.events.len()).sum()
    }

    pub fn has_room(&self) -> bool {
        self.bytes < WAITING_BYTES_MAX
    }

    pub fn takes_requests(&self) -> bool {
        self.answers < WAITING_ANSWERS_MAX
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_api::etcdserverpb as pb;

    use super::*;
    use crate::watch::Picked;

    fn message(watch_id: i64, canceled: bool, bytes: usize) -> Message {
        let events = vec![Picked { body: Bytes::from(vec![0; bytes]), previous: None }];
        let events = if canceled { Vec::new() } else { events };
        Message { head: pb::WatchResponse { watch_id, canceled, ..Default::default() }, events }
    }

    #[test]
    fn a_purge_drops_the_events_of_one_watcher_and_keeps_what_answers_it() {
        let mut queue = Queue::default();
        let all = [message(1, false, 5), message(2, false, 5), message(1, true, 0), message(1, false, 5)];
        all.iter().cloned().for_each(|message| queue.push(message));
        assert_eq!(queue.purge(1), 2);
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some(all[1].clone()), Some(all[2].clone()), None));
        assert_eq!((queue.bytes, queue.answers), (0, 0));
    }

    #[test]
    fn a_full_queue_has_room_again_once_the_client_has_read() {
        let mut queue = Queue::default();
        queue.push(message(1, false, WAITING_BYTES_MAX));
        assert!(!queue.has_room() && queue.takes_requests());
        queue.pop();
        assert!(queue.has_room());
        (0..WAITING_ANSWERS_MAX).for_each(|_| queue.push(message(1, true, 0)));
        assert!(!queue.takes_requests());
    }
}
