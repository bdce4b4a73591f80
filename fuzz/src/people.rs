//! What people write: the server's flags and environment, the member-local file, and transactions as text.

use quorate::config;
use quorate::directory::Member;
use quoratectl::txn::{compare, operation};

/// Lines of arguments, then an empty line, then lines `NAME=value` of the environment.
pub fn arguments(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (arguments, environment) = text.split_once("\n\n").unwrap_or((&text, ""));
    let arguments = arguments.lines().map(str::to_owned);
    let environment = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    if let Err(error) = config::read(arguments, environment) {
        assert!(!error.to_string().is_empty(), "an error says something");
    }
}

pub fn argument_seeds() -> Vec<Vec<u8>> {
    [
        "--name=a\n--data-dir\n/tmp/x\n--listen-client-urls=http://127.0.0.1:2379,unix://s:0\n\nETCD_HEARTBEAT_INTERVAL=100",
        "--initial-cluster=a=http://a:2380,b=http://b:2380\n--initial-cluster-state\nnew\n--quota-backend-bytes=-1",
        "--help",
        "--version=true\n\nQUORATE_LOG_LEVEL=debug\nETCD_UNKNOWN=1",
        "--election-timeout=1s\n--auto-compaction-retention=1h\n-name=x\n--no-such-flag",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// A member file that is read is written as one that reads the same.
pub fn member_file(data: &[u8]) {
    let Ok(member) = serde_json::from_slice::<Member>(data) else { return };
    let again = serde_json::to_vec(&member).expect("a member has no keys that JSON lacks");
    assert_eq!(serde_json::from_slice::<Member>(&again).expect("what a member file says is one"), member);
    let _ = member.is_fenced();
}

pub fn member_seeds() -> Vec<Vec<u8>> {
    let text = r#"{"format":1,"disk_id":"00112233445566778899aabbccddeeff","born_unix_seconds":1,"boot":2,
        "identity":{"cluster_id":"00000000000000ff","member_id":"0000000000000001","name":"m"},
        "admission":{"origin":"founded","members":[{"id":"0000000000000001","name":"m","peer_urls":["http://m:2380"],
        "learner":false,"disk_id":""}]},"owner":{"uid":"u","name":"n/c"},"log_begun":true,
        "tombstone":{"cluster_id":"00000000000000ff","member_id":"0000000000000001","index":9,"unix_seconds":3},
        "fence":{"generation":1,"value":true},"timers":{"generation":2,"value":{"heartbeat_milliseconds":100,
        "election_milliseconds":1000}},"limits":{"generation":3,"value":{"quota_bytes":-1,"request_bytes_max":1,
        "txn_ops_max":2}},"log_level":{"generation":4,"value":"info"}}"#;
    vec![text.as_bytes().to_vec()]
}

/// Any line is a comparison, an operation or an error; never a panic.
pub fn transaction(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for line in text.lines() {
        let _ = compare::parse(line);
        let _ = operation::arguments(line);
    }
}

pub fn transaction_seeds() -> Vec<Vec<u8>> {
    [
        "mod(\"key\") > \"0\"\nvalue('k') = \"a\\x00\\u00e9\"",
        "put key \"some value\" --lease=7b",
        "get '' \"\" --prefix",
        "ver(\"a\") != \"1\"",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
