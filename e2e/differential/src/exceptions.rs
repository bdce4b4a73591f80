//! What the comparison leaves out, all of it: every rule is a row of docs/compatibility.md ("What the comparison leaves out"), and
//! nothing else is changed in an answer or kept from being asked.

/// A rule; see [`Rule::text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    ChosenIds,
    ClientUrls,
    StatusNumbers,
    StorageVersion,
    SpacesInText,
    AlarmsOrder,
    TimeLeft,
    LeaseKeysOrder,
    LeasesOrder,
    HashOfChosenLease,
    OrderOfChosenLeases,
    HashAtCompaction,
    TextOfUndecodable,
    AfterCompactionCanceled,
    PutBehindDeleteFromKey,
    IgnoreBehindDelete,
    UrlsThatDoNotParse,
    RefusedChange,
    CompactedAtZero,
    LargeOfBadVersion,
    UnstableSort,
    OwnCorruption,
    WhoAnswers,
    LongMessages,
}

impl Rule {
    pub const ALL: [Rule; 24] = [
        Rule::ChosenIds,
        Rule::ClientUrls,
        Rule::StatusNumbers,
        Rule::StorageVersion,
        Rule::SpacesInText,
        Rule::AlarmsOrder,
        Rule::TimeLeft,
        Rule::LeaseKeysOrder,
        Rule::LeasesOrder,
        Rule::HashOfChosenLease,
        Rule::OrderOfChosenLeases,
        Rule::HashAtCompaction,
        Rule::TextOfUndecodable,
        Rule::AfterCompactionCanceled,
        Rule::PutBehindDeleteFromKey,
        Rule::IgnoreBehindDelete,
        Rule::UrlsThatDoNotParse,
        Rule::RefusedChange,
        Rule::CompactedAtZero,
        Rule::LargeOfBadVersion,
        Rule::UnstableSort,
        Rule::OwnCorruption,
        Rule::WhoAnswers,
        Rule::LongMessages,
    ];

    /// What is left out, and why: the columns of its row.
    pub fn text(self) -> (&'static str, &'static str) {
        match self {
            Rule::ChosenIds => (
                "The value of an id that the server chose (a lease granted without one, an added member)",
                "it is drawn; the same name stands for it on both sides",
            ),
            Rule::ClientUrls => ("Client URLs of members", "the servers listen on ports of their own"),
            Rule::StatusNumbers => (
                "Status: `dbSize`, `dbSizeInUse`, `raftIndex`, `raftAppliedIndex`, but that none is 0",
                "the database and the log are different ones",
            ),
            Rule::StorageVersion => {
                ("Status: `storageVersion`", "etcd's follows the version of the cluster some seconds after a start")
            }
            Rule::SpacesInText => {
                ("Status: two spaces in a text of `errors` count as one", "Go varies them from one build to the next")
            }
            Rule::AlarmsOrder => ("Alarm and Status: the order of the alarms", "etcd's is a hash map's"),
            Rule::TimeLeft => (
                "TimeToLive: seconds that passed since the grant, up to the length of the sequence",
                "the servers are asked one after the other",
            ),
            Rule::LeaseKeysOrder => ("TimeToLive: the order of a lease's keys", "etcd's is a hash map's"),
            Rule::LeasesOrder => (
                "LeaseLeases: the order among leases of one TTL",
                "etcd has nanoseconds, and after an election the order of a hash map; Quorate milliseconds, then age",
            ),
            Rule::HashOfChosenLease => (
                "HashKV: `hash`, from when a key was put with a lease whose id the server chose",
                "the id is in what is hashed",
            ),
            Rule::OrderOfChosenLeases => (
                "No transaction asks whether a lease is greater or less than one whose id the server chose",
                "each side drew its own ids",
            ),
            Rule::HashAtCompaction => (
                "HashKV is not asked at a revision that was once compacted at",
                "etcd answers from a list that it made while compacting, once it is done; Quorate computes",
            ),
            Rule::TextOfUndecodable => (
                "The text of the error for a request that does not decode",
                "it is that of a protobuf library; the code is compared",
            ),
            Rule::AfterCompactionCanceled => (
                "Nothing more is requested on a watch stream whose watcher was canceled by compaction",
                "to etcd that watcher keeps its id and stays behind for ever, Quorate forgets it",
            ),
            Rule::PutBehindDeleteFromKey => (
                "Nothing is compacted or hashed at the revision of a transaction that deletes from a key on and puts",
                "etcd loses the put, Quorate keeps it",
            ),
            Rule::IgnoreBehindDelete => (
                "No transaction deletes and puts with `ignore_value` or `ignore_lease`",
                "etcd panics when it is the same key, Quorate answers `etcdserver: key not found`",
            ),
            Rule::UrlsThatDoNotParse => {
                ("MemberUpdate is not sent URLs that do not parse", "etcd keeps them, Quorate refuses them")
            }
            Rule::RefusedChange => (
                "No restart after a change of members that was refused for its URLs or as one learner too many",
                "etcd carries it out when it replays its log; Quorate refuses it again",
            ),
            Rule::CompactedAtZero => (
                "No restart after a compaction at revision 0, until one at a higher revision",
                "etcd, killed within 100 ms of it, has forgotten it and takes it once more; Quorate keeps it",
            ),
            Rule::LargeOfBadVersion => (
                "No request above 500 000 bytes has a client version that is not UTF-8",
                "etcd refuses it for its size, Quorate for the version, before it reads the body",
            ),
            Rule::UnstableSort => (
                "No more than 12 keys are sorted by anything but the key",
                "from there on Go's sort leaves the order of equals open; Quorate keeps that of the keys",
            ),
            Rule::OwnCorruption => (
                "No CORRUPT alarm names the member that is asked, or nobody (0)",
                "etcd goes on serving its reads; Quorate serves nothing of it until it is rebuilt, and lowers nobody's when members agree",
            ),
            Rule::WhoAnswers => (
                "With three members of Quorate: `cluster_id`, `member_id` and `raft_term` of headers",
                "the cluster has other members, and elections of its own",
            ),
            Rule::LongMessages => (
                "Watch: where messages with events end, when those of a stream are 1 MiB together or more",
                "etcd sends a watcher from the past up to 1 000 revisions in one message, which a client need not take; Quorate ends it at the next revision",
            ),
        }
    }
}

