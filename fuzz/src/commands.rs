//! Entries of the raft log: batches of commands, decoded and applied, and membership changes.

use bytes::Bytes;
use quorate_api::etcdserverpb as pb;
use quorate_core::apply::{Limits, Machine};
use quorate_core::command::{self, BatchBuilder, Command, CommandId, Expiry, Request};
use quorate_core::feature;
use quorate_core::membership::{Change, Member, Membership, Proposed};
use quorate_core::memory::Memory;
use quorate_core::validate;

/// Operations in one transaction, as the server's default.
const TXN_OPS_MAX: usize = 128;
/// An accepted input larger than this is not applied: the fuzzer would only find that work takes time.
const COMMANDS_MAX: usize = 64;

/// What a batch decodes to encodes to a batch that decodes to the same.
pub fn batch(data: &[u8]) {
    let Ok(commands) = command::decode(Bytes::copy_from_slice(data)) else { return };
    assert_eq!(command::decode(encode(&commands)).as_ref(), Ok(&commands));
}

fn encode(commands: &[Command]) -> Bytes {
    let mut batch = BatchBuilder::default();
    commands.iter().for_each(|command| batch.push(command));
    batch.finish()
}

/// Commands that the RPC layer would let through never stop a member, and leave rows that open to the very state in memory.
pub fn apply(data: &[u8]) {
    let Ok(commands) = command::decode(Bytes::copy_from_slice(data)) else { return };
    let valid: Vec<Command> = commands.into_iter().filter(|command| is_valid(&command.request)).collect();
    let mut rows = Memory::default();
    let mut machine = Machine::open(&rows).expect("an empty store opens");
    for (index, commands) in (1..).zip(valid[..valid.len().min(COMMANDS_MAX)].chunks(4)) {
        let before = rows.clone();
        let mut turn = machine.turn(&before, Limits::default());
        turn.entry(index, 1, encode(commands)).expect("a command that was let through applies");
        rows.write(&turn.finish().batch);
        assert_eq!(Machine::open(&rows).expect("the rows that it wrote open"), machine);
    }
}

fn is_valid(request: &Request) -> bool {
    match request {
        Request::Put(request) => validate::put(request).is_ok(),
        Request::DeleteRange(request) => validate::delete_range(request).is_ok(),
        Request::Txn(request) => validate::txn(request, TXN_OPS_MAX).is_ok(),
        Request::LeaseGrant(request) => request.id > 0 && validate::lease_grant(request).is_ok(),
        Request::FeatureLevel(level) => *level <= feature::KNOWN,
        Request::Alarm(request) => pb::AlarmType::try_from(request.alarm).is_ok(),
        _ => true,
    }
}

/// What is read as a change encodes to what reads as the same, and can be checked against a membership.
pub fn change(data: &[u8]) {
    let Ok(proposed) = Proposed::decode(Bytes::copy_from_slice(data)) else { return };
    assert_eq!(Proposed::decode(proposed.encode()).as_ref(), Ok(&proposed));
    let mut membership = Membership::default();
    if membership.check(&proposed, feature::KNOWN).is_ok() {
        membership.apply(1, proposed.change);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let bytes = Bytes::from_static;
    let put = |key, value| pb::PutRequest { key: bytes(key), value: bytes(value), ..Default::default() };
    let delete = |key, end| pb::DeleteRangeRequest { key: bytes(key), range_end: bytes(end), prev_kv: true };
    let compare = pb::Compare {
        key: bytes(b"a"),
        target: pb::compare::CompareTarget::Version as i32,
        target_union: Some(pb::compare::TargetUnion::Version(1)),
        ..Default::default()
    };
    let operation = |request| pb::RequestOp { request: Some(request) };
    let inner = pb::TxnRequest {
        success: vec![operation(pb::request_op::Request::RequestDeleteRange(delete(b"a", b"\0")))],
        ..Default::default()
    };
    let txn = pb::TxnRequest {
        compare: vec![compare],
        success: vec![
            operation(pb::request_op::Request::RequestPut(put(b"b", b"2"))),
            operation(pb::request_op::Request::RequestTxn(inner)),
        ],
        failure: vec![operation(pb::request_op::Request::RequestPut(put(b"c", b"3")))],
    };
    let leased = pb::PutRequest { lease: 7, ..put(b"l", b"x") };
    let requests = [
        Request::Put(put(b"a", b"1")),
        Request::LeaseGrant(pb::LeaseGrantRequest { id: 7, ttl: 5 }),
        Request::Put(leased),
        Request::Txn(txn),
        Request::DeleteRange(delete(b"a", b"z")),
        Request::Compact(pb::CompactionRequest { revision: 3, physical: false }),
        Request::LeaseRevoke { id: 7, expiry: Some(Expiry { grant_index: 1, term: 1 }) },
        Request::LeaseRevoke { id: 7, expiry: None },
        Request::Alarm(pb::AlarmRequest { action: 1, member_id: 1, alarm: 1 }),
        Request::MemberAttributes { member: 1, name: "m".into(), client_urls: vec!["http://a:1".into()] },
        Request::FeatureLevel(1),
    ];
    let command = |(counter, request)| Command {
        id: CommandId { member: 1, boot: 1, counter },
        user: String::new(),
        auth_revision: 0,
        request,
    };
    let commands: Vec<Command> = (1..).zip(requests).map(command).collect();
    let mut seeds: Vec<Vec<u8>> =
        commands.iter().map(|command| encode(std::slice::from_ref(command)).to_vec()).collect();
    seeds.push(encode(&commands).to_vec());
    seeds
}

pub fn change_seeds() -> Vec<Vec<u8>> {
    let member = Member {
        id: 7,
        name: "m".into(),
        peer_urls: vec!["http://m:2380".into()],
        client_urls: Vec::new(),
        learner: false,
        disk_id: "d".into(),
    };
    let changes = [
        Change::AddVoter(member.clone()),
        Change::AddLearner(Member { learner: true, ..member }),
        Change::Promote(7),
        Change::Remove(7),
        Change::UpdatePeerUrls { id: 7, peer_urls: vec!["http://n:2380".into()] },
    ];
    let id = CommandId { member: 1, boot: 2, counter: 3 };
    let proposed = |change| Proposed { id, change, expected_index: Some(4), learners_max: 1 };
    changes.into_iter().map(|change| proposed(change).encode().to_vec()).collect()
}
