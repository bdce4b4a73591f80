//! Traps of the raft crate, drawn by hand: what the simulator found by seeds stays found without its luck.

use super::*;
use crate::command::CommandId;
use crate::membership::Proposed;

/// Entries are never read here: the log fits into memory, or a test says itself what was read.
struct NoReader;

impl LogReader for NoReader {
    fn entries(&self, low: Index, high: Index, _: u64) -> Result<Vec<Entry>, LogReadError> {
        Err(LogReadError { low, high, reason: "not there".to_owned() })
    }

    fn term(&self, _: Index) -> Result<Term, LogReadError> {
        Ok(2)
    }
}

fn start(id: MemberId) -> Replica {
    start_in(id, &[1, 2], MEMORY_BYTES_MAX)
}

fn start_in(id: MemberId, voters: &[MemberId], memory_bytes_max: usize) -> Replica {
    let start = Start {
        id,
        hard_state: HardState { term: 1, vote: 0, commit: 2 },
        conf_state: ConfState { voters: voters.to_vec(), ..Default::default() },
        applied: 2,
        truncated: (2, 1),
        last_index: 2,
        memory_bytes_max,
        seed: 7,
        timing: Timing { election_ticks: 10, pre_vote: true },
        window: Window::default(),
    };
    Replica::new(start, Box::new(NoReader))
}

/// A message as the other of the two sends it.
fn message(kind: MessageType, from: MemberId, term: Term) -> raft::eraftpb::Message {
    let mut message = raft::eraftpb::Message::default();
    message.set_msg_type(kind);
    (message.from, message.to, message.term) = (from, 3 - from, term);
    message
}

fn step(replica: &mut Replica, message: raft::eraftpb::Message) {
    replica.step(Message::from_raft(message)).expect("nothing is lost here");
}

/// Takes all output; returns the number of the last persist, the committed entries, and nothing of the messages.
fn drain(replica: &mut Replica) -> (u64, Vec<Entry>) {
    let (mut number, mut committed) = (0, Vec::new());
    while replica.has_output() {
        let output = replica.output();
        number = output.persist.number;
        committed.extend(output.committed);
    }
    (number, committed)
}

/// Takes all output; returns its messages.
fn sent(replica: &mut Replica) -> Vec<raft::eraftpb::Message> {
    let mut sent = Vec::new();
    while replica.has_output() {
        let output = replica.output();
        sent.extend(output.messages.into_iter().chain(output.persist.messages_after));
    }
    sent.into_iter().map(Message::into_raft).collect()
}

fn indexes(messages: Vec<raft::eraftpb::Message>) -> Vec<Index> {
    messages.into_iter().flat_map(|mut message| message.take_entries()).map(|entry| entry.index).collect()
}

fn acknowledge(replica: &mut Replica, index: Index) {
    let mut answer = message(MessageType::MsgAppendResponse, 2, replica.term());
    answer.index = index;
    step(replica, answer);
}

fn removal(id: MemberId) -> Proposed {
    Proposed { id: CommandId::default(), change: Change::Remove(id), expected_index: None, learners_max: 0 }
}

/// Member 1 leads member 2, everything is committed and applied.
fn leader() -> Replica {
    lead(start(1))
}

fn lead(mut replica: Replica) -> Replica {
    while replica.role() == Role::Follower {
        replica.tick();
    }
    drain(&mut replica);
    step(&mut replica, message(MessageType::MsgRequestPreVoteResponse, 2, 2));
    let (number, _) = drain(&mut replica);
    replica.persisted(number);
    step(&mut replica, message(MessageType::MsgRequestVoteResponse, 2, 2));
    assert_eq!(replica.role(), Role::Leader);
    let (number, _) = drain(&mut replica);
    replica.persisted(number);
    acknowledge(&mut replica, 3);
    let (_, committed) = drain(&mut replica);
    assert_eq!(committed.len(), 1, "its first entry");
    replica.applied(3);
    replica
}

/// The leader has applied its own removal at 4, while its disk still works on entry 5, which the other has.
fn removed_leader() -> (Replica, u64) {
    let mut replica = leader();
    let proposed = removal(1);
    replica.propose_change(&proposed.change, proposed.encode()).unwrap();
    let (number, _) = drain(&mut replica);
    replica.persisted(number);
    replica.propose(bytes::Bytes::from_static(b"after it")).unwrap();
    let (after, _) = drain(&mut replica);
    acknowledge(&mut replica, 4);
    let (_, committed) = drain(&mut replica);
    let conf_state = replica.apply_change(&committed[0]);
    assert_eq!(conf_state.voters, [2]);
    replica.applied(4);
    assert_eq!(replica.role(), Role::Follower, "it steps down at once");
    (replica, after)
}

