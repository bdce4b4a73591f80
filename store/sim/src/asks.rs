//! What clients ask for: every kind of request, with every option that changes its meaning, over few keys and leases so that they meet.

use bytes::Bytes;
use quorate_api::etcdserverpb::{self as pb, compare::CompareTarget, compare::TargetUnion, request_op::Request as Op};
use quorate_core::command::{CommandId, Request};
use quorate_core::{mvcc, validate};

use crate::clients::Asked;
use crate::cluster::Cluster;

/// Few keys, so that operations meet.
const KEYS: u64 = 6;
/// Clients beside the others that keep leases.
pub(crate) const KEEPERS: u64 = 2;
/// Few leases, so that their ids are used again.
const LEASES: u64 = 4;
/// A server with the default election timeout grants no shorter one, in seconds.
const TTL_SECONDS: std::ops::Range<u64> = 2..5;
/// etcd's default limit for the operations of a transaction.
const TXN_OPS_MAX: usize = 128;
/// How deep transactions are nested.
const NESTED_MAX: u64 = 2;

fn write(request: Request) -> Asked {
    Asked::Write { request, id: CommandId::default() }
}

fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

impl Cluster {
    fn roll(&mut self, below: u64) -> i64 {
        self.chance.between(0, below).cast_signed()
    }

    fn key(&mut self) -> Bytes {
        format!("k{}", self.chance.between(0, KEYS)).into()
    }

    fn lease(&mut self) -> i64 {
        1 + self.roll(LEASES)
    }

    /// The end of a range: none, a key, or etcd's open end.
    fn range_end(&mut self) -> Bytes {
        match self.chance.between(0, 10) {
            0..7 => Bytes::new(),
            7 | 8 => self.key(),
            _ => Bytes::from_static(&[0]),
        }
    }

    pub(crate) fn ask(&mut self) -> Asked {
        if self.world.model.is_raised(pb::AlarmType::Nospace) && self.chance.percent(12) {
            return write(Request::Alarm(self.disarm()));
        }
        match self.chance.between(0, 100) {
            0..24 => write(Request::Put(self.put())),
            24..30 => write(Request::DeleteRange(self.delete())),
            30..50 => self.ask_txn(),
            50..53 => {
                let back = self.roll(60);
                let revision = self.world.model.revision - back + 3;
                write(Request::Compact(pb::CompactionRequest { revision, physical: false }))
            }
            53..60 => {
                let (id, ttl) = (self.lease(), self.chance.between(TTL_SECONDS.start, TTL_SECONDS.end).cast_signed());
                write(Request::LeaseGrant(pb::LeaseGrantRequest { id, ttl }))
            }
            60..63 => write(Request::LeaseRevoke { id: self.lease(), expiry: None }),
            63..73 => Asked::KeepAlive(self.lease()),
            73..76 => Asked::TimeToLive(self.lease()),
            76..88 => Asked::Linearizable(self.range()),
            _ => {
                let mut range = self.range();
                match self.chance.between(0, 10) {
                    0..4 => range.revision = (self.world.model.revision - self.roll(40) + 2).max(1),
                    // Around the watermark.
                    4 | 5 => range.revision = (self.world.model.compacted - 1 + self.roll(3)).max(1),
                    _ => {}
                }
                Asked::Serializable(pb::RangeRequest { serializable: true, ..range })
            }
        }
    }

    /// What a client asks for that does nothing but keep leases; `only_asks` = it never waits for a write, so that it goes on asking a
    /// leader that was cut off.
    pub(crate) fn ask_of_lease(&mut self, only_asks: bool) -> Asked {
        let id = self.lease();
        match self.chance.between(0, if only_asks { 8 } else { 10 }) {
            0..6 => Asked::KeepAlive(id),
            6 | 7 => Asked::TimeToLive(id),
            8 => {
                let lease = id;
                write(Request::Put(pb::PutRequest { lease, ignore_lease: false, ..self.put() }))
            }
            _ => {
                let ttl = self.chance.between(TTL_SECONDS.start, TTL_SECONDS.end).cast_signed();
                write(Request::LeaseGrant(pb::LeaseGrantRequest { id, ttl }))
            }
        }
    }

    /// Lowers the NOSPACE of some member.
    fn disarm(&mut self) -> pb::AlarmRequest {
        let no_space = i32::from(pb::AlarmType::Nospace);
        let raised = self.world.model.alarms.iter().copied().filter(|(alarm, _)| *alarm == no_space);
        let raised: Vec<(i32, u64)> = raised.collect();
        let (alarm, member_id) = self.chance.pick(&raised);
        let action = pb::alarm_request::AlarmAction::Deactivate.into();
        pb::AlarmRequest { action, member_id, alarm }
    }

