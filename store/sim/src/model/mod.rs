//! What the committed commands mean, written down as plainly as possible and without the core's code: the judge of every answer,
//! event and size. Nothing is ever forgotten here, so that old revisions and late watchers can be judged too.

mod answer;
mod range;
mod txn;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;
use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb::{self as pb, alarm_request::AlarmAction};
use quorate_api::mvccpb::KeyValue;
use quorate_core::command::{Expiry, Request};

pub use answer::Answer;
pub use range::within;

/// Bytes of an empty database, and those of a row beside its KeyValue; a tombstone has one more.
const EMPTY_BYTES: u64 = 20_480;
const ROW_KEY_BYTES: u64 = 17;

/// One version of a key.
#[derive(Debug, Clone)]
struct Version {
    revision: i64,
    /// `None` is a tombstone.
    kv: Option<KeyValue>,
    /// A compaction has freed it.
    freed: bool,
}

/// One change of a key, as a watcher sees it.
#[derive(Debug, Clone)]
pub struct Change {
    pub key: Bytes,
    /// `None` is a delete.
    pub after: Option<KeyValue>,
    /// The row at the revision before.
    pub before: Option<KeyValue>,
    /// The same transaction changed the key again: a compaction at or above the revision takes this change with it.
    pub changed_again: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub ttl_seconds: i64,
    pub grant_index: u64,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Model {
    pub revision: i64,
    pub compacted: i64,
    pub leases: BTreeMap<i64, Lease>,
    /// (type, member)
    pub alarms: BTreeSet<(i32, u64)>,
    keys: BTreeMap<Bytes, Vec<Version>>,
    changes: BTreeMap<i64, Vec<Change>>,
    bytes: u64,
    /// Leases are not known here: each one that is named exists.
    trusts_leases: bool,
}

impl Model {
    pub fn new() -> Model {
        Model {
            revision: 1,
            compacted: -1,
            leases: BTreeMap::new(),
            alarms: BTreeSet::new(),
            keys: BTreeMap::new(),
            changes: BTreeMap::new(),
            bytes: 0,
            trusts_leases: false,
        }
    }

    /// A model that knows only what lives at `revision`, and takes every lease for one that exists.
    pub fn of(revision: i64, live: &[KeyValue]) -> Model {
        let mut model = Model { revision, ..Model::new() };
        for kv in live {
            let version = Version { revision: kv.mod_revision, kv: Some(kv.clone()), freed: false };
            model.keys.insert(kv.key.clone(), vec![version]);
        }
        model.trusts_leases = true;
        model
    }

    /// The changes of revisions from `from` on, ascending.
    pub fn changes(&self, from: i64) -> impl Iterator<Item = (i64, &Change)> {
        self.changes.range(from..).flat_map(|(revision, changes)| changes.iter().map(|change| (*revision, change)))
    }

    /// etcd's `dbSizeInUse`.
    pub fn size_in_use_bytes(&self) -> u64 {
        EMPTY_BYTES + self.bytes
    }

    /// The keys that live and hang on a lease.
    pub fn attached(&self, lease: i64) -> Vec<Bytes> {
        let live = self.keys.keys().filter_map(|key| self.get(key));
        live.filter(|kv| kv.lease == lease).map(|kv| kv.key.clone()).collect()
    }

    pub fn is_raised(&self, alarm: pb::AlarmType) -> bool {
        self.alarms.iter().any(|(raised, _)| *raised == i32::from(alarm))
    }

    pub fn is_corrupt(&self) -> bool {
        self.is_raised(pb::AlarmType::Corrupt)
    }

    pub fn get(&self, key: &[u8]) -> Option<&KeyValue> {
        self.keys.get(key)?.last()?.kv.as_ref()
    }

    fn write(&mut self, key: Bytes, after: Option<KeyValue>) {
        let revision = self.revision + 1;
        let versions = self.keys.entry(key.clone()).or_default();
        let before = versions.iter().rev().find(|version| version.revision < revision);
        let before = before.and_then(|version| version.kv.clone());
        versions.push(Version { revision, kv: after.clone(), freed: false });
        self.bytes += row_bytes(&key, after.as_ref());
        let changes = self.changes.entry(revision).or_default();
        changes.iter_mut().filter(|change| change.key == key).for_each(|change| change.changed_again = true);
        changes.push(Change { key, after, before, changed_again: false });
    }

    /// Ends a command: the revision rises if it changed anything.
    fn finish(&mut self) {
        self.revision += i64::from(self.changes.contains_key(&(self.revision + 1)));
    }

    fn put(&mut self, put: &pb::PutRequest) -> Option<KeyValue> {
        let before = self.get(&put.key).cloned();
        let revision = self.revision + 1;
        let kept = before.clone().unwrap_or_default();
        let kv = KeyValue {
            key: put.key.clone(),
            value: if put.ignore_value { kept.value } else { put.value.clone() },
            create_revision: before.as_ref().map_or(revision, |kv| kv.create_revision),
            version: kept.version + 1,
            mod_revision: revision,
            lease: if put.ignore_lease { kept.lease } else { put.lease },
        };
        self.write(put.key.clone(), Some(kv));
        before
    }

    fn delete(&mut self, key: &[u8], end: &[u8]) -> Vec<KeyValue> {
        let live = self.keys.keys().filter(|found| within(found, key, end)).filter_map(|found| self.get(found));
        let gone: Vec<KeyValue> = live.cloned().collect();
        gone.iter().for_each(|kv| self.write(kv.key.clone(), None));
        gone
    }

