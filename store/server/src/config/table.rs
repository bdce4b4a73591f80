//! The one table of flags: what parsing, `--help` and `docs/flags.md` are made from.
//!
//! It holds every flag of etcd 3.7. Those that do nothing here yet are refused by name unless set to their default; those
//! that tune parts we do not have are accepted with a warning, so that existing manifests start.

use super::value::Kind::{self, Bool, Choice, Duration, Gates, Int, List, Text, Uint, Urls};

/// One flag. Its environment variable is made of its name.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    pub name: &'static str,
    pub kind: Kind,
    /// As it would be written on the command line; empty for none.
    pub default: &'static str,
    pub help: &'static str,
    pub standing: Standing,
    /// The version that brought it.
    pub since: &'static str,
}

/// What setting the flag does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Works, and is etcd's.
    Etcd,
    /// Works, and is ours: its variable is `QUORATE_` only.
    Ours,
    /// etcd's, and not built yet: refused unless it is set to its default.
    NotBuilt,
    /// etcd's, and without meaning here: accepted with a warning that gives this reason.
    Inert(&'static str),
    /// As `Inert`, and warned of also at its default: who sets it wants something that other flags do here.
    Replaced(&'static str),
}

pub struct Group {
    pub title: &'static str,
    pub flags: &'static [Flag],
}

const SINCE: &str = "0.1.0";

const fn etcd(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, default, help, standing: Standing::Etcd, since: SINCE }
}

const fn ours(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, default, help, standing: Standing::Ours, since: SINCE }
}

const fn later(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, default, help, standing: Standing::NotBuilt, since: SINCE }
}

const fn inert(name: &'static str, kind: Kind, default: &'static str, reason: &'static str) -> Flag {
    Flag { name, kind, default, help: "Accepted for etcd's sake.", standing: Standing::Inert(reason), since: SINCE }
}

const TLS_VERSIONS: &[&str] = &["", "TLS1.2", "TLS1.3"];
const NO_BBOLT: &str = "the store is RocksDB, there is no bbolt file to tune";
const GROUP_COMMIT: &str =
    "whatever waits is committed together as soon as the disk is free, without a timer or a count";

/// etcd's feature gates with their defaults.
pub const GATES: &[(&str, bool)] = &[
    ("AllAlpha", false),
    ("AllBeta", false),
    ("CompactHashCheck", false),
    ("FastLeaseKeepAlive", true),
    ("InitialCorruptCheck", false),
    ("LeaseCheckpoint", false),
    ("LeaseCheckpointPersist", false),
    ("PriorityRequest", false),
    ("SetMemberLocalAddr", false),
    ("StopGRPCServiceOnDefrag", false),
    ("TxnModeWriteWithSharedBuffer", true),
];

/// Flags of etcd's distant past, which etcd accepts and ignores; so do we.
pub const LEGACY: &[&str] = &[
    "cluster-active-size",
    "cluster-remove-delay",
    "cluster-sync-interval",
    "config",
    "force",
    "max-result-buffer",
    "max-retry-attempts",
    "peer-election-timeout",
    "peer-heartbeat-interval",
    "retry-interval",
    "snapshot",
    "test.coverprofile",
    "test.outputdir",
    "v",
    "vv",
];

