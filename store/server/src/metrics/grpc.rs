//! Counts of every gRPC method, as the middleware of etcd's server exports them.
//!
//! All series exist from the start, and a call finds its counters by one lookup: nothing is formatted or locked per call.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

use super::register;

/// How a method streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Unary,
    ServerStream,
    BidiStream,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Kind::Unary => "unary",
            Kind::ServerStream => "server_stream",
            Kind::BidiStream => "bidi_stream",
        }
    }
}

/// Names of the gRPC codes by number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

use Kind::{BidiStream, ServerStream, Unary};

const METHODS: &[(&str, Kind, &[&str])] = &[
    ("etcdserverpb.KV", Unary, &["Range", "Put", "DeleteRange", "Txn", "Compact"]),
    ("etcdserverpb.KV", ServerStream, &["RangeStream"]),
    ("etcdserverpb.Watch", BidiStream, &["Watch"]),
    ("etcdserverpb.Lease", Unary, &["LeaseGrant", "LeaseRevoke", "LeaseTimeToLive", "LeaseLeases"]),
    ("etcdserverpb.Lease", BidiStream, &["LeaseKeepAlive"]),
    ("etcdserverpb.Cluster", Unary, &["MemberAdd", "MemberRemove", "MemberUpdate", "MemberList", "MemberPromote"]),
    (
        "etcdserverpb.Maintenance",
        Unary,
        &["Alarm", "Status", "Defragment", "Hash", "HashKV", "MoveLeader", "Downgrade"],
    ),
    ("etcdserverpb.Maintenance", ServerStream, &["Snapshot"]),
    (
        "etcdserverpb.Auth",
        Unary,
        &[
            "AuthEnable",
            "AuthDisable",
            "AuthStatus",
            "Authenticate",
            "UserAdd",
            "UserGet",
            "UserList",
            "UserDelete",
            "UserChangePassword",
            "UserGrantRole",
            "UserRevokeRole",
            "RoleAdd",
            "RoleGet",
            "RoleList",
            "RoleDelete",
            "RoleGrantPermission",
            "RoleRevokePermission",
        ],
    ),
    ("grpc.health.v1.Health", Unary, &["Check", "List"]),
    ("grpc.health.v1.Health", ServerStream, &["Watch"]),
];

/// The counters of all methods by path.
pub struct Grpc {
    methods: HashMap<String, Arc<Method>>,
}

/// The counters of one method.
pub struct Method {
    path: String,
    kind: Kind,
    started: IntCounter,
    /// By the number of the code.
    handled: [IntCounter; CODES.len()],
    received: IntCounter,
    sent: IntCounter,
    seconds: Option<Histogram>,
}

impl Grpc {
    pub(super) fn new(registry: &Registry, extensive: bool) -> Grpc {
        const WELL_FORMED: &str = "the names are well-formed";
        const LABELS: [&str; 3] = ["grpc_type", "grpc_service", "grpc_method"];
        let vec = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntCounterVec::new(Opts::new(name, help), labels).expect(WELL_FORMED);
            register(registry, vec.clone());
            vec
        };
        let started = vec("grpc_server_started_total", "Calls started.", &LABELS);
        let received = vec("grpc_server_msg_received_total", "Messages received.", &LABELS);
        let sent = vec("grpc_server_msg_sent_total", "Messages sent.", &LABELS);
        let with_code = ["grpc_type", "grpc_service", "grpc_method", "grpc_code"];
        let handled = vec("grpc_server_handled_total", "Calls completed, by code.", &with_code);
        let seconds = extensive.then(|| {
            let options = HistogramOpts::new("grpc_server_handling_seconds", "Seconds from a call's start to its end.");
            let vec = HistogramVec::new(options, &LABELS).expect(WELL_FORMED);
            register(registry, vec.clone());
            vec
        });
        let mut methods = HashMap::new();
        for (service, kind, names) in METHODS {
            for name in *names {
                let labels = [kind.label(), *service, *name];
                let path = format!("/{service}/{name}");
                let method = Method {
                    path: path.clone(),
                    kind: *kind,
                    started: started.with_label_values(&labels),
                    handled: CODES.map(|code| handled.with_label_values(&[labels[0], labels[1], labels[2], code])),
                    received: received.with_label_values(&labels),
                    sent: sent.with_label_values(&labels),
                    seconds: seconds.as_ref().map(|vec| vec.with_label_values(&labels)),
                };
                methods.insert(path, Arc::new(method));
            }
        }
        Grpc { methods }
    }

    /// The counters of a method by its path (`/etcdserverpb.KV/Put`); `None` when it is not one of etcd's.
    pub fn method(&self, path: &str) -> Option<&Arc<Method>> {
        self.methods.get(path)
    }
}

impl Method {
    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn started(&self) {
        self.started.inc();
    }

    pub fn received(&self, messages: u64) {
        self.received.inc_by(messages);
    }

    pub fn sent(&self, messages: u64) {
        self.sent.inc_by(messages);
    }

    /// Counts the end of a call. A code beyond gRPC's counts as Unknown, as gRPC says.
    pub fn handled(&self, code: i32, seconds: f64) {
        let unknown = &self.handled[2];
        usize::try_from(code).ok().and_then(|code| self.handled.get(code)).unwrap_or(unknown).inc();
        if let Some(histogram) = &self.seconds {
            histogram.observe(seconds);
        }
    }
}