/// RPCs that Quorate does not have, by name or by the beginning of it, and why. It must answer UNIMPLEMENTED.
pub const NOT_THERE: [(&str, &str); 7] = [
    ("Maintenance.Hash", "it is about etcd's database file; HashKV is about the data"),
    ("Maintenance.Snapshot", "snapshots in etcd's format are not built yet"),
    ("Maintenance.Downgrade", "there is no older version to go back to yet"),
    ("Lock.", "the lock service is not built yet"),
    ("Election.", "the election service is not built yet"),
    ("Auth.User", "users and roles are not built yet"),
    ("Auth.Role", "users and roles are not built yet"),
];

/// The switches of users and roles, which is not built yet either.
pub const NOT_THERE_EXACT: [&str; 2] = ["Auth.AuthEnable", "Auth.AuthDisable"];

/// Whether Quorate lacks the RPC of a name such as `KV.Range`.
pub fn is_not_there(method: &str) -> bool {
    let listed = NOT_THERE.iter().any(|(name, _)| match name.strip_prefix("Maintenance.") {
        Some(_) => *name == method,
        None => method.starts_with(name),
    });
    listed || NOT_THERE_EXACT.contains(&method)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn every_rule_is_a_row_of_the_page_and_every_row_a_rule() {
        let page = include_str!("../../../docs/compatibility.md");
        let (_, section) = page.split_once("## What the comparison leaves out").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        let expected: Vec<String> =
            Rule::ALL.iter().map(|rule| format!("| {} | {} |", rule.text().0, rule.text().1)).collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn what_is_not_there_is_named_by_rpcs_that_exist() {
        let found = wire::methods().iter().filter(|method| is_not_there(&method.name)).count();
        assert_eq!(found, 3 + 2 + 5 + 13 + 2, "of Maintenance, Lock, Election, users and roles, and the switches");
        assert!(!is_not_there("Maintenance.HashKV") && !is_not_there("Auth.AuthStatus"));
    }
}
