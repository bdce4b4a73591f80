//! When a member has its database flushed (`node/flush.rs`).

use super::*;
use crate::log::SnapshotMeta;

const BYTES_MAX: usize = 2_500;
const AGE_TICKS: usize = 20;
const POLICY: FlushPolicy =
    FlushPolicy { bytes_max: BYTES_MAX, age_ms_max: AGE_TICKS as u64 * TICK_MS, tick_ms: TICK_MS };

/// One member whose effects are performed at once, but for flushes, which are counted and reported by hand.
struct One {
    node: Node,
    log: Arc<Mutex<Vec<Entry>>>,
    sent: Vec<Message>,
    flushes: usize,
    /// Below what its log was to be cut.
    cuts: Vec<Index>,
    /// Whatever it is handed to apply meets damage.
    damaged: bool,
    counter: u64,
}

impl One {
    /// A member with a log of term 1 from `truncated` + 1 to `last`, all of it committed, and applied up to `truncated`.
    fn start(id: MemberId, voters: &[MemberId], truncated: Index, last: Index) -> One {
        let entry = |index| Entry { index, term: 1, kind: EntryKind::Normal, data: Bytes::from(vec![0; 1_000]) };
        let log = Arc::new(Mutex::new((truncated + 1..=last).map(entry).collect()));
        let start = Start {
            id,
            hard_state: HardState { term: 1, vote: 0, commit: last },
            conf_state: ConfState { voters: voters.to_vec(), ..Default::default() },
            applied: truncated,
            truncated: (truncated, 1),
            last_index: last,
            memory_bytes_max: 1 << 20,
            seed: id,
            timing: Timing { election_ticks: ELECTION_TICKS, pre_vote: true },
            window: Window::default(),
        };
        let node = Node::new(start, 1, Box::new(Reader(Arc::clone(&log))), POLICY);
        let (sent, cuts) = (Vec::new(), Vec::new());
        let mut one = One { node, log, sent, flushes: 0, cuts, damaged: false, counter: 0 };
        one.act(None);
        one
    }

    /// A sole voter that leads, with nothing left to flush.
    fn leading() -> One {
        let mut one = One::start(1, &[1], 5, 5);
        one.pass(2 * ELECTION_TICKS + AGE_TICKS);
        assert!(one.node.status().leads_with_commit, "{:?}", one.node.status());
        assert_eq!(one.flushes, 1, "of the first entry of its term");
        one.report();
        one.flushes = 0;
        one
    }

    fn act(&mut self, event: impl IntoIterator<Item = Event>) {
        let mut events: Vec<Event> = event.into_iter().collect();
        loop {
            let mut reports = Vec::new();
            for effect in self.node.turn(events) {
                self.perform(effect, &mut reports);
            }
            if reports.is_empty() {
                return;
            }
            events = reports;
        }
    }

    fn perform(&mut self, effect: Effect, reports: &mut Vec<Event>) {
        match effect {
            Effect::Send(message) => self.sent.push(message),
            Effect::Persist { number, entries, snapshot, .. } => {
                if snapshot.is_some() {
                    self.log.lock().unwrap().clear();
                }
                self.log.lock().unwrap().extend(entries);
                reports.push(Event::Persisted { number });
            }
            Effect::Apply(entries) if self.damaged => reports.push(Event::CannotApply { entries }),
            Effect::Apply(entries) => reports.push(Event::Applied { index: entries.last().unwrap().index }),
            Effect::BuildSnapshot => {
                let conf_state = ConfState { voters: vec![1, 2], ..Default::default() };
                let index = self.node.status().applied;
                reports.push(Event::SnapshotBuilt { meta: SnapshotMeta { index, term: 1, conf_state } });
            }
            Effect::Flush => self.flushes += 1,
            Effect::CutLog { below, .. } => self.cuts.push(below),
            other => panic!("nothing asks for {other:?}"),
        }
    }

    /// Applies an entry of a thousand bytes and a little.
    fn write(&mut self) {
        self.counter += 1;
        let id = CommandId { member: 1, boot: 1, counter: self.counter };
        let payload = Payload::Command(Bytes::from(vec![0; 1_000]));
        self.act([Event::Propose(Proposal { id, payload })]);
    }

    fn pass(&mut self, ticks: usize) {
        (0..ticks).for_each(|_| self.act([Event::Tick]));
    }

