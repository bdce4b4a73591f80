//! What one watcher asked for and what it was sent, against the changes of the model: nothing skipped, repeated or reordered, no
//! revision in two messages, previous rows right, progress never ahead. A judge lives on over reconnections.

use quorate_api::etcdserverpb::{self as pb, watch_create_request::FilterType};
use quorate_api::mvccpb::{self, KeyValue};

use crate::counts::Counts;
use crate::model::{Change, Model, within};

/// See the module.
#[derive(Debug, Clone)]
pub struct Judge {
    /// As it was first asked for; the start is in `next`.
    pub request: pb::WatchCreateRequest,
    /// The first revision that was not received whole.
    pub next: i64,
    /// Wanted changes of `next` and above that came in fragments.
    consumed: usize,
    /// It started in the future, and has received nothing yet.
    future: bool,
}

impl Judge {
    /// A watcher whose first revision is `first`, made when the member stood at `published`.
    pub fn new(request: pb::WatchCreateRequest, first: i64, published: i64) -> Judge {
        Judge { request, next: first, consumed: 0, future: first > published + 1 }
    }

    /// The stream broke: fragments of a message that never ended come again.
    pub fn interrupt(&mut self) {
        self.consumed = 0;
    }

    fn wants(&self, change: &Change) -> bool {
        let filter = if change.after.is_some() { FilterType::Noput } else { FilterType::Nodelete };
        within(&change.key, &self.request.key, &self.request.range_end)
            && !self.request.filters.contains(&i32::from(filter))
    }

    fn wanted<'a>(&'a self, model: &'a Model) -> impl Iterator<Item = (i64, &'a Change)> {
        model.changes(self.next).filter(|(_, change)| self.wants(change))
    }

    /// The first revision up to `to` of which something was not received.
    pub fn missing(&self, model: &Model, to: i64) -> Option<i64> {
        let due = |(revision, change): &(i64, &Change)| !may_be_gone(model, *revision, change) && *revision <= to;
        self.wanted(model).skip(self.consumed).find(due).map(|(revision, _)| revision)
    }

    /// A message with events.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn events(&mut self, model: &Model, response: &pb::WatchResponse, counts: &mut Counts) -> Result<(), String> {
        let (mut taken, mut last) = (self.consumed, self.next);
        let mut expected = self.wanted(model).skip(self.consumed).peekable();
        for event in &response.events {
            let revision = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
            let found = loop {
                let Some((at, change)) = expected.next() else {
                    return Err(format!("an event of revision {revision} is repeated, or nobody made it: {event:?}"));
                };
                taken += 1;
                if is_event(change, at, event) {
                    break (at, change);
                }
                if !may_be_gone(model, at, change) {
                    let how = if revision > at { "skipped" } else { "followed by something else" };
                    return Err(format!("the event of revision {at} is {how}: {change:?}, {event:?} came"));
                }
            };
            check_previous(&self.request, model, found, event.prev_kv.as_ref())?;
            if self.request.prev_kv {
                counts.add("watch: previous rows compared");
            }
            last = found.0;
        }
        counts.add("watch: messages with events compared");
        let rest = expected.find(|(at, change)| *at > last || !may_be_gone(model, *at, change));
        if let Some((at, change)) = rest.filter(|(at, _)| *at == last && !response.fragment) {
            return Err(format!("revision {at} is split: {change:?} is not in the message"));
        }
        drop(expected);
        let header = response.header.as_ref().map_or(0, |header| header.revision);
        if last > header {
            return Err(format!("an event of revision {last} comes under a header of revision {header}"));
        }
        if std::mem::take(&mut self.future) {
            counts.add("watch: starts in the future kept");
        }
        if response.fragment {
            counts.add("watch: fragments joined");
            self.consumed = taken;
        } else {
            (self.next, self.consumed) = (last + 1, 0);
        }
        Ok(())
    }

    /// Everything up to `revision` was received, the member says.
    ///
    /// # Errors
    /// Something below it was not.
    pub fn progress(&mut self, model: &Model, revision: i64, counts: &mut Counts) -> Result<(), String> {
        counts.add("watch: progress compared");
        if let Some(missing) = self.missing(model, revision) {
            return Err(format!("progress {revision} is ahead, revision {missing} was not received"));
        }
        if self.consumed == 0 {
            // A reconnection starts there.
            self.next = self.next.max(revision + 1);
        }
        Ok(())
    }

    /// The watcher ended because revisions up to `compacted` are gone.
    ///
    /// # Errors
    /// It needed none of them, or they are not gone.
    pub fn compacted(&mut self, model: &Model, compacted: i64, counts: &mut Counts) -> Result<(), String> {
        counts.add("watch: cancellations by compaction checked");
        if self.next >= compacted {
            return Err(format!("canceled at compact revision {compacted}, but {} is all it needs", self.next));
        }
        if compacted > model.compacted {
            return Err(format!("canceled at compact revision {compacted}, compacted is {}", model.compacted));
        }
        (self.next, self.consumed) = (compacted, 0);
        Ok(())
    }
}

/// A compaction at or above its revision takes a change that the same transaction made again.
fn may_be_gone(model: &Model, revision: i64, change: &Change) -> bool {
    change.changed_again && revision <= model.compacted
}

fn is_event(change: &Change, revision: i64, event: &mvccpb::Event) -> bool {
    let Some(kv) = &event.kv else { return false };
    match &change.after {
        Some(after) => event.r#type == 0 && kv == after,
        None => event.r#type == 1 && kv.key == change.key && kv.mod_revision == revision,
    }
}

/// The row at the revision before: never an earlier change of the same revision, and none for a put that creates its key.
fn check_previous(
    request: &pb::WatchCreateRequest,
    model: &Model,
    (revision, change): (i64, &Change),
    found: Option<&KeyValue>,
) -> Result<(), String> {
    let creates = change.after.as_ref().is_some_and(|after| after.create_revision == after.mod_revision);
    let expected = change.before.as_ref().filter(|_| request.prev_kv && !creates);
    // When the message was made the revision before may have been compacted, but then it is by now.
    let unknown = found.is_none() && revision - 1 < model.compacted;
    if found == expected || unknown {
        return Ok(());
    }
    Err(format!("the previous row of revision {revision} is {found:?}, not {expected:?}"))
}
