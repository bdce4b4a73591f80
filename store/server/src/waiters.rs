//! Who waits for what: the callers of proposals by command counter, and the callers of linearizable reads by token.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use quorate_api::Error as ApiError;
use quorate_core::apply::{Outcome, Response};
use quorate_core::log::Term;
use quorate_core::membership::Refused;
use tokio::sync::oneshot;

/// What a proposal's caller gets.
pub type Answer = Result<Response, ApiError>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Callers that wait for their command to be applied. A caller that goes away frees its place; its command lives on.
#[derive(Default)]
pub struct Proposals {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    changes: Mutex<HashMap<u64, oneshot::Sender<Result<(), Refused>>>>,
}

/// Removes the waiter when the caller stops waiting.
pub struct Waiting<'a> {
    proposals: &'a Proposals,
    counter: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.proposals.waiting).remove(&self.counter);
        lock(&self.proposals.changes).remove(&self.counter);
    }
}

impl Proposals {
    pub fn wait(&self, counter: u64) -> (Waiting<'_>, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        lock(&self.waiting).insert(counter, sender);
        (Waiting { proposals: self, counter }, receiver)
    }

    pub fn wait_change(&self, counter: u64) -> (Waiting<'_>, oneshot::Receiver<Result<(), Refused>>) {
        let (sender, receiver) = oneshot::channel();
        lock(&self.changes).insert(counter, sender);
        (Waiting { proposals: self, counter }, receiver)
    }

    /// Commands that wait now.
    pub fn pending(&self) -> usize {
        lock(&self.waiting).len()
    }

    /// Wakes the callers of the outcomes that are this boot's.
    pub fn answer(&self, member: u64, boot: u64, outcomes: Vec<Outcome>) {
        let mut waiting = lock(&self.waiting);
        for Outcome { id, result } in outcomes {
            if id.member == member
                && id.boot == boot
                && let Some(sender) = waiting.remove(&id.counter)
            {
                // The caller may have gone meanwhile.
                let _ = sender.send(result);
            }
        }
    }

    pub fn answer_change(&self, counter: u64, result: Result<(), Refused>) {
        if let Some(sender) = lock(&self.changes).remove(&counter) {
            let _ = sender.send(result);
        }
    }

    /// The command was not handed to raft.
    pub fn refuse(&self, counter: u64, error: ApiError) {
        if let Some(sender) = lock(&self.waiting).remove(&counter) {
            let _ = sender.send(Err(error.clone()));
        }
        if let Some(sender) = lock(&self.changes).remove(&counter) {
            let _ = sender.send(Err(Refused::Api(error)));
        }
    }
}

/// A confirmed read point.
#[derive(Debug, Clone, Copy)]
pub struct Confirmed {
    pub term: Term,
    /// This member itself leads `term`, confirmed after the read arrived.
    pub leads: bool,
}

/// Callers that wait for a confirmed read point, and then, if they want to read, for its index to be applied.
#[derive(Default)]
pub struct Reads {
    state: Mutex<ReadState>,
}

#[derive(Default)]
struct ReadState {
    next_token: u64,
    /// Ascending by token; the flag says whether the caller also waits for apply.
    unconfirmed: VecDeque<(u64, bool, oneshot::Sender<Confirmed>)>,
    /// By index that must be applied.
    unapplied: BTreeMap<u64, Vec<(oneshot::Sender<Confirmed>, Confirmed)>>,
    /// The highest index that a quorum was heard to have committed; 0 when none was heard.
    heard: u64,
}

impl ReadState {
    /// Forgets callers that gave up. All wait equally long, so the oldest are first; without this they would pile up for as long as
    /// there is no quorum, or nothing is applied.
    fn forget_gone(&mut self) {
        while self.unconfirmed.front().is_some_and(|(.., sender)| sender.is_closed()) {
            self.unconfirmed.pop_front();
        }
        while let Some(first) = self.unapplied.first_entry()
            && first.get().iter().all(|(sender, _)| sender.is_closed())
        {
            first.remove();
        }
    }
}

impl Reads {
    /// Enters a caller; the token is to be requested of the inbox.
    pub fn wait(&self, until_applied: bool) -> (u64, oneshot::Receiver<Confirmed>) {
        let (sender, receiver) = oneshot::channel();
        let mut state = lock(&self.state);
        state.forget_gone();
        state.next_token += 1;
        let token = state.next_token;
        state.unconfirmed.push_back((token, until_applied, sender));
        (token, receiver)
    }

    /// A round confirmed all tokens up to `token` at `index`; `applied` is applied now.
    pub fn confirm(&self, token: u64, index: u64, applied: u64, confirmed: Confirmed) {
        let mut state = lock(&self.state);
        state.heard = state.heard.max(index);
        while state.unconfirmed.front().is_some_and(|(waiting, ..)| *waiting <= token) {
            let Some((_, until_applied, sender)) = state.unconfirmed.pop_front() else { break };
            if until_applied && index > applied {
                state.unapplied.entry(index).or_default().push((sender, confirmed));
            } else {
                let _ = sender.send(confirmed);
            }
        }
    }

    /// The highest index that a quorum was heard to have committed since this process started.
    pub fn heard(&self) -> Option<u64> {
        Some(lock(&self.state).heard).filter(|heard| *heard > 0)
    }

    /// Everything up to `applied` can be read.
    pub fn applied(&self, applied: u64) {
        let mut state = lock(&self.state);
        while let Some(entry) = state.unapplied.first_entry() {
            if *entry.key() > applied {
                break;
            }
            for (sender, confirmed) in entry.remove() {
                let _ = sender.send(confirmed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(reads: &Reads) -> (usize, usize) {
        let state = lock(&reads.state);
        (state.unconfirmed.len(), state.unapplied.len())
    }

    #[test]
    fn callers_that_gave_up_are_forgotten() {
        let reads = Reads::default();
        for _ in 0..100 {
            let (_, answer) = reads.wait(true);
            drop(answer);
        }
        let (token, answer) = reads.wait(true);
        assert_eq!(waiting(&reads), (1, 0), "without a quorum");
        reads.confirm(token, 7, 6, Confirmed { term: 1, leads: false });
        assert_eq!(waiting(&reads), (0, 1));
        drop(answer);
        let (token, mut answer) = reads.wait(true);
        assert_eq!(waiting(&reads), (1, 0), "and while nothing is applied");
        reads.confirm(token, 8, 6, Confirmed { term: 1, leads: false });
        assert!(answer.try_recv().is_err());
        reads.applied(8);
        assert!(answer.try_recv().is_ok());
        assert_eq!((waiting(&reads), reads.heard()), ((0, 0), Some(8)));
    }
}
