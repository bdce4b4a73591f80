//! What a call holds in memory, charged to the budget: its request until it has ended, its answer while it is built, encoded and sent.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use prost::Message;
use tonic::Response;

use crate::memory::{Budget, Charge, Part};

/// Smaller answers are counted when they are encoded, and are built a moment before.
const BUILT_BYTES_MIN: usize = 64 << 10;

/// The charges of one call.
pub struct Held {
    budget: Arc<Budget>,
    received: Arc<Charge>,
}

/// The charge of an answer that was built and is not encoded yet; travels among the answer's extensions.
#[derive(Clone)]
pub struct Built(#[expect(dead_code, reason = "it counts as long as it lives")] Arc<Charge>);

impl Held {
    pub fn new(budget: &Arc<Budget>) -> Held {
        Held { budget: budget.clone(), received: Arc::new(budget.charge(Part::Requests, 0)) }
    }

    /// Counts what arrives of the request.
    pub fn received(&self) -> Arc<Charge> {
        self.received.clone()
    }

    /// A part of the answer, handed to the connection.
    pub fn sends(&self, bytes: Bytes) -> Sent {
        let charge = self.budget.charge(Part::Answers, bytes.len());
        Sent { bytes, _charge: Some(charge) }
    }
}

/// Bytes that the connection holds until it has written them, however little its client reads.
pub struct Sent {
    bytes: Bytes,
    _charge: Option<Charge>,
}

impl From<Bytes> for Sent {
    /// Not charged to any budget.
    fn from(bytes: Bytes) -> Sent {
        Sent { bytes, _charge: None }
    }
}

impl Buf for Sent {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        self.bytes.copy_to_bytes(length)
    }
}

/// An answer of a size that its request did not say.
pub fn answer<T: Message>(budget: &Arc<Budget>, answer: T) -> Response<T> {
    let bytes = answer.encoded_len();
    let mut response = Response::new(answer);
    if bytes >= BUILT_BYTES_MIN {
        response.extensions_mut().insert(Built(Arc::new(budget.charge(Part::Answers, bytes))));
    }
    response
}
