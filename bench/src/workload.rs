//! What the clients ask for, and what a right answer to it is.

use bytes::Bytes;
use clap::ValueEnum;
use prost::Message;
use quorate_api::etcdserverpb::request_op::Request as Operation;
use quorate_api::etcdserverpb::{PutRequest, PutResponse, RangeRequest, RangeResponse, RequestOp, TxnRequest};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::grpc::frame;

/// Keys that exist before a measurement begins and that all requests are spread over.
pub const KEYS: u64 = 100_000;
/// Bytes of a value.
pub const VALUE_BYTES: usize = 256;
/// Puts in one transaction of the preparation: etcd's default limit.
pub const KEYS_PER_TXN: u64 = 128;
/// Values are pieces of one random pool, larger than any window of a compressor, so that none finds two alike.
const POOL_BYTES: usize = 1 << 20;

/// One kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// Overwrite a random key with 256 random bytes
    Put,
    /// Linearizable read of a random key
    Get,
    /// Serializable read of a random key
    GetSerializable,
}

impl Workload {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::GetSerializable => "get-serializable",
        }
    }

    /// Path of the method that it calls.
    pub fn path(self) -> &'static str {
        match self {
            Self::Put => "/etcdserverpb.KV/Put",
            Self::Get | Self::GetSerializable => "/etcdserverpb.KV/Range",
        }
    }

    /// The next request, framed.
    pub fn request(self, source: &mut Source) -> Bytes {
        match self {
            Self::Put => frame(&source.put()),
            Self::Get => frame(&RangeRequest { key: source.key(), ..Default::default() }),
            Self::GetSerializable => {
                frame(&RangeRequest { key: source.key(), serializable: true, ..Default::default() })
            }
        }
    }

    /// Whether the answer is what the request must get: a read finds its key with a whole value, a put has a revision.
    pub fn check(self, answer: Bytes) -> Result<()> {
        let wrong = |found: String| Error::WrongAnswer { operation: self.name(), found };
        match self {
            Self::Put => {
                let answer = PutResponse::decode(answer).map_err(|error| wrong(error.to_string()))?;
                let revision = answer.header.map_or(0, |header| header.revision);
                if revision > 1 { Ok(()) } else { Err(wrong(format!("revision {revision}"))) }
            }
            Self::Get | Self::GetSerializable => {
                let answer = RangeResponse::decode(answer).map_err(|error| wrong(error.to_string()))?;
                match answer.kvs.as_slice() {
                    [pair] if pair.value.len() == VALUE_BYTES => Ok(()),
                    [pair] => Err(wrong(format!("a value of {} bytes", pair.value.len()))),
                    pairs => Err(wrong(format!("{} keys", pairs.len()))),
                }
            }
        }
    }
}

/// A transaction that writes up to [`KEYS_PER_TXN`] keys from `first` on.
pub fn preparation(first: u64, source: &mut Source) -> Bytes {
    let last = (first + KEYS_PER_TXN).min(KEYS);
    let success = (first..last)
        .map(|key| PutRequest { key: key_named(key), value: source.value(), ..Default::default() })
        .map(|put| RequestOp { request: Some(Operation::RequestPut(put)) })
        .collect();
    frame(&TxnRequest { success, ..Default::default() })
}

/// Random keys and values of one client, the same in every run (splitmix64).
#[derive(Debug, Clone)]
pub struct Source {
    state: u64,
    pool: Bytes,
}

impl Source {
    /// A source whose values are pieces of a fresh pool.
    pub fn new(seed: u64) -> Self {
        let mut source = Self { state: seed, pool: Bytes::new() };
        let words = (0..POOL_BYTES / size_of::<u64>()).flat_map(|_| source.next().to_le_bytes()).collect::<Vec<u8>>();
        source.pool = words.into();
        source
    }

    /// Another source over the same pool.
    pub fn fork(&self, seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0xd134_2543_de82_ef95), pool: self.pool.clone() }
    }

    fn put(&mut self) -> PutRequest {
        PutRequest { key: self.key(), value: self.value(), ..Default::default() }
    }

    fn key(&mut self) -> Bytes {
        key_named(self.next() % KEYS)
    }

    fn value(&mut self) -> Bytes {
        let places = u64::try_from(self.pool.len() - VALUE_BYTES).expect("a length fits 64 bits");
        let start = usize::try_from(self.next() % places).expect("it is below the length of the pool");
        self.pool.slice(start..start + VALUE_BYTES)
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// 16 bytes.
fn key_named(key: u64) -> Bytes {
    format!("key-{key:012}").into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use quorate_api::etcdserverpb::ResponseHeader;
    use quorate_api::mvccpb::KeyValue;

    use super::*;

    fn found(values: &[usize]) -> Bytes {
        let kvs =
            values.iter().map(|length| KeyValue { value: vec![1; *length].into(), ..Default::default() }).collect();
        RangeResponse { kvs, ..Default::default() }.encode_to_vec().into()
    }

    #[test]
    fn a_read_must_find_one_whole_value() {
        assert!(Workload::Get.check(found(&[VALUE_BYTES])).is_ok());
        for wrong in [&[][..], &[VALUE_BYTES - 1], &[VALUE_BYTES, VALUE_BYTES]] {
            assert!(Workload::GetSerializable.check(found(wrong)).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn a_put_must_have_a_revision() {
        let answer = |revision| {
            let header = Some(ResponseHeader { revision, ..Default::default() });
            Bytes::from(PutResponse { header, ..Default::default() }.encode_to_vec())
        };
        assert!(Workload::Put.check(answer(2)).is_ok());
        assert!(Workload::Put.check(answer(0)).is_err());
    }

    #[test]
    fn the_preparation_writes_every_key_once() {
        let mut source = Source::new(1);
        let mut keys = HashSet::new();
        for first in (0..KEYS).step_by(usize::try_from(KEYS_PER_TXN).unwrap()) {
            let txn = TxnRequest::decode(preparation(first, &mut source).slice(5..)).unwrap();
            for operation in txn.success {
                let Some(Operation::RequestPut(put)) = operation.request else { panic!("not a put") };
                assert!(keys.insert(put.key), "a key was written twice");
            }
        }
        assert_eq!(keys.len(), usize::try_from(KEYS).unwrap());
    }

    #[test]
    fn clients_ask_for_different_keys_spread_over_all() {
        let source = Source::new(1);
        let (mut one, mut two) = (source.fork(1), source.fork(2));
        let keys: HashSet<Bytes> = (0..1000).flat_map(|_| [one.key(), two.key()]).collect();
        assert!(keys.len() > 1900, "{} different keys in 2000", keys.len());
        assert!(keys.iter().all(|key| key.len() == 16));
    }
}
