//! The watch streams of both sides: what each should have been sent, when it must have been, and whether it was the same.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use prost_reflect::prost::Message;
use prost_reflect::{DynamicMessage, Value};
use tokio::time::Instant;

use crate::compare::{ByWatcher, Used, by_watcher, by_watcher_behind, check_watch_messages, join_long};
use crate::coverage::Coverage;
use crate::facts::Facts;
use crate::run::{Difference, flag, shortened};
use crate::session::Session;
use crate::step::{Metadata, Step, show};
use crate::stream::Taken;
use crate::wire;

/// Until both sides have been sent the same; events come within milliseconds.
const SAME_TIMEOUT: Duration = Duration::from_secs(10);
/// For an answer that etcd may leave out.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Steps during which watchers may stay behind.
const RACE_STEPS_MAX: usize = 6;

#[derive(Default)]
pub struct Watching {
    streams: BTreeMap<usize, State>,
    raced_steps: usize,
}

/// A stream, by what etcd answered on it.
#[derive(Default)]
struct State {
    /// Watchers by id, each with the revision that it starts at; 0 is now.
    watchers: BTreeMap<i64, i64>,
    /// The start of the watcher whose creation is being answered.
    creating: i64,
    /// A watcher was canceled by compaction.
    compacted: bool,
    /// The newest watcher starts in the past.
    behind: bool,
    /// Something may have been written while a watcher was behind.
    racing: bool,
    settled: bool,
}

impl Watching {
    pub fn is_racing(&self, stream: usize) -> bool {
        self.streams.get(&stream).is_some_and(|state| state.racing)
    }

    pub fn is_behind(&self, stream: usize) -> bool {
        self.streams.get(&stream).is_some_and(|state| state.behind)
    }

    pub fn was_compacted(&self, stream: usize) -> bool {
        self.streams.get(&stream).is_some_and(|state| state.compacted)
    }

    pub fn race(&mut self, stream: usize) {
        self.streams.entry(stream).or_default().racing = true;
        self.raced_steps = 0;
    }

    /// Whether watchers were left behind for as long as they may.
    pub fn raced_enough(&mut self) -> bool {
        let racing = self.streams.values().any(|state| state.racing);
        self.raced_steps = if racing { self.raced_steps + 1 } else { 0 };
        self.raced_steps > RACE_STEPS_MAX
    }

    /// Nobody is behind; what came meanwhile is still to be compared.
    pub fn settled(&mut self) {
        self.streams.values_mut().for_each(|state| (state.settled, state.behind) = (true, false));
    }

    /// What came meanwhile was compared.
    pub fn agreed(&mut self) {
        self.streams.values_mut().for_each(|state| (state.racing, state.settled) = (false, false));
    }

    pub fn end(&mut self, stream: usize) {
        self.streams.remove(&stream);
    }

    /// Sends a message on a stream of both sides, and waits for the answer that it must have.
    pub async fn send(
        &mut self,
        stream: usize,
        request: &DynamicMessage,
        metadata: Option<Metadata>,
        ours: &mut Session,
        theirs: &mut Session,
        facts: &Facts,
    ) {
        let state = self.streams.entry(stream).or_default();
        let bytes = Bytes::from(request.encode_to_vec());
        for side in [&mut *ours, &mut *theirs] {
            side.stream(stream, metadata).send(bytes.clone()).await;
        }
        let answered: Box<dyn Fn(&DynamicMessage) -> bool + Send> = match part(request) {
            Some(("create_request", create)) => {
                let start = wire::number(&create, &["start_revision"]);
                state.creating = start;
                state.behind = start > 0 && start <= facts.now;
                Box::new(|message| flag(message, "created"))
            }
            Some(("cancel_request", cancel)) => {
                let id = wire::number(&cancel, &["watch_id"]);
                if !state.watchers.contains_key(&id) {
                    return;
                }
                Box::new(move |message| flag(message, "canceled") && wire::number(message, &["watch_id"]) == id)
            }
            Some(("progress_request", _)) => {
                if state.watchers.is_empty() || state.watchers.values().any(|start| *start > facts.now) {
                    // Not answered now, and later it might be: what comes behind it is refused at once, and tells that it was read.
                    let refused = Step::parse("Watch.Watch/0 create_request { key: \"a\" start_revision: -1 }")
                        .expect("the line is a step");
                    let bytes = Bytes::from(refused.request().map(DynamicMessage::encode_to_vec).unwrap_or_default());
                    for side in [&mut *ours, &mut *theirs] {
                        side.stream(stream, metadata).send(bytes.clone()).await;
                    }
                    Box::new(|message| flag(message, "created"))
                } else {
                    Box::new(|message| wire::number(message, &["watch_id"]) == -1)
                }
            }
            _ => return,
        };
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        for side in [&*ours, &*theirs] {
            let Some(stream) = side.streams.get(&stream) else { continue };
            loop {
                let taken = stream.pending();
                if taken.end.is_some() || taken.messages.iter().any(&answered) {
                    break;
                }
                if tokio::time::timeout_at(deadline, stream.changed()).await.is_err() {
                    // An answer that only one side gives is found when the streams are compared.
                    break;
                }
            }
        }
    }