    fn put(&mut self) -> pb::PutRequest {
        let key = self.key();
        let mut value = format!("v{}", self.next_operation).into_bytes();
        if self.chance.percent(5) {
            // Over several pages of the log.
            value.resize(self.chance.between(1_000, 9_000) as usize, b'.');
        }
        let lease = if self.chance.percent(20) { self.lease() } else { 0 };
        let prev_kv = self.chance.percent(20);
        let put = pb::PutRequest { key, value: value.into(), lease, prev_kv, ..Default::default() };
        match self.chance.between(0, 20) {
            0 => pb::PutRequest { value: Bytes::new(), ignore_value: true, ..put },
            1 => pb::PutRequest { lease: 0, ignore_lease: true, ..put },
            _ => put,
        }
    }

    fn delete(&mut self) -> pb::DeleteRangeRequest {
        pb::DeleteRangeRequest { key: self.key(), range_end: self.range_end(), prev_kv: self.chance.percent(30) }
    }

    fn range(&mut self) -> pb::RangeRequest {
        if self.chance.percent(30) {
            return pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() };
        }
        let (key, range_end) = (self.key(), self.range_end());
        let mut range = pb::RangeRequest { key, range_end, ..Default::default() };
        if self.chance.percent(40) {
            range.limit = self.roll(4);
            range.sort_order = self.roll(3) as i32;
            range.sort_target = self.roll(5) as i32;
            range.keys_only = self.chance.percent(30);
            range.count_only = self.chance.percent(20);
        }
        range
    }

    /// A transaction whose shape a server lets through.
    fn ask_txn(&mut self) -> Asked {
        let txn = if self.chance.percent(50) { self.swap() } else { self.random_txn(NESTED_MAX) };
        let allowed = validate::txn(&txn, TXN_OPS_MAX).is_ok() && !mvcc::is_read_only(&txn);
        if !allowed {
            // Refused before anything is proposed, or served as a read.
            return write(Request::Put(self.put()));
        }
        if txn.success.iter().chain(&txn.failure).any(|op| matches!(op.request, Some(Op::RequestTxn(_)))) {
            self.world.counts.add("transactions: nested");
        }
        write(Request::Txn(txn))
    }

    /// Compare-and-swap on what a client may have seen, with a read of the key in both branches.
    fn swap(&mut self) -> pb::TxnRequest {
        let put = self.put();
        let key = put.key.clone();
        let get = op(Op::RequestRange(pb::RangeRequest { key: key.clone(), ..Default::default() }));
        let seen = self.world.model.get(&key).map_or((0, 0), |kv| (kv.mod_revision, kv.version));
        let stale = i64::from(self.chance.percent(20));
        let (target, wanted) = if self.chance.percent(70) {
            (CompareTarget::Mod, TargetUnion::ModRevision(seen.0 - stale))
        } else {
            (CompareTarget::Version, TargetUnion::Version(seen.1))
        };
        let compare = pb::Compare { key, target: target.into(), target_union: Some(wanted), ..Default::default() };
        let mut success = vec![get.clone(), op(Op::RequestPut(put.clone()))];
        let other = self.key();
        if other != put.key {
            let delete = pb::DeleteRangeRequest { key: other, ..Default::default() };
            success.push(op(Op::RequestDeleteRange(delete)));
        }
        pb::TxnRequest { compare: vec![compare], success, failure: vec![get] }
    }

    /// Compares of all kinds, operations of all kinds, and transactions in them. A put and a delete up to the open end may change
    /// one key twice.
    fn random_txn(&mut self, nested: u64) -> pb::TxnRequest {
        let compares = self.chance.between(0, 3);
        let compare = (0..compares).map(|_| self.compare()).collect();
        pb::TxnRequest { compare, success: self.branch(nested), failure: self.branch(nested) }
    }

    fn branch(&mut self, nested: u64) -> Vec<pb::RequestOp> {
        let count = self.chance.between(1, 4);
        (0..count)
            .map(|_| match self.chance.between(0, 10) {
                0..4 => op(Op::RequestPut(self.put())),
                4..6 => op(Op::RequestDeleteRange(self.delete())),
                6 if nested > 0 => op(Op::RequestTxn(self.random_txn(nested - 1))),
                _ => {
                    let mut range = self.range();
                    if self.chance.percent(20) {
                        range.revision = (self.world.model.revision - self.roll(30) + 2).max(0);
                    }
                    op(Op::RequestRange(range))
                }
            })
            .collect()
    }

    fn compare(&mut self) -> pb::Compare {
        let key = self.key();
        let seen = self.world.model.get(&key).cloned().unwrap_or_default();
        let off = self.roll(3) - 1;
        let target = self.chance.between(0, 5) as i32;
        let wanted = match target {
            0 => TargetUnion::Version(seen.version + off),
            1 => TargetUnion::CreateRevision(seen.create_revision + off),
            2 => TargetUnion::ModRevision(seen.mod_revision + off),
            3 => TargetUnion::Value(if off == 0 { seen.value } else { "v5".into() }),
            _ => TargetUnion::Lease(seen.lease + off),
        };
        let result = self.roll(4) as i32;
        pb::Compare { result, target, key, range_end: self.range_end(), target_union: Some(wanted) }
    }
}
