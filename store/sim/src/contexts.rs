//! A planted bug: a member that asks for every round of reads with one context. Its shell writes it over the one that the core made, and
//! an answer, to whichever round it is, belongs to the round that began last.

use bytes::{Bytes, BytesMut};
use quorate_core::log::MemberId;

/// On the wire: a question, and its answer (`core/replica/message.rs`).
const ASKS: u8 = 10;
const ANSWERS: u8 = 11;
/// Member and boot, and the counter of rounds behind them (`core/node/read.rs`).
const WHO_BYTES: usize = 16;
const COUNTER_BYTES: usize = 8;
/// No counter comes so far.
const SAME: [u8; COUNTER_BYTES] = [0xff; COUNTER_BYTES];

/// The contexts of a process.
pub struct Contexts {
    who: Vec<u8>,
    newest: Vec<u8>,
}

impl Contexts {
    pub fn new(member: MemberId, boot: u64) -> Contexts {
        Contexts { who: [member, boot].iter().flat_map(|part| part.to_be_bytes()).collect(), newest: Vec::new() }
    }

    /// What leaves the process.
    pub fn outgoing(&mut self, message: Bytes) -> Bytes {
        let Some(counter) = self.counter(ASKS, &message) else { return message };
        self.newest = message[counter..counter + COUNTER_BYTES].to_vec();
        replaced(&message, counter, &SAME)
    }

    /// What comes to it.
    pub fn incoming(&self, message: Bytes) -> Bytes {
        match self.counter(ANSWERS, &message) {
            Some(counter) if !self.newest.is_empty() => replaced(&message, counter, &self.newest),
            _ => message,
        }
    }

    /// Where the counter of a context of this process stands in a message of this kind.
    fn counter(&self, kind: u8, message: &[u8]) -> Option<usize> {
        let is_of_kind = message.first() == Some(&kind);
        let at = message.windows(WHO_BYTES).rposition(|bytes| bytes == self.who).filter(|_| is_of_kind)?;
        (message.len() >= at + WHO_BYTES + COUNTER_BYTES).then_some(at + WHO_BYTES)
    }
}

fn replaced(message: &[u8], at: usize, by: &[u8]) -> Bytes {
    let mut bytes = BytesMut::from(message);
    bytes[at..at + by.len()].copy_from_slice(by);
    bytes.freeze()
}