    /// Waits until both sides were sent the same on every stream where no watcher is behind.
    pub async fn drain(
        &mut self,
        ours: &mut Session,
        theirs: &mut Session,
        facts: &Facts,
        coverage: &mut Coverage,
    ) -> Option<Difference> {
        let mut ended = Vec::new();
        for (number, state) in &mut self.streams {
            if state.racing && !state.settled {
                continue;
            }
            let deadline = Instant::now() + SAME_TIMEOUT;
            loop {
                let (our_stream, their_stream) = (ours.streams.get(number)?, theirs.streams.get(number)?);
                let taken = [our_stream.pending(), their_stream.pending()];
                let mut used = Used::new();
                let [us, them] = compared(&taken, state, [ours, theirs], facts, &mut used);
                let broken = [&taken[0], &taken[1]].map(|taken| check_watch_messages(&taken.messages).err());
                if us == them && taken[0].end == taken[1].end && broken == [None, None] {
                    our_stream.agree(taken[0].messages.len());
                    their_stream.agree(taken[1].messages.len());
                    used.iter().for_each(|(rule, count)| *coverage.rules.entry(*rule).or_default() += count);
                    state.agree(&taken, coverage);
                    if taken[1].end.is_some() {
                        ended.push(*number);
                    }
                    break;
                }
                let more = async {
                    tokio::select! {
                        () = our_stream.changed() => {}
                        () = their_stream.changed() => {}
                    }
                };
                if broken != [None, None] || tokio::time::timeout_at(deadline, more).await.is_err() {
                    let [what_us, what_them] = &broken;
                    let what = format!("watch stream {number} differs");
                    let quorate = format!("{}{}", what_us.clone().unwrap_or_default(), tell(&us, &taken[0]));
                    let etcd = format!("{}{}", what_them.clone().unwrap_or_default(), tell(&them, &taken[1]));
                    return Some(Difference { what, quorate, etcd });
                }
            }
        }
        for number in ended {
            self.streams.remove(&number);
            ours.streams.remove(&number);
            theirs.streams.remove(&number);
        }
        None
    }
}

impl State {
    /// Takes note of what both sides were sent.
    fn agree(&mut self, taken: &[Taken; 2], coverage: &mut Coverage) {
        for message in &taken[1].messages {
            coverage.message(message);
            let id = wire::number(message, &["watch_id"]);
            if flag(message, "created") && !flag(message, "canceled") {
                self.watchers.insert(id, self.creating);
            } else if flag(message, "canceled") {
                self.watchers.remove(&id);
                self.compacted |= wire::number(message, &["compact_revision"]) != 0;
            }
        }
    }
}

/// The field that is set of a request, and its message.
fn part(request: &DynamicMessage) -> Option<(&'static str, DynamicMessage)> {
    ["create_request", "cancel_request", "progress_request"].into_iter().find_map(|name| {
        let value = request.has_field_by_name(name).then(|| request.get_field_by_name(name))??;
        match &*value {
            Value::Message(message) => Some((name, message.clone())),
            _ => None,
        }
    })
}

fn compared(taken: &[Taken; 2], state: &State, both: [&Session; 2], facts: &Facts, used: &mut Used) -> [ByWatcher; 2] {
    let mut of_ours = Used::new();
    let sides = [0, 1].map(|side| {
        let mut messages = taken[side].messages.clone();
        // What the judge left out is counted on etcd's side.
        let mut none = Used::new();
        let used = if side == 1 { &mut *used } else { &mut none };
        messages.iter_mut().for_each(|message| facts.view(both[side]).message(message, used));
        if side == 0 && !state.racing {
            messages = join_long(messages, &mut of_ours);
        }
        if state.racing { by_watcher_behind(&messages) } else { by_watcher(&messages) }
    });
    of_ours.into_iter().for_each(|(rule, count)| *used.entry(rule).or_default() += count);
    sides
}

fn tell(watchers: &ByWatcher, taken: &Taken) -> String {
    let mut text = String::new();
    for (id, messages) in watchers {
        for message in messages {
            text.push_str(&format!("\n    {id}: {}", shortened(show(message))));
        }
    }
    match &taken.end {
        Some(end) => format!("{text}\n    the stream ended with {:?}: {}", end.code, end.text),
        None if watchers.is_empty() => "nothing".to_owned(),
        None => text,
    }
}