#[test]
fn a_removed_leader_survives_the_sync_of_what_it_proposed_after_its_removal() {
    let (mut replica, after) = removed_leader();
    replica.persisted(after);
    drain(&mut replica);
}

#[test]
fn a_removed_leader_survives_an_answer_to_what_it_sent_before_its_removal() {
    let (mut replica, _) = removed_leader();
    acknowledge(&mut replica, 5);
    drain(&mut replica);
}

#[test]
fn a_removed_leader_asks_its_successor_to_campaign_at_once() {
    let (mut replica, _) = removed_leader();
    let kinds: Vec<_> = sent(&mut replica).iter().map(|message| (message.to, message.get_msg_type())).collect();
    assert!(kinds.contains(&(2, MessageType::MsgTimeoutNow)), "{kinds:?}");
}

/// Member 2's removal is committed and applied, and the disk of member 1 still works on a later entry.
#[test]
fn a_member_that_became_the_only_voter_campaigns_when_its_log_is_durable() {
    let mut replica = start(1);
    let proposed = removal(2);
    let data = founding_entry_data(&proposed.change, proposed.encode());
    let entry = |index, kind, data| Entry { index, term: 2, kind, data };
    let mut append = message(MessageType::MsgAppend, 2, 2);
    (append.index, append.log_term, append.commit) = (2, 1, 2);
    append.set_entries(vec![convert::raft_entry(&entry(3, EntryKind::Membership, data))].into());
    step(&mut replica, append);
    let (number, _) = drain(&mut replica);
    replica.persisted(number);
    let mut append = message(MessageType::MsgAppend, 2, 2);
    (append.index, append.log_term, append.commit) = (3, 2, 3);
    append.set_entries(vec![convert::raft_entry(&entry(4, EntryKind::Normal, bytes::Bytes::new()))].into());
    step(&mut replica, append);
    let (after, committed) = drain(&mut replica);
    replica.apply_change(&committed[0]);
    replica.applied(3);
    assert!(replica.is_sole_voter());
    for _ in 0..30 {
        replica.tick();
        drain(&mut replica);
    }
    assert_eq!(replica.role(), Role::Follower, "its log is not durable");
    replica.persisted(after);
    replica.tick();
    assert_eq!(replica.role(), Role::Leader);
}

#[test]
fn a_replaying_member_gives_up_a_leader_that_is_gone() {
    let mut replica = start(1);
    let mut heartbeat = message(MessageType::MsgHeartbeat, 2, 2);
    heartbeat.commit = 2;
    step(&mut replica, heartbeat);
    drain(&mut replica);
    // As after a restart with a committed tail that is not applied.
    replica.replay_until = 3;
    let ask = |replica: &mut Replica| {
        let mut request = message(MessageType::MsgRequestPreVote, 2, 3);
        (request.index, request.log_term) = (2, 1);
        step(replica, request);
        sent(replica).iter().any(|answer| !answer.reject)
    };
    assert!(!ask(&mut replica), "it has just heard of a leader");
    for _ in 0..10 {
        replica.tick();
    }
    assert!(ask(&mut replica), "nobody was heard for an election timeout");
}

#[test]
fn a_snapshot_from_before_a_member_joined_is_not_sent_to_it_and_a_new_one_is_asked_for() {
    let mut replica = leader();
    let conf_state = ConfState { voters: vec![1, 2], ..Default::default() };
    replica.snapshot_built(SnapshotMeta { index: 3, term: replica.term(), conf_state });
    let snapshot = |replica: &Replica, to| raft::Storage::snapshot(&replica.node.raft.raft_log.store, 0, to);
    assert!(snapshot(&replica, 2).is_ok());
    assert!(!replica.snapshot_wanted());
    assert!(snapshot(&replica, 3).is_err());
    assert!(replica.snapshot_wanted());
    let conf_state = ConfState { voters: vec![1, 2], learners: vec![3], ..Default::default() };
    replica.snapshot_built(SnapshotMeta { index: 4, term: replica.term(), conf_state });
    assert!(snapshot(&replica, 3).is_ok());
}