pub const GROUPS: &[Group] = &[
    Group {
        title: "Member",
        flags: &[
            etcd("name", Text, "default", "Name of this member, for people."),
            etcd("data-dir", Text, "", "Directory of the data; ${name}.etcd when empty. Created with mode 0700."),
            etcd("wal-dir", Text, "", "Directory of the write-ahead log when it lives on another disk."),
            etcd("listen-peer-urls", Urls, "http://localhost:2380", "Where to listen for the other members."),
            etcd(
                "listen-client-urls",
                Urls,
                "http://localhost:2379",
                "Where to listen for clients: gRPC, health, version and metrics.",
            ),
            etcd(
                "listen-client-http-urls",
                Urls,
                "",
                "Where to listen for HTTP alone; set, HTTP leaves --listen-client-urls.",
            ),
            Flag {
                standing: Standing::Replaced(
                    "the database is flushed after 32 MiB or 5 minutes, and the log is kept by --snapshot-catchup-entries and --wal-keep-bytes",
                ),
                ..inert("snapshot-count", Uint(u64::MAX), "10000", "")
            },
            etcd("heartbeat-interval", Uint(u32::MAX as u64), "100", "Milliseconds between a leader's heartbeats."),
            etcd(
                "election-timeout",
                Uint(u32::MAX as u64),
                "1000",
                "Milliseconds without a leader after which members elect one.",
            ),
            etcd(
                "quota-backend-bytes",
                Int,
                "0",
                "Size above which writes are refused; 0 is 2 GiB, negative is no limit.",
            ),
            etcd("max-txn-ops", Uint(u32::MAX as u64), "128", "Operations permitted in one transaction."),
            etcd(
                "max-request-bytes",
                Uint(u32::MAX as u64),
                "1572864",
                "Size of a client request above which it is refused.",
            ),
            etcd(
                "max-concurrent-streams",
                Uint(u32::MAX as u64),
                "4294967295",
                "Streams that one client connection may have open.",
            ),
            etcd("grpc-keepalive-interval", Duration, "2h", "Interval between pings to a silent client; 0 is never."),
            etcd(
                "grpc-keepalive-timeout",
                Duration,
                "20s",
                "Wait for the answer to a ping before the connection is closed.",
            ),
            inert(
                "grpc-keepalive-min-time",
                Duration,
                "5s",
                "pings of clients are answered at any rate and never punished",
            ),
            etcd("socket-reuse-port", Bool, "false", "Listen with SO_REUSEPORT."),
            inert("socket-reuse-address", Bool, "false", "listeners have SO_REUSEADDR anyway"),
            inert("max-wals", Uint(u64::MAX), "5", "log segments are kept by what members need, not by number"),
            inert("max-snapshots", Uint(u64::MAX), "5", "there are no snapshot files that would pile up"),
            inert("backend-bbolt-freelist-type", Text, "map", NO_BBOLT),
            inert("backend-batch-interval", Duration, "0", GROUP_COMMIT),
            inert("backend-batch-limit", Int, "0", GROUP_COMMIT),
            inert(
                "bootstrap-defrag-threshold-megabytes",
                Uint(u64::MAX),
                "0",
                "a start never waits for defragmentation",
            ),
            inert("raft-read-timeout", Duration, "5s", "silent peer connections are found by heartbeats of their own"),
            inert("raft-write-timeout", Duration, "5s", "silent peer connections are found by heartbeats of their own"),
            later("initial-election-tick-advance", Bool, "true", "Fast-forward the first election."),
            later("memory-mlock", Bool, "false", "Keep the process in RAM."),
            later("feature-gates", Gates(GATES), "", "Switch features of etcd on or off: Gate=true,Gate2=false."),
        ],
    },
    Group {
        title: "Clustering",
        flags: &[
            etcd(
                "initial-advertise-peer-urls",
                Urls,
                "http://localhost:2380",
                "URLs under which the other members reach this one.",
            ),
            etcd("advertise-client-urls", Urls, "http://localhost:2379", "URLs under which clients reach this member."),
            etcd(
                "initial-cluster",
                Text,
                "",
                "Members of a cluster that is founded: name=url,name=url. This member alone when empty.",
            ),
            etcd(
                "initial-cluster-state",
                Choice(&["new", "existing", "await"]),
                "new",
                "For an empty directory: found a cluster (new), join one (existing), or wait until the operator founds or admits (await).",
            ),
            etcd(
                "initial-cluster-token",
                Text,
                "etcd-cluster",
                "Goes into the ids, so that two clusters with equal URLs do not mix.",
            ),
            etcd("strict-reconfig-check", Bool, "true", "Refuse membership changes that would endanger the quorum."),
            etcd("pre-vote", Bool, "true", "Ask before raising the term, so that a returning member disturbs nobody."),
            etcd("max-learners", Uint(u32::MAX as u64), "1", "Learners permitted in the cluster."),
            later("auto-compaction-retention", Text, "0", "Compact automatically and keep this much; 0 is off."),
            later("auto-compaction-mode", Choice(&["periodic", "revision"]), "periodic", "What the retention counts."),
            later("discovery-token", Text, "", "Discovery of members: token."),
            later("discovery-endpoints", List, "", "Discovery of members: endpoints."),
            later("discovery-dial-timeout", Duration, "2s", "Discovery of members: time to connect."),
            later("discovery-request-timeout", Duration, "5s", "Discovery of members: time for a request."),
            later("discovery-keepalive-time", Duration, "2s", "Discovery of members: interval of pings."),
            later(
                "discovery-keepalive-timeout",
                Duration,
                "6s",
                "Discovery of members: time for the answer to a ping.",
            ),
            later("discovery-insecure-transport", Bool, "true", "Discovery of members: without TLS."),
            later("discovery-insecure-skip-tls-verify", Bool, "false", "Discovery of members: any server certificate."),
            later("discovery-cert", Text, "", "Discovery of members: client certificate."),
            later("discovery-key", Text, "", "Discovery of members: client key."),
            later("discovery-cacert", Text, "", "Discovery of members: CA."),
            later("discovery-user", Text, "", "Discovery of members: user."),
            later("discovery-password", Text, "", "Discovery of members: password."),
            later("discovery-srv", Text, "", "Discovery of members: DNS domain."),
            later("discovery-srv-name", Text, "", "Discovery of members: suffix of the service name."),
            later("discovery-fallback", Choice(&["exit", "proxy"]), "exit", "What to do when discovery fails."),
            inert("v2-deprecation", Text, "write-only", "there never was a v2 store here"),
            etcd(
                "snapshot-catchup-entries",
                Uint(u64::MAX),
                "5000",
                "Applied entries that stay in the log for followers that were away.",
            ),
            ours(
                "wal-keep-bytes",
                Uint(u64::MAX),
                "0",
                "Bytes of the log that stay for followers that were away, while the disk has room; many come back faster, and with less effect on clients, by a snapshot.",
            ),
            ours(
                "catch-up-bytes-per-second",
                Uint(u64::MAX),
                "33554432",
                "How fast a follower that is behind is sent a snapshot, so that clients do not notice, and at a quarter of it what it missed of the log; the log at least twice as fast as it grows, a snapshot so fast that the log behind it is still kept when it arrives. 0 is as fast as it goes.",
            ),
        ],
    },
    Group {
        title: "Security of the client listeners",
        flags: &[
            etcd("cert-file", Text, "", "Certificate of the server (PEM). Read again when it changes."),
            etcd("key-file", Text, "", "Its private key (PEM)."),
            etcd("trusted-ca-file", Text, "", "CAs of client certificates (PEM); set, clients must present one."),
            etcd("client-cert-auth", Bool, "false", "Clients must present a certificate of --trusted-ca-file."),
            etcd("client-cert-allowed-hostname", List, "", "Names of which a client certificate must carry one (SAN)."),
            etcd("client-crl-file", Text, "", "Revoked client certificates (PEM or DER)."),
            etcd(
                "auto-tls",
                Bool,
                "false",
                "Without --cert-file: make a self-signed certificate, kept in the data directory's fixtures/client.",
            ),
            inert("client-cert-file", Text, "", "it is for a gateway that dials its own server, and there is none yet"),
            inert("client-key-file", Text, "", "it is for a gateway that dials its own server, and there is none yet"),
        ],
    },
    Group {
        title: "Security of the peer listeners (always mutual, but with --peer-auto-tls)",
        flags: &[
            etcd("peer-cert-file", Text, "", "Certificate of this member (PEM). Read again when it changes."),
            etcd("peer-key-file", Text, "", "Its private key (PEM)."),
            etcd("peer-trusted-ca-file", Text, "", "CAs of the members' certificates (PEM)."),
            etcd(
                "peer-client-cert-auth",
                Bool,
                "false",
                "Members must present certificates; with TLS they must anyway.",
            ),
            etcd(
                "peer-client-cert-file",
                Text,
                "",
                "Certificate for outgoing connections; --peer-cert-file when empty.",
            ),
            etcd("peer-client-key-file", Text, "", "Its private key."),
            etcd("peer-cert-allowed-cn", List, "", "Common names of which a peer's certificate must carry one."),
            etcd("peer-cert-allowed-hostname", List, "", "Names of which a peer's certificate must carry one (SAN)."),
            etcd("peer-crl-file", Text, "", "Revoked peer certificates (PEM or DER)."),
            etcd(
                "peer-auto-tls",
                Bool,
                "false",
                "Without --peer-cert-file: make a self-signed certificate, kept in fixtures/peer; no peer is verified then.",
            ),
            inert(
                "peer-skip-client-san-verification",
                Bool,
                "false",
                "the address of a connecting peer is not compared with its certificate; use --peer-cert-allowed-hostname",
            ),
        ],
    },
    Group {
        title: "Security, general",
        flags: &[
            etcd("tls-min-version", Choice(TLS_VERSIONS), "TLS1.2", "Lowest TLS version."),
            etcd("tls-max-version", Choice(TLS_VERSIONS), "", "Highest TLS version; the newest when empty."),
            etcd(
                "cipher-suites",
                List,
                "",
                "Cipher suites of TLS 1.2 by their IANA names; all secure ones when empty.",
            ),
            etcd(
                "self-signed-cert-validity",
                Uint(100),
                "1",
                "Years that a certificate which --auto-tls or --peer-auto-tls makes is valid; delete it to have a new one made.",
            ),
            later("cors", Text, "*", "Origins that browsers may use."),
            later("host-whitelist", Text, "*", "Host headers that are answered without TLS."),
        ],
    },
    Group {
        title: "Admin (the operator's service)",
        flags: &[
            ours("listen-admin-urls", Urls, "", "Where to listen for the operator; nowhere when empty."),
            ours("admin-cert-file", Text, "", "Certificate of the admin listener (PEM)."),
            ours("admin-key-file", Text, "", "Its private key (PEM)."),
            ours(
                "admin-trusted-ca-file",
                Text,
                "",
                "CAs of the operator's certificate (PEM); only such a certificate is let in.",
            ),
            ours("admin-token-file", Text, "", "File with the token that lets the operator in when there is no TLS."),
            ours(
                "owner-uid",
                Text,
                "",
                "UID of the custom resource that this member belongs to; a directory of another waits for its adoption.",
            ),
            ours("owner-name", Text, "", "Its namespace/name."),
        ],
    },
    Group {
        title: "Auth",
        flags: &[
            later("auth-token", Text, "simple", "Kind of tokens."),
            later("bcrypt-cost", Uint(31), "10", "Cost of hashing passwords."),
            later("auth-token-ttl", Uint(u32::MAX as u64), "300", "Seconds that a simple token lives."),
        ],
    },
    Group {
        title: "Logging and monitoring",
        flags: &[
            etcd(
                "log-level",
                Choice(&["debug", "info", "warn", "error", "panic", "fatal"]),
                "info",
                "Least severe level that is written.",
            ),
            etcd("log-format", Text, "json", "json or console."),
            etcd(
                "log-outputs",
                List,
                "default",
                "default and stderr are the standard error; stdout, or paths of files.",
            ),
            etcd("logger", Text, "zap", "Only zap, whose format the log has."),
            etcd("warning-apply-duration", Duration, "100ms", "A slower apply is logged."),
            etcd("warning-unary-request-duration", Duration, "300ms", "A slower request is logged."),
            etcd(
                "metrics",
                Choice(&["basic", "extensive"]),
                "basic",
                "extensive adds a histogram of every gRPC method.",
            ),
            etcd(
                "listen-metrics-urls",
                Urls,
                "",
                "More listeners, for metrics and health alone; https uses the client certificates.",
            ),
            later("enable-log-rotation", Bool, "false", "Rotate the log file."),
            later(
                "log-rotation-config-json",
                Text,
                r#"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#,
                "How the log file is rotated.",
            ),
            later("enable-pprof", Bool, "false", "Serve /debug/pprof."),
            later("enable-distributed-tracing", Bool, "false", "Send OpenTelemetry traces."),
            later("distributed-tracing-address", Text, "localhost:4317", "Where traces go."),
            later("distributed-tracing-service-name", Text, "etcd", "Name of the service in traces."),
            later("distributed-tracing-instance-id", Text, "", "Name of this member in traces."),
            later("distributed-tracing-sampling-rate", Uint(1_000_000), "0", "Traces per million requests."),
        ],
    },
    Group {
        title: "Features and tuning",
        flags: &[
            etcd(
                "watch-progress-notify-interval",
                Duration,
                "0",
                "Interval of progress messages to idle watches; 0 is 10m.",
            ),
            ours(
                "memory-budget-bytes",
                Uint(u64::MAX),
                "0",
                "What requests, answers, watches and peers may hold in memory before new requests are refused; 0 is a quarter of the machine's or the control group's.",
            ),
            ours(
                "scrub-interval",
                Duration,
                "1h",
                "Rest between two passes that reread everything against its checksums; 0 is never. What is damaged raises CORRUPT.",
            ),
            inert("enable-grpc-gateway", Bool, "true", "this version serves no JSON under /v3"),
            later("corrupt-check-time", Duration, "0s", "Interval of comparing the members; 0 is never."),
            later("compact-hash-check-time", Duration, "1m", "Interval of comparing compacted hashes."),
            inert("compaction-batch-limit", Int, "0", "compaction paces itself"),
            inert("compaction-sleep-interval", Duration, "0", "compaction paces itself"),
            later("downgrade-check-time", Duration, "5s", "Interval of looking at a downgrade's progress."),
            etcd(
                "force-new-cluster",
                Bool,
                "false",
                "Become a cluster of one with the data at hand, when the quorum is lost for ever. Leave it out at the next start.",
            ),
            etcd("unsafe-no-fsync", Bool, "false", "Do not sync the log: a power cut loses acknowledged writes."),
            later("config-file", Text, "", "YAML file of settings."),
        ],
    },
];

/// Every flag of the table.
pub fn all() -> impl Iterator<Item = &'static Flag> {
    GROUPS.iter().flat_map(|group| group.flags)
}

pub fn find(name: &str) -> Option<&'static Flag> {
    all().find(|flag| flag.name == name)
}

impl Flag {
    /// The flag's name in a variable, without the prefix.
    fn variable_suffix(&self) -> String {
        self.name.to_uppercase().replace('-', "_")
    }

    /// The variables that set it, ours first.
    pub fn variables(&self) -> Vec<String> {
        let suffix = self.variable_suffix();
        match self.standing {
            Standing::Ours => vec![format!("QUORATE_{suffix}")],
            _ => vec![format!("QUORATE_{suffix}"), format!("ETCD_{suffix}")],
        }
    }
}
