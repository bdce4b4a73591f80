//! Whether a write may apply, decided on the state before it, so that carrying it out cannot fail half-way.

use std::collections::BTreeMap;

use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb::{self as pb, request_op::Request};

use super::Lease;
use crate::backend::View;
use crate::mvcc::txn::{branch, check_range, next_of};
use crate::mvcc::{Error, Interval, State, read};

/// Why a command does not apply: told to the client, or fatal.
pub(super) enum Refusal {
    Client(ApiError),
    Fatal(Error),
    /// A feature level that this version does not know.
    Level(u32),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error.for_client() {
            Some(error) => Refusal::Client(error),
            None => Refusal::Fatal(error),
        }
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Refusal::Client(error)
    }
}

/// Most bytes of rows that the deletes of one command may write: they are held in memory until the turn ends.
pub(super) const DELETE_BYTES_MAX: usize = 1 << 30;

const TOO_MUCH_DELETED: &str = "etcdserver: one request may delete about 1 GiB of keys at most: delete smaller ranges";

/// What deleting a key writes, roughly: three rows, their keys and their places in memory.
fn deleted_bytes(key: &[u8]) -> usize {
    4 * key.len() + 256
}

/// Checks what the branches on a path need, so that executing them cannot fail.
pub(super) struct Checks<'a> {
    pub view: &'a dyn View,
    pub state: State,
    pub leases: &'a BTreeMap<i64, Lease>,
    /// Ranges that the transaction deletes before the operation at hand.
    pub deleted: Vec<Interval>,
    /// What is left of [`DELETE_BYTES_MAX`].
    pub delete_bytes_left: usize,
}

impl Checks<'_> {
    pub fn txn(&mut self, request: &pb::TxnRequest, path: &mut impl Iterator<Item = bool>) -> Result<(), Refusal> {
        for op in branch(request, next_of(path)) {
            match &op.request {
                Some(Request::RequestRange(range)) => check_range(&self.state, range)?,
                Some(Request::RequestPut(put)) => self.put(put)?,
                Some(Request::RequestDeleteRange(delete)) => self.delete(delete)?,
                Some(Request::RequestTxn(nested)) => self.txn(nested, path)?,
                None => {}
            }
        }
        Ok(())
    }

    /// What a delete will write is bounded, because it does not show in the size of the request.
    pub fn delete(&mut self, delete: &pb::DeleteRangeRequest) -> Result<(), Refusal> {
        let interval = Interval::new(&delete.key, &delete.range_end);
        if interval.as_point().is_none() {
            let mut left = self.delete_bytes_left;
            let mut fits = true;
            read::walk_keys(self.view, &interval, |key, _| {
                fits = left >= deleted_bytes(key);
                left = left.saturating_sub(deleted_bytes(key));
                Ok(fits)
            })?;
            if !fits {
                return Err(ApiError::Unmapped(TOO_MUCH_DELETED.to_owned()).into());
            }
            self.delete_bytes_left = left;
        }
        self.deleted.push(interval);
        Ok(())
    }

    /// The lease is tested before the existence of the key.
    pub fn put(&self, put: &pb::PutRequest) -> Result<(), Refusal> {
        if put.lease != 0 && !self.leases.contains_key(&put.lease) {
            return Err(ApiError::LeaseNotFound.into());
        }
        if put.ignore_value || put.ignore_lease {
            // A key that the transaction itself deletes first has nothing to keep (etcd stops there with a panic).
            let gone = self.deleted.iter().any(|interval| interval.contains(&put.key));
            if gone || read::lookup(self.view, &put.key)?.is_none() {
                return Err(ApiError::KeyNotFound.into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Family, WriteBatch};
    use crate::memory::Memory;
    use crate::mvcc::{KeyRow, Revision};

    #[test]
    fn deletes_of_one_command_share_a_limit_of_bytes() {
        let (mut rows, mut batch) = (Memory::default(), WriteBatch::default());
        let row = KeyRow { modified: Revision::new(2, 0), create_revision: 2, version: 1, lease: 0, row_bytes: 30 };
        for key in ["a", "b", "c"] {
            let mut value = Vec::new();
            row.encode(&mut value);
            batch.put(Family::Keys, key, value);
        }
        rows.write(&batch);
        let leases = BTreeMap::new();
        let checks = |delete_bytes_left| Checks {
            view: &rows,
            state: State::default(),
            leases: &leases,
            deleted: Vec::new(),
            delete_bytes_left,
        };
        let delete = |key: &'static str, range_end: &'static str| pb::DeleteRangeRequest {
            key: key.into(),
            range_end: range_end.into(),
            prev_kv: false,
        };
        let of_keys = |keys| keys * deleted_bytes(b"a");
        assert!(checks(of_keys(3)).delete(&delete("a", "\0")).is_ok());
        assert!(matches!(checks(of_keys(3) - 1).delete(&delete("a", "\0")), Err(Refusal::Client(_))));
        let mut both = checks(of_keys(3));
        assert!(both.delete(&delete("a", "c")).is_ok());
        assert!(both.delete(&delete("a", "")).is_ok(), "a single key is bounded by its request");
        assert!(both.delete(&delete("b", "d")).is_err());
    }
}