/// Member 1 leads and holds nothing in memory of entries 3 and 4, which member 3 does not have and has just asked for.
fn leader_with_one_behind() -> (Replica, LogRange) {
    let mut replica = lead(start_in(1, &[1, 2, 3], 0));
    replica.propose(bytes::Bytes::from_static(b"four")).unwrap();
    let (number, _) = drain(&mut replica);
    replica.persisted(number);
    acknowledge(&mut replica, 4);
    drain(&mut replica);
    replica.applied(4);
    let range = wanted_by_third(&mut replica).pop().expect("it does not have the entries in memory");
    (replica, range)
}

/// What is to be read after a sign of life of member 3.
fn wanted_by_third(replica: &mut Replica) -> Vec<LogRange> {
    let mut alive = message(MessageType::MsgHeartbeatResponse, 2, replica.term());
    (alive.from, alive.to) = (3, 1);
    step(replica, alive);
    replica.take_wanted_reads()
}

fn entries_3_and_4() -> Vec<Entry> {
    let entry = |index| Entry { index, term: 2, kind: EntryKind::Normal, data: bytes::Bytes::from_static(b"read") };
    vec![entry(3), entry(4)]
}

/// The entries that were sent to member 3.
fn sent_to_third(replica: &mut Replica) -> Vec<Index> {
    indexes(sent(replica).into_iter().filter(|message| message.to == 3).collect())
}

#[test]
fn entries_that_are_not_in_memory_are_asked_for_once_and_sent_when_they_were_read() {
    let (mut replica, range) = leader_with_one_behind();
    assert_eq!(range, LogRange { term: 2, low: 3, high: 5, bytes_max: 128 << 10 });
    assert_eq!(wanted_by_third(&mut replica), []);
    assert!(sent_to_third(&mut replica).is_empty());
    replica.log_read(range, Ok(entries_3_and_4()));
    assert_eq!(sent_to_third(&mut replica), [3, 4]);
}

#[test]
fn entries_that_were_read_for_another_term_are_not_sent_but_asked_for_again() {
    let (mut replica, range) = leader_with_one_behind();
    replica.log_read(LogRange { term: 1, ..range }, Ok(entries_3_and_4()));
    assert!(sent_to_third(&mut replica).is_empty());
    assert_eq!(wanted_by_third(&mut replica), [range]);
}

#[test]
fn a_follower_is_sent_a_snapshot_when_the_log_cannot_be_read() {
    let (mut replica, range) = leader_with_one_behind();
    let failed = LogReadError { low: 3, high: 5, reason: "damaged".to_owned() };
    replica.log_read(range, Err(failed));
    assert!(sent_to_third(&mut replica).is_empty());
    assert!(replica.snapshot_wanted());
}

#[test]
fn who_was_tried_before_succeeds_only_when_there_is_no_other() {
    let mut replica = lead(start_in(1, &[1, 2, 3], MEMORY_BYTES_MAX));
    assert_eq!(replica.successor(None), Some(2), "nothing was heard of the third");
    assert_eq!(replica.successor(Some(2)), Some(2));
    // It is alive, and not as far.
    let mut answer = message(MessageType::MsgHeartbeatResponse, 3, 2);
    answer.to = 1;
    step(&mut replica, answer);
    assert_eq!(replica.successor(None), Some(2));
    assert_eq!(replica.successor(Some(2)), Some(3));
    assert_eq!(replica.successor(Some(3)), Some(2));
}

/// Member 1 follows member 2, has entry 3 and knows of no commit of it, and asks for a snapshot.
fn asking() -> Replica {
    let mut replica = start(1);
    append_to_first(&mut replica, 2, 1);
    replica.request_snapshot();
    drain(&mut replica);
    replica
}

/// Member 2 sends the entry after `index`, whose term is `log_term`; returns whether it was taken.
fn append_to_first(replica: &mut Replica, index: Index, log_term: Term) -> bool {
    let entry = Entry { index: index + 1, term: 2, kind: EntryKind::Normal, data: bytes::Bytes::new() };
    let mut append = message(MessageType::MsgAppend, 2, 2);
    (append.index, append.log_term, append.commit) = (index, log_term, 2);
    append.set_entries(vec![convert::raft_entry(&entry)].into());
    step(replica, append);
    let (number, _) = drain(replica);
    replica.persisted(number);
    replica.last_index() > index
}

