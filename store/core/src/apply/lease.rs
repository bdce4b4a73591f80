//! The replicated part of leases: which exist and which keys they hold. When they expire is decided by the leader's `lease` module.
//!
//! Rows of `lease`: `l` ∥ id → TTL and index of the grant; `k` ∥ id ∥ user key → nothing, one for each attached key.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes};
use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb as pb;

use super::checks::Refusal;
use super::overlay::Overlay;
use super::{LeaseChange, Response, Turn};
use crate::backend::{Family, View};
use crate::command::Expiry;
use crate::log::Index;
use crate::mvcc::rows::{FORMAT, body};
use crate::mvcc::{Error, read};
use crate::validate;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// As granted.
    pub ttl_seconds: i64,
    /// Raft index of the grant.
    pub grant_index: Index,
}

impl Lease {
    const BYTES: usize = 17;

    fn encode(&self) -> Bytes {
        let mut value = Vec::with_capacity(Lease::BYTES);
        value.put_u8(FORMAT);
        value.put_i64(self.ttl_seconds);
        value.put_u64(self.grant_index);
        value.into()
    }
}

fn row_key(id: i64) -> Bytes {
    [&b"l"[..], &id.to_be_bytes()].concat().into()
}

fn attached_prefix(id: i64) -> [u8; 9] {
    let mut prefix = [b'k'; 9];
    prefix[1..].copy_from_slice(&id.to_be_bytes());
    prefix
}

fn attached_key(id: i64, key: &[u8]) -> Bytes {
    [&attached_prefix(id)[..], key].concat().into()
}

/// `lease` 0 is none.
pub(super) fn attach(rows: &mut Overlay<'_>, lease: i64, key: &[u8]) {
    if lease != 0 {
        rows.put(Family::Lease, attached_key(lease, key), Bytes::new());
    }
}

/// `lease` 0 is none.
pub(super) fn detach(rows: &mut Overlay<'_>, lease: i64, key: &[u8]) {
    if lease != 0 {
        rows.delete(Family::Lease, attached_key(lease, key));
    }
}

/// The keys attached to a lease, in key order; none for a lease that does not exist.
///
/// # Errors
/// The backend's.
pub fn attached_keys(view: &dyn View, id: i64) -> Result<Vec<Bytes>, Error> {
    let prefix = attached_prefix(id);
    let after = attached_after(id);
    let mut cursor = view.cursor(Family::Lease, &prefix, Some(&after))?;
    let mut keys = Vec::new();
    while let Some(row) = cursor.next()? {
        keys.push(Bytes::copy_from_slice(&row.key[prefix.len()..]));
    }
    Ok(keys)
}

/// First place after all keys attached to a lease, whose id may be all ones.
fn attached_after(id: i64) -> Vec<u8> {
    match u64::from_be_bytes(id.to_be_bytes()).checked_add(1) {
        Some(next) => [&b"k"[..], &next.to_be_bytes()].concat(),
        None => b"l".to_vec(),
    }
}

pub(super) fn load(view: &dyn View) -> Result<BTreeMap<i64, Lease>, Error> {
    let mut leases = BTreeMap::new();
    let mut cursor = view.cursor(Family::Lease, b"l", Some(b"m"))?;
    while let Some(row) = cursor.next()? {
        let bad = || Error::malformed(Family::Lease, row.key, "it is not a lease");
        let id = i64::from_be_bytes(row.key[1..].try_into().map_err(|_| bad())?);
        let mut body = body(Family::Lease, row.key, row.value, Lease::BYTES - 1)?;
        leases.insert(id, Lease { ttl_seconds: body.get_i64(), grant_index: body.get_u64() });
    }
    Ok(leases)
}

impl Turn<'_> {
    /// The proposer chose an id and raised the TTL to its minimum, which depends on its election timeout.
    pub(super) fn lease_grant(&mut self, request: &pb::LeaseGrantRequest) -> Result<Response, Refusal> {
        let over = self.is_over_quota(super::quota::LEASE_COST_BYTES);
        let pb::LeaseGrantRequest { ttl, id } = *request;
        if id == 0 {
            return Err(ApiError::LeaseNotFound.into());
        }
        validate::lease_grant(request)?;
        if self.machine.leases.contains_key(&id) {
            return Err(ApiError::LeaseExist.into());
        }
        let lease = Lease { ttl_seconds: ttl, grant_index: self.machine.applied.index };
        self.machine.leases.insert(id, lease);
        self.rows.put(Family::Lease, row_key(id), lease.encode());
        self.leases.push(LeaseChange::Granted { id, ttl_seconds: ttl, grant_index: lease.grant_index });
        let response = pb::LeaseGrantResponse { header: self.header(), id, ttl, error: String::new() };
        self.answer(over, Response::LeaseGrant(response))
    }

    /// An expiry has effect only on the very lease and in the very term that it was seen in.
    pub(super) fn lease_revoke(&mut self, id: i64, expiry: Option<Expiry>) -> Result<Response, Refusal> {
        let lease = self.machine.leases.get(&id).copied();
        if let Some(Expiry { grant_index, term }) = expiry {
            let current = lease.is_some_and(|lease| lease.grant_index == grant_index);
            if !current || term != self.machine.applied.term {
                return Ok(Response::Done);
            }
        }
        if lease.is_none() {
            return Err(ApiError::LeaseNotFound.into());
        }
        let keys = attached_keys(&self.rows, id)?;
        let mut writer = self.writer();
        for key in keys {
            let row = read::lookup(writer.rows, &key)?;
            let row = row.filter(|row| row.lease == id);
            let row = row.ok_or_else(|| {
                Error::malformed(Family::Lease, &attached_key(id, &key), "it names a key that is not attached")
            })?;
            writer.delete(&key, &row);
        }
        writer.finish();
        self.machine.leases.remove(&id);
        self.rows.delete(Family::Lease, row_key(id));
        self.leases.push(LeaseChange::Revoked { id });
        Ok(Response::LeaseRevoke(pb::LeaseRevokeResponse { header: self.header() }))
    }
}