    fn may_put(&self, put: &pb::PutRequest, deleted: &[(Bytes, Bytes)]) -> Result<(), ApiError> {
        if put.lease != 0 && !self.trusts_leases && !self.leases.contains_key(&put.lease) {
            return Err(ApiError::LeaseNotFound);
        }
        let gone = deleted.iter().any(|(key, end)| within(&put.key, key, end));
        if (put.ignore_value || put.ignore_lease) && (gone || self.get(&put.key).is_none()) {
            return Err(ApiError::KeyNotFound);
        }
        Ok(())
    }

    /// Carries out the command of the entry at `index` and says what it answers.
    pub fn apply(&mut self, index: u64, term: u64, request: &Request) -> Answer {
        let answered = self.execute(index, term, request);
        self.finish();
        match answered {
            Ok(Some(answer)) => Answer { revision: self.revision, ..answer },
            Ok(None) => Answer::default(),
            Err(error) => Answer { error: Some(error), ..Answer::default() },
        }
    }

    /// `None` is an answer that says nothing.
    fn execute(&mut self, index: u64, term: u64, request: &Request) -> Result<Option<Answer>, ApiError> {
        if self.is_corrupt() && writes(request) {
            return Err(ApiError::Corrupt);
        }
        if self.is_raised(pb::AlarmType::Nospace) && grows(request) {
            return Err(ApiError::NoSpace);
        }
        Ok(Some(match request {
            Request::Put(put) => {
                self.may_put(put, &[])?;
                let before = self.put(put);
                Answer::of_put(before.filter(|_| put.prev_kv))
            }
            Request::DeleteRange(delete) => {
                let gone = self.delete(&delete.key, &delete.range_end);
                Answer::of_delete(gone, delete.prev_kv)
            }
            Request::Txn(txn) => self.txn(txn)?,
            Request::Compact(compact) => {
                self.compact(compact.revision)?;
                Answer::default()
            }
            Request::LeaseGrant(grant) => {
                if self.leases.contains_key(&grant.id) {
                    return Err(ApiError::LeaseExist);
                }
                self.leases.insert(grant.id, Lease { ttl_seconds: grant.ttl, grant_index: index });
                Answer { numbers: vec![grant.id, grant.ttl], ..Answer::default() }
            }
            Request::LeaseRevoke { id, expiry } => {
                if expiry.is_some_and(|expiry| !self.expires(*id, expiry, term)) {
                    return Ok(None);
                }
                if self.leases.remove(id).is_none() && !self.trusts_leases {
                    return Err(ApiError::LeaseNotFound);
                }
                let keys = self.attached(*id);
                keys.into_iter().for_each(|key| self.write(key, None));
                Answer::default()
            }
            Request::Alarm(alarm) => self.alarm(alarm),
            Request::MemberAttributes { .. } | Request::FeatureLevel(_) => return Ok(None),
        }))
    }

    /// Whether an expiry means a lease that there is, and comes in the term in which it was seen.
    pub fn expires(&self, id: i64, expiry: Expiry, term: u64) -> bool {
        term == expiry.term && self.leases.get(&id).is_some_and(|lease| lease.grant_index == expiry.grant_index)
    }

    fn alarm(&mut self, request: &pb::AlarmRequest) -> Answer {
        let named = (request.alarm, request.member_id);
        let told: Vec<(i32, u64)> = match request.action() {
            AlarmAction::Get => {
                self.alarms.iter().copied().filter(|(alarm, _)| request.alarm == 0 || request.alarm == *alarm).collect()
            }
            AlarmAction::Activate => {
                self.alarms.insert(named);
                vec![named]
            }
            AlarmAction::Deactivate => self.alarms.remove(&named).then_some(named).into_iter().collect(),
        };
        let numbers = told.into_iter().flat_map(|(alarm, member)| [i64::from(alarm), member.cast_signed()]).collect();
        Answer { numbers, ..Answer::default() }
    }

    fn compact(&mut self, revision: i64) -> Result<(), ApiError> {
        if revision <= self.compacted {
            return Err(ApiError::Compacted);
        }
        if revision > self.revision {
            return Err(ApiError::FutureRev);
        }
        self.compacted = revision;
        for (key, versions) in &mut self.keys {
            let newest = versions.iter().rposition(|version| version.revision <= revision);
            for (at, version) in versions.iter_mut().enumerate().filter(|(_, version)| !version.freed) {
                let superseded = version.kv.is_some() && newest.is_some_and(|newest| at < newest);
                // A tombstone at the watermark stays, even below a put of the same transaction.
                let dead = version.kv.is_none() && version.revision < revision;
                if superseded || dead {
                    version.freed = true;
                    self.bytes -= row_bytes(key, version.kv.as_ref());
                }
            }
        }
        Ok(())
    }
}

/// etcd's bytes of a row.
fn row_bytes(key: &Bytes, kv: Option<&KeyValue>) -> u64 {
    let tombstone = || KeyValue { key: key.clone(), ..Default::default() }.encoded_len() as u64 + 1;
    ROW_KEY_BYTES + kv.map_or_else(tombstone, |kv| kv.encoded_len() as u64)
}

/// What a write is estimated to cost when the quota is looked at; 0 = it is always admitted.
pub fn cost_bytes(request: &Request) -> u64 {
    match request {
        Request::Put(put) => put_cost(put),
        Request::Txn(txn) => txn::cost(txn),
        Request::LeaseGrant(_) => 64,
        _ => 0,
    }
}

fn put_cost(put: &pb::PutRequest) -> u64 {
    256 + (put.key.len() + put.value.len()) as u64
}

/// Whether CORRUPT refuses it.
pub fn writes(request: &Request) -> bool {
    !matches!(request, Request::Alarm(_) | Request::MemberAttributes { .. } | Request::FeatureLevel(_))
}

/// Whether NOSPACE refuses it.
pub fn grows(request: &Request) -> bool {
    cost_bytes(request) > 0
}

impl Default for Model {
    fn default() -> Self {
        Model::new()
    }
}
