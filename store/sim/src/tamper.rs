//! The planted bugs of watches, leases and quota: what a broken server would send or apply, made out of what the real one does.

use bytes::Bytes;
use prost::Message as _;
use quorate_api::mvccpb;
use quorate_core::apply::Machine;
use quorate_core::command::{self, BatchBuilder, Command, CommandId, Expiry, Request};
use quorate_core::log::Entry;
use quorate_core::watch::Message;

use crate::model;
use crate::options::Bug;

/// What a session made, as a server with this bug queues it.
pub fn messages(bug: Option<Bug>, made: Vec<Message>) -> Vec<Message> {
    match bug {
        Some(Bug::DropEvent) => made.into_iter().map(without_last).collect(),
        Some(Bug::RepeatEvent) => {
            let mut all = made;
            let again = all.iter().rposition(|message| !message.events.is_empty()).map(|at| all[at].clone());
            all.extend(again);
            all
        }
        Some(Bug::SplitRevision) => made.into_iter().flat_map(halves).collect(),
        Some(Bug::ReorderEvents) => made.into_iter().map(backwards).collect(),
        Some(Bug::HasteProgress) => {
            let is_progress =
                |message: &Message| message.events.is_empty() && !message.head.created && !message.head.canceled;
            let (mut first, rest): (Vec<_>, Vec<_>) = made.into_iter().partition(is_progress);
            first.extend(rest);
            first
        }
        Some(Bug::WrongPrevious) => made.into_iter().map(own_previous).collect(),
        _ => made,
    }
}

fn without_last(mut message: Message) -> Message {
    if message.events.len() > 1 {
        message.events.pop();
    }
    message
}

fn halves(mut message: Message) -> Vec<Message> {
    if message.events.len() < 2 {
        return vec![message];
    }
    let rest = message.events.split_off(message.events.len() - 1);
    let rest = Message { head: message.head.clone(), events: rest };
    vec![message, rest]
}

fn backwards(mut message: Message) -> Message {
    message.events.reverse();
    message
}

/// The row of the event itself instead of the one before.
fn own_previous(mut message: Message) -> Message {
    for event in &mut message.events {
        let row = mvccpb::Event::decode(event.body.clone()).ok().and_then(|event| event.kv);
        if let Some(previous) = &mut event.previous {
            *previous = Bytes::from(row.unwrap_or_default().encode_to_vec());
        }
    }
    message
}

/// What a state machine with this bug makes of an entry. `over_quota` says whether this member's size is over its quota.
pub fn entry(bug: Option<Bug>, mut entry: Entry, machine: &Machine, quota_bytes: Option<u64>) -> Entry {
    if !matches!(bug, Some(Bug::IgnoreGrant | Bug::ReuseLease | Bug::QuotaBySize)) {
        return entry;
    }
    let Ok(commands) = command::decode(entry.data.clone()) else { return entry };
    if commands.is_empty() {
        return entry;
    }
    let mut batch = BatchBuilder::default();
    for command in commands {
        let made = match bug {
            Some(Bug::IgnoreGrant) => vec![any_grant(command, machine, entry.term)],
            Some(Bug::ReuseLease) => regranted(command, machine),
            _ => by_size(command, machine, quota_bytes),
        };
        made.iter().for_each(|command| batch.push(command));
    }
    entry.data = batch.finish();
    entry
}

/// An expiry that ends whatever lease has its id.
fn any_grant(command: Command, machine: &Machine, term: u64) -> Command {
    match (&command.request, command.id) {
        (Request::LeaseRevoke { id, expiry: Some(_) }, _) if machine.leases().contains_key(id) => {
            let expiry = Some(Expiry { grant_index: machine.leases()[id].grant_index, term });
            Command { request: Request::LeaseRevoke { id: *id, expiry }, ..command }
        }
        _ => command,
    }
}

/// A grant that takes the id of a lease that lives.
fn regranted(command: Command, machine: &Machine) -> Vec<Command> {
    match &command.request {
        Request::LeaseGrant(grant) if machine.leases().contains_key(&grant.id) => {
            let request = Request::LeaseRevoke { id: grant.id, expiry: None };
            vec![Command { id: CommandId::default(), request, ..command.clone() }, command]
        }
        _ => vec![command],
    }
}

/// A write that this member leaves out because its own database is too large.
fn by_size(command: Command, machine: &Machine, quota_bytes: Option<u64>) -> Vec<Command> {
    let cost = model::cost_bytes(&command.request);
    let over = quota_bytes.is_some_and(|quota| machine.size_in_use_bytes() + cost >= quota);
    if cost > 0 && over { Vec::new() } else { vec![command] }
}