    /// The flush under way is done.
    fn report(&mut self) {
        let applied = self.node.status().applied;
        self.act([Event::Flushed { applied, keep_entries: 0 }]);
    }
}

#[test]
fn one_flush_begins_when_enough_bytes_are_applied_and_none_while_it_is_under_way() {
    let mut one = One::leading();
    one.write();
    one.write();
    assert_eq!(one.flushes, 0, "2000 bytes of 2500");
    one.write();
    assert_eq!(one.flushes, 1);
    for _ in 0..5 {
        one.write();
    }
    one.pass(3 * AGE_TICKS);
    assert_eq!(one.flushes, 1, "it is under way");
    one.report();
    assert_eq!(one.flushes, 2, "what was applied meanwhile is due");
    one.report();
    one.pass(3 * AGE_TICKS);
    assert_eq!(one.flushes, 2, "everything is flushed");
}

#[test]
fn what_is_applied_is_flushed_at_its_age_and_nothing_when_nothing_was() {
    let mut one = One::leading();
    one.pass(3 * AGE_TICKS);
    assert_eq!(one.flushes, 0, "nothing was applied");
    one.write();
    one.pass(AGE_TICKS / 2);
    // It is the age of the oldest that counts.
    one.write();
    one.pass(AGE_TICKS / 2 - 1);
    assert_eq!(one.flushes, 0);
    one.pass(1);
    assert_eq!(one.flushes, 1);
}

#[test]
fn an_age_is_right_by_whatever_interval_the_ticks_come() {
    for (tick_ms, ticks) in [(TICK_MS / 10, AGE_TICKS * 5), (TICK_MS * 5, AGE_TICKS / 10)] {
        let mut one = One::leading();
        one.write();
        one.pass(AGE_TICKS / 2);
        // Half of the age has passed; the other half passes by the new interval.
        one.act([Event::Timers { tick_ms, election_ticks: ELECTION_TICKS }]);
        one.pass(ticks - 1);
        assert_eq!(one.flushes, 0, "{tick_ms} ms");
        one.pass(1);
        assert_eq!(one.flushes, 1, "{tick_ms} ms");
    }
}

#[test]
fn a_fenced_member_flushes_what_it_applied() {
    let mut one = One::leading();
    one.write();
    one.act([Event::Fence { fenced: true }]);
    one.pass(AGE_TICKS - 1);
    assert_eq!(one.flushes, 0);
    one.pass(1);
    assert_eq!(one.flushes, 1);
}

#[test]
fn a_member_that_cannot_apply_flushes_nothing() {
    let mut one = One::leading();
    one.write();
    one.damaged = true;
    one.write();
    one.pass(3 * AGE_TICKS);
    assert_eq!(one.flushes, 0);
}

#[test]
fn after_an_installation_counting_begins_anew_and_a_flush_of_the_old_state_lets_nothing_go() {
    let mut leader = One::start(1, &[1, 2], 5, 5);
    // It replays three thousand bytes at its start, and is to flush them.
    let mut follower = One::start(2, &[1, 2], 0, 3);
    assert_eq!((follower.node.status().applied, follower.flushes), (3, 1));
    for _ in 0..4 * ELECTION_TICKS {
        leader.pass(1);
        while !(leader.sent.is_empty() && follower.sent.is_empty()) {
            let messages = std::mem::take(&mut leader.sent);
            follower.act(messages.into_iter().map(Event::Message));
            let messages = std::mem::take(&mut follower.sent);
            leader.act(messages.into_iter().map(Event::Message));
        }
    }
    assert!(leader.node.status().leads_with_commit, "{:?}", leader.node.status());
    let applied = follower.node.status().applied;
    assert_eq!(applied, leader.node.status().applied, "it was sent a snapshot and what follows it");
    follower.pass(3 * AGE_TICKS);
    assert_eq!(follower.flushes, 1, "the flush of the old state is under way");
    follower.report();
    assert_eq!(follower.cuts, Vec::<Index>::new(), "the old state says nothing of the new one");
    assert_eq!(follower.flushes, 2, "the first entry of the leader's term was applied after the installation");
    follower.report();
    assert_eq!(follower.cuts, [applied]);
    assert_eq!(follower.flushes, 2);
}
