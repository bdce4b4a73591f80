//! The table of commands: names, flags and help. What they do is in `command`.

use crate::command::{compaction, defrag, del, endpoint, get, lease, member, put, txn, watch};
use crate::flags::Flag;

/// What a command is for, as the heading of the help text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    KeyValue,
    Cluster,
    Utility,
}

impl Group {
    pub const ALL: [Group; 3] = [Group::KeyValue, Group::Cluster, Group::Utility];

    pub fn heading(self) -> &'static str {
        match self {
            Group::KeyValue => "Key-value commands",
            Group::Cluster => "Cluster maintenance commands",
            Group::Utility => "Utility commands",
        }
    }
}

/// What runs for a command that has no sub-commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Get,
    Put,
    Del,
    Txn,
    Compaction,
    Watch,
    LeaseGrant,
    LeaseRevoke,
    LeaseTimeToLive,
    LeaseList,
    LeaseKeepAlive,
    MemberAdd,
    MemberRemove,
    MemberUpdate,
    MemberPromote,
    MemberRebuild,
    MemberList,
    EndpointStatus,
    EndpointHealth,
    EndpointHashKv,
    AlarmList,
    AlarmDisarm,
    Defrag,
    Version,
    Options,
}

#[derive(Debug, Clone, Copy)]
pub enum Body {
    Action(Action),
    Commands(&'static [Command]),
}

#[derive(Debug, Clone, Copy)]
pub struct Command {
    pub name: &'static str,
    pub group: Group,
    /// One line.
    pub about: &'static str,
    /// More lines for the command's own help; empty = none.
    pub details: &'static str,
    /// What follows the name.
    pub arguments: &'static str,
    /// For this command and those below it.
    pub flags: &'static [Flag],
    pub body: Body,
}

const fn leaf(
    name: &'static str,
    about: &'static str,
    arguments: &'static str,
    flags: &'static [Flag],
    action: Action,
) -> Command {
    Command { name, group: Group::Cluster, about, details: "", arguments, flags, body: Body::Action(action) }
}

const fn key_value(command: Command, details: &'static str) -> Command {
    Command { group: Group::KeyValue, details, ..command }
}

const fn group(name: &'static str, about: &'static str, flags: &'static [Flag], below: &'static [Command]) -> Command {
    Command { name, group: Group::Cluster, about, details: "", arguments: "", flags, body: Body::Commands(below) }
}

const LEASE: &[Command] = &[
    leaf("grant", "Grants a lease of so many seconds", "<ttl>", &[], Action::LeaseGrant),
    leaf("keep-alive", "Renews a lease until interrupted", "<leaseID>", lease::KEEP_ALIVE, Action::LeaseKeepAlive),
    leaf("list", "Lists every lease", "", &[], Action::LeaseList),
    leaf("revoke", "Revokes a lease and deletes its keys", "<leaseID>", &[], Action::LeaseRevoke),
    leaf("timetolive", "Tells what is left of a lease", "<leaseID>", lease::TIME_TO_LIVE, Action::LeaseTimeToLive),
];

const MEMBER: &[Command] = &[
    leaf("add", "Adds a member to the cluster", "<memberName> --peer-urls=<urls>", member::ADD, Action::MemberAdd),
    leaf("list", "Lists the members of the cluster", "", member::LIST, Action::MemberList),
    leaf("promote", "Makes a learner a voter", "<memberID>", &[], Action::MemberPromote),
    leaf("rebuild", "Replaces the data of the member at the endpoint by its leader's", "", &[], Action::MemberRebuild),
    leaf("remove", "Removes a member from the cluster", "<memberID>", &[], Action::MemberRemove),
    leaf(
        "update",
        "Changes the peer URLs of a member",
        "<memberID> --peer-urls=<urls>",
        member::UPDATE,
        Action::MemberUpdate,
    ),
];

const ENDPOINT: &[Command] = &[
    leaf(
        "hashkv",
        "Prints the hash of keys and values of each endpoint",
        "",
        endpoint::HASH_KV,
        Action::EndpointHashKv,
    ),
    leaf("health", "Asks each endpoint whether it can commit", "", &[], Action::EndpointHealth),
    leaf("status", "Prints the status of each endpoint", "", &[], Action::EndpointStatus),
];

const ALARM: &[Command] = &[
    leaf("disarm", "Ends every alarm", "", &[], Action::AlarmDisarm),
    leaf("list", "Lists every alarm", "", &[], Action::AlarmList),
];

/// Every command at the top.
pub const ALL: &[Command] = &[
    key_value(
        leaf("compaction", "Forgets revisions before one", "<revision>", compaction::FLAGS, Action::Compaction),
        "",
    ),
    key_value(
        leaf("del", "Deletes a key, or the keys in [key, range_end)", "<key> [range_end]", del::FLAGS, Action::Del),
        "",
    ),
    key_value(
        leaf("get", "Gets a key, or the keys in [key, range_end)", "<key> [range_end]", get::FLAGS, Action::Get),
        "",
    ),
    key_value(group("lease", "Leases: keys that go when nobody renews them", &[], LEASE), ""),
    key_value(leaf("put", "Puts a key", "<key> [value]", put::FLAGS, Action::Put), put::DETAILS),
    key_value(leaf("txn", "Runs operations in one transaction", "", txn::FLAGS, Action::Txn), txn::DETAILS),
    key_value(
        leaf(
            "watch",
            "Watches a key, or the keys in [key, range_end)",
            "[key] [range_end] [-- command...]",
            watch::FLAGS,
            Action::Watch,
        ),
        watch::DETAILS,
    ),
    group("alarm", "Alarms: what keeps the cluster from taking writes", &[], ALARM),
    leaf("defrag", "Gives free space of each endpoint back to the file system", "", defrag::FLAGS, Action::Defrag),
    group("endpoint", "Asks each endpoint by itself", endpoint::FLAGS, ENDPOINT),
    group("member", "Members of the cluster", &[], MEMBER),
    Command {
        group: Group::Utility,
        ..leaf("options", "Shows the flags that every command takes", "", &[], Action::Options)
    },
    Command { group: Group::Utility, ..leaf("version", "Prints the version", "", &[], Action::Version) },
];

/// Commands of etcdctl that do not exist here yet; their names get a better answer than "unknown".
pub const UNSUPPORTED: [&str; 11] = [
    "auth",
    "check",
    "completion",
    "downgrade",
    "elect",
    "lock",
    "make-mirror",
    "move-leader",
    "role",
    "snapshot",
    "user",
];
