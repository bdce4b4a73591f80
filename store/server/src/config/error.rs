//! Why a start is refused, in etcd's words where etcd has them, with the exit code that etcd uses.

use super::url::{self, Url};
use super::value;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("selfSignedCertValidity is invalid,it should be greater than 0")]
    SelfSignedValidity,
    #[error("bad flag syntax: {0}")]
    Syntax(String),
    #[error("flag provided but not defined: -{name}{hint}")]
    Unknown { name: String, hint: String },
    #[error("flag needs an argument: -{0}")]
    NeedsArgument(&'static str),
    #[error("invalid value {text:?} for flag -{name}: {source}")]
    Invalid { name: &'static str, text: String, source: value::Error },
    #[error("invalid boolean value {text:?} for -{name}: parse error")]
    InvalidBool { name: &'static str, text: String },
    #[error("{0:?} is not a valid flag")]
    Positional(String),
    #[error("invalid value {text:?} for {variable}: {source}")]
    InvalidVariable { variable: String, text: String, source: value::Error },
    #[error(
        "conflicting environment variable {variable:?} is shadowed by corresponding command-line flag (either unset environment variable or disable flag)"
    )]
    Shadowed { variable: String },
    #[error("environment variables {0:?} and {1:?} are both set: unset one of them")]
    VariablesConflict(String, String),
    #[error("--{name} is not supported yet: leave it out, or set it to its default ({default:?})")]
    NotBuilt { name: &'static str, default: &'static str },
    #[error("feature gate {name} is not supported yet: leave it at its default ({default})")]
    GateNotBuilt { name: String, default: bool },
    #[error("{0}")]
    Bind(#[from] url::Error),
    #[error(
        "--advertise-client-urls \"{url}\" must be in the format \"host:port\", \"unix:/path/to/socket\" or \"unixs:/path/to/socket\" ({source})"
    )]
    AdvertiseClient { url: Url, source: url::Error },
    #[error("--initial-advertise-peer-urls \"{url}\" must be \"host:port\" ({source})")]
    AdvertisePeer { url: Url, source: url::Error },
    #[error("--advertise-client-urls is required when --listen-client-urls is set explicitly")]
    AdvertiseClientRequired,
    #[error("--{0} must not be empty")]
    Empty(&'static str),
    #[error("--{name} must be >0 (set to {millis}ms)")]
    ZeroInterval { name: &'static str, millis: u64 },
    #[error("--election-timeout[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]")]
    ElectionTooShort { election: u64, heartbeat: u64 },
    #[error("--election-timeout[{0}ms] is too long, and should be set less than 50000ms")]
    ElectionTooLong(u64),
    #[error("--{name} is given but --{missing} is not: set both")]
    Pair { name: &'static str, missing: &'static str },
    #[error("--{name} is given but --{missing} is not: set it, or leave --{name} out")]
    Requires { name: &'static str, missing: &'static str },
    #[error("--{0} and --{1} exclude each other: leave one out")]
    Exclusive(&'static str, &'static str),
    #[error("TLS key/cert (--{cert}, --{key}) must be provided for {plane} url {url} with HTTPS scheme")]
    TlsFilesMissing { plane: &'static str, url: Url, cert: &'static str, key: &'static str },
    #[error(
        "members authenticate each other: --peer-trusted-ca-file must be provided for peer url {0} with HTTPS scheme"
    )]
    PeerCaMissing(Url),
    #[error("--{0} mixes http and https: members talk to each other in one way only")]
    MixedSchemes(&'static str),
    #[error("--{0} must be http or https: socket files do not reach other machines")]
    PeerSocketFile(&'static str),
    #[error(
        "--listen-admin-urls needs either TLS (https with --admin-cert-file, --admin-key-file and --admin-trusted-ca-file) or --admin-token-file"
    )]
    AdminUnprotected,
    #[error("--initial-cluster-state=await takes its members from the operator: leave --initial-cluster out")]
    AwaitWithCluster,
    #[error("--initial-cluster-state=await waits for the operator: set --listen-admin-urls")]
    AwaitWithoutAdmin,
    #[error("error setting up initial cluster: {0}")]
    InitialCluster(url::Error),
    #[error("error setting up initial cluster: empty URL given for {0:?}")]
    InitialClusterEmptyUrl(String),
    #[error("couldn't find local name {0:?} in the initial cluster configuration")]
    NameNotInCluster(String),
    #[error("--initial-cluster has {name}={cluster} but missing from --initial-advertise-peer-urls={advertised}")]
    AdvertisedDiffers { name: String, cluster: String, advertised: String },
    #[error("unknown log format: {0}, supported values json, console")]
    LogFormat(String),
    #[error("unknown logger option {0:?}")]
    Logger(String),
    #[error("multi logoutput for \"default\" is not supported yet")]
    LogOutputs,
    #[error("--log-outputs={0} is not supported yet: use stderr, stdout or the path of a file")]
    LogOutput(String),
    #[error("unknown cipher suite {name:?}; known are {known}")]
    CipherSuite { name: String, known: String },
    #[error("cipher suites cannot be configured when only TLS1.3 is enabled")]
    CipherSuitesTls13,
    #[error("min version ({min}) is greater than max version ({max})")]
    TlsVersions { min: &'static str, max: &'static str },
}

impl Error {
    /// 2 with a usage text for what the command line's syntax forbids, else 1; as etcd.
    pub fn exit_code(&self) -> i32 {
        if self.shows_usage() { 2 } else { 1 }
    }

    /// Whether etcd prints its usage after the error instead of logging it.
    pub fn shows_usage(&self) -> bool {
        matches!(
            self,
            Error::Syntax(_)
                | Error::Unknown { .. }
                | Error::NeedsArgument(_)
                | Error::Invalid { .. }
                | Error::InvalidBool { .. }
        )
    }
}