fn heartbeat_to_first(replica: &mut Replica, commit: Index, context: &'static [u8]) -> Vec<raft::eraftpb::Message> {
    let mut heartbeat = message(MessageType::MsgHeartbeat, 2, 2);
    (heartbeat.commit, heartbeat.context) = (commit, context.into());
    step(replica, heartbeat);
    sent(replica)
}

#[test]
fn a_request_for_a_snapshot_of_what_is_not_committed_lapses_and_entries_are_taken_again() {
    let mut replica = asking();
    assert!(!append_to_first(&mut replica, 3, 2), "it waits for the snapshot");
    for _ in 0..10 {
        heartbeat_to_first(&mut replica, 2, b"");
        replica.tick();
    }
    replica.request_snapshot();
    assert!(append_to_first(&mut replica, 3, 2), "it does not ask anew before entry 3 is committed");
    heartbeat_to_first(&mut replica, 3, b"");
    replica.request_snapshot();
    assert!(!append_to_first(&mut replica, 4, 2), "it waits for another snapshot");
}

/// Member 2 sends a snapshot; returns whether it was taken.
fn snapshot_to_first(replica: &mut Replica, index: Index, term: Term) -> bool {
    let conf_state = ConfState { voters: vec![1, 2], ..Default::default() };
    let mut snapshot = message(MessageType::MsgSnapshot, 2, 2);
    snapshot.set_snapshot(convert::raft_snapshot(&SnapshotMeta { index, term, conf_state }));
    step(replica, snapshot);
    let mut taken = false;
    while replica.has_output() {
        let output = replica.output();
        taken |= output.persist.snapshot.is_some();
        replica.persisted(output.persist.number);
    }
    taken
}

#[test]
fn a_snapshot_that_ends_before_the_log_takes_nothing_away_that_was_acknowledged() {
    let mut replica = asking();
    assert!(!snapshot_to_first(&mut replica, 2, 1), "entry 3 would be lost");
    assert_eq!(replica.last_index(), 3);
    assert!(!append_to_first(&mut replica, 3, 2), "it waits for the right one");
    assert!(snapshot_to_first(&mut replica, 3, 2));
    assert!(append_to_first(&mut replica, 3, 2), "it waits no more");
}

#[test]
fn a_request_for_a_snapshot_of_what_is_committed_does_not_lapse() {
    let mut replica = asking();
    for _ in 0..100 {
        heartbeat_to_first(&mut replica, 3, b"");
        replica.tick();
    }
    assert!(!append_to_first(&mut replica, 3, 2));
}

#[test]
fn a_member_that_waits_for_a_snapshot_confirms_its_leader_to_readers() {
    let mut replica = asking();
    let answers = heartbeat_to_first(&mut replica, 2, b"read");
    let of = |kind| answers.iter().find(|answer| answer.get_msg_type() == kind).expect("an answer");
    assert_eq!(of(MessageType::MsgHeartbeatResponse).context, b"read".as_slice());
    assert_eq!(of(MessageType::MsgAppendResponse).request_snapshot, 3);
}

#[test]
fn a_leader_sends_entries_again_when_what_a_snapshot_was_asked_for_is_not_committed() {
    let mut replica = leader();
    replica.propose(bytes::Bytes::from_static(b"four")).unwrap();
    let (number, _) = drain(&mut replica);
    replica.persisted(number);
    let mut request = message(MessageType::MsgAppendResponse, 2, 2);
    (request.index, request.reject, request.request_snapshot) = (3, true, 4);
    step(&mut replica, request);
    let mut entries = Vec::new();
    for _ in 0..10 {
        assert!(entries.is_empty(), "{entries:?}");
        replica.tick();
        step(&mut replica, message(MessageType::MsgHeartbeatResponse, 2, 2));
        entries.extend(indexes(sent(&mut replica)));
    }
    assert_eq!(entries, [4]);
}

#[test]
fn what_a_peer_asks_its_leader_is_not_passed_on_in_its_name() {
    let mut replica = start_in(1, &[1, 2, 3], MEMORY_BYTES_MAX);
    assert!(append_to_first(&mut replica, 2, 1), "it follows member 2");
    for kind in [MessageType::MsgReadIndex, MessageType::MsgTransferLeader] {
        let mut asked = message(kind, 3, 0);
        asked.to = 1;
        asked.set_entries(vec![raft::eraftpb::Entry::default()].into());
        step(&mut replica, asked);
        assert_eq!(sent(&mut replica), [], "{kind:?}");
    }
}
