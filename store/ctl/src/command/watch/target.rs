//! One watch: which keys, from which revision on, and what to run for each event.

use bytes::Bytes;
use quorate_api::etcdserverpb::watch_request::RequestUnion;
use quorate_api::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};

use crate::Error;
use crate::command::{get, text};
use crate::flags::{Flag, Kind, Parsed, flag};
use crate::settings::{Environment, PREFIXES};

pub const INTERACTIVE: Flag =
    Flag { name: "interactive", short: Some('i'), kind: Kind::Bool(false), help: "read watch commands from input" };
const PREFIX: Flag = flag("prefix", Kind::Bool(false), "watch every key that begins with the given one");
const REV: Flag = flag("rev", Kind::Int, "revision to begin at (0 = from now on)");
const PREV_KV: Flag = flag("prev-kv", Kind::Bool(false), "show key and value as they were before each event");
const PROGRESS_NOTIFY: Flag =
    flag("progress-notify", Kind::Bool(false), "show now and then how far the watch is while nothing happens");

pub const FLAGS: &[Flag] = &[INTERACTIVE, PREFIX, REV, PREV_KV, PROGRESS_NOTIFY];

pub const DETAILS: &str = "\
A command behind '--' runs once an event, with ETCD_WATCH_REVISION, ETCD_WATCH_EVENT_TYPE, ETCD_WATCH_KEY and
ETCD_WATCH_VALUE in its environment. The key can also come from the environment, as QUORATECTL_WATCH_KEY and
QUORATECTL_WATCH_RANGE_END (or ETCDCTL_...). With -i, lines such as 'watch key --prefix' and 'progress' are read
from standard input.";

const BAD_NUMBER: Error = Error::Arguments("bad number of arguments");

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    key: Bytes,
    range_end: Bytes,
    /// Where a new stream begins; 0 until the first answer, if the user named none.
    next_revision: i64,
    prev_kv: bool,
    progress_notify: bool,
    /// Program and arguments; empty = none.
    pub command: Vec<Bytes>,
}

impl Target {
    /// Takes the key from the arguments or else from the environment.
    pub fn new(parsed: &Parsed, environment: &Environment) -> Result<Target, Error> {
        let (keys, command) = parsed.args.split_at(parsed.before_dashes.unwrap_or(parsed.args.len()));
        let (key, end) = match (from_environment("WATCH_KEY", environment), keys) {
            (Some(_), [_, ..]) => {
                return Err(Error::Arguments("bad number of arguments (found conflicting environment key)"));
            }
            (Some((_, key)), []) => (key, from_environment("WATCH_RANGE_END", environment).map(|(_, end)| end)),
            (None, keys) => {
                if let Some((name, end)) = from_environment("WATCH_RANGE_END", environment) {
                    let key_name = name.replace("RANGE_END", "KEY");
                    return Err(Error::RangeEndWithoutKey { name: key_name, end_name: name, end: text(&end) });
                }
                match keys {
                    [key] => (key.clone(), None),
                    [key, end] => (key.clone(), Some(end.clone())),
                    _ => return Err(BAD_NUMBER),
                }
            }
        };
        if parsed.bool(&PREFIX) && end.is_some() {
            return Err(Error::Arguments("`range_end` and `--prefix` are mutually exclusive"));
        }
        let (key, range_end) = get::range(&key, end.as_ref(), parsed.bool(&PREFIX), false)?;
        Ok(Target {
            key,
            range_end,
            next_revision: parsed.int(&REV),
            prev_kv: parsed.bool(&PREV_KV),
            progress_notify: parsed.bool(&PROGRESS_NOTIFY),
            command: command.to_vec(),
        })
    }

    /// The request that begins or goes on with this watch.
    pub fn create(&self, watch_id: i64) -> WatchRequest {
        let create = WatchCreateRequest {
            key: self.key.clone(),
            range_end: self.range_end.clone(),
            start_revision: self.next_revision,
            progress_notify: self.progress_notify,
            filters: Vec::new(),
            prev_kv: self.prev_kv,
            watch_id,
            fragment: false,
        };
        WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
    }

    /// Moves on behind what `response` says. A revision that the user named moves only with events, since the answer to
    /// the creation has the store's revision, which lies ahead of them.
    pub fn seen(&mut self, response: &WatchResponse, revision: i64) {
        let last_event = response.events.iter().filter_map(|event| Some(event.kv.as_ref()?.mod_revision)).max();
        self.next_revision = match last_event {
            Some(last) => last + 1,
            None if response.created && self.next_revision != 0 => self.next_revision,
            None => self.next_revision.max(revision + 1),
        };
    }
}

fn from_environment(suffix: &str, environment: &Environment) -> Option<(String, Bytes)> {
    let names = PREFIXES.iter().map(|prefix| format!("{prefix}{suffix}"));
    let mut set = names.filter_map(|name| environment.get(&name).map(|value| (name, Bytes::from(value.clone()))));
    set.find(|(_, value)| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::parse;
    use quorate_api::etcdserverpb::ResponseHeader;
    use quorate_api::mvccpb::{Event, KeyValue};

    fn target(line: &str, environment: &[(&str, &str)]) -> Result<Target, (String, u8)> {
        let args: Vec<Bytes> = line.split_whitespace().map(|arg| Bytes::copy_from_slice(arg.as_bytes())).collect();
        let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Target::new(&parse(&[FLAGS], &args).unwrap(), &environment)
            .map_err(|error| (error.to_string(), error.exit_code()))
    }

    #[test]
    fn keys_come_from_arguments_or_environment_and_the_command_from_behind_the_dashes() {
        for (line, environment, key, end, command) in [
            ("a", &[][..], "a", "", &[][..]),
            ("a b --rev 3", &[], "a", "b", &[]),
            ("a --prefix -- echo --prefix", &[], "a", "b", &["echo", "--prefix"]),
            ("--rev 1", &[("ETCDCTL_WATCH_KEY", "k"), ("ETCDCTL_WATCH_RANGE_END", "l")], "k", "l", &[]),
            ("-- echo", &[("ETCDCTL_WATCH_KEY", "k"), ("QUORATECTL_WATCH_KEY", "ours")], "ours", "", &["echo"]),
        ] {
            let target = target(line, environment).unwrap();
            assert_eq!((target.key.as_ref(), target.range_end.as_ref()), (key.as_bytes(), end.as_bytes()), "{line}");
            assert_eq!(target.command, command.iter().map(|arg| Bytes::from(*arg)).collect::<Vec<_>>(), "{line}");
        }
    }

    #[test]
    fn wrong_arguments_are_refused_as_etcdctl_does() {
        for (line, environment, text) in [
            ("", &[][..], "bad number of arguments"),
            ("-- echo", &[], "bad number of arguments"),
            ("a b c", &[], "bad number of arguments"),
            ("a b --prefix", &[], "`range_end` and `--prefix` are mutually exclusive"),
            ("a", &[("ETCDCTL_WATCH_KEY", "k")], "bad number of arguments (found conflicting environment key)"),
            (
                "a",
                &[("ETCDCTL_WATCH_RANGE_END", "wc")],
                "ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END=\"wc\"",
            ),
        ] {
            assert_eq!(target(line, environment), Err((text.to_owned(), 128)), "{line}");
        }
    }

    #[test]
    fn a_new_stream_goes_on_where_the_old_one_ended() {
        let response = |created, revision, events: &[i64]| {
            let kv = |revision| KeyValue { mod_revision: revision, ..KeyValue::default() };
            WatchResponse {
                header: Some(ResponseHeader { revision, ..ResponseHeader::default() }),
                created,
                events: events.iter().map(|revision| Event { kv: Some(kv(*revision)), ..Event::default() }).collect(),
                ..WatchResponse::default()
            }
        };
        let mut from_now = target("a", &[]).unwrap();
        let mut from_five = target("a --rev 5", &[]).unwrap();
        for (created, revision, events, now, five) in
            [(true, 9, &[][..], 10, 5), (false, 12, &[11, 12], 13, 13), (false, 20, &[], 21, 21)]
        {
            for (target, expected) in [(&mut from_now, now), (&mut from_five, five)] {
                target.seen(&response(created, revision, events), revision);
                assert_eq!(target.next_revision, expected);
            }
        }
    }
}
