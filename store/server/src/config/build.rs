//! Checks what the flags say together and makes a [`Config`] of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::error::Error;
use super::parse::Values;
use super::planes;
use super::url::{self, Url};
use super::{Config, Founding, InitialMember, Keepalive, Log, LogFormat, LogOutput, Warning};

/// etcd's quota when none is set, in bytes.
const QUOTA_DEFAULT_BYTES: u64 = 2 * 1024 * 1024 * 1024;
const ELECTION_MAX_MILLIS: u64 = 50_000;
const WATCH_PROGRESS_DEFAULT: Duration = Duration::from_secs(600);
/// Requests above this size are warned of, as etcd does.
const REQUEST_BYTES_ADVISED: u32 = 10 * 1024 * 1024;

impl Config {
    pub(super) fn build(mut values: Values) -> Result<Config, Error> {
        let mut warnings = std::mem::take(&mut values.warnings);
        let name = values.text("name");
        if name.is_empty() {
            return Err(Error::Empty("name"));
        }
        if !values.is_set("name") {
            warnings.push(Warning::DefaultName);
        }
        check_urls(&values)?;
        let (heartbeat, election) = timers(&values)?;
        let max_request_bytes = values.uint32("max-request-bytes");
        if max_request_bytes > REQUEST_BYTES_ADVISED {
            warnings.push(Warning::LargeRequests { bytes: max_request_bytes });
        }
        let unsafe_no_fsync = values.bool("unsafe-no-fsync");
        if unsafe_no_fsync {
            warnings.push(Warning::NoFsync);
        }
        let protocol = planes::protocol(&values)?;
        let data_dir: PathBuf = values.path("data-dir").unwrap_or_else(|| format!("{name}.etcd").into());
        Ok(Config {
            wal_dir: values.path("wal-dir"),
            listen_peer_urls: values.urls("listen-peer-urls"),
            listen_client_urls: values.urls("listen-client-urls"),
            listen_client_http_urls: values.urls("listen-client-http-urls"),
            listen_metrics_urls: values.urls("listen-metrics-urls"),
            advertise_peer_urls: values.urls("initial-advertise-peer-urls"),
            advertise_client_urls: values.urls("advertise-client-urls"),
            founding: founding(&values, &name)?,
            heartbeat,
            election,
            snapshot_catchup_entries: values.uint("snapshot-catchup-entries"),
            quota_bytes: match values.int("quota-backend-bytes") {
                0 => Some(QUOTA_DEFAULT_BYTES),
                bytes => u64::try_from(bytes).ok(),
            },
            max_txn_ops: values.uint32("max-txn-ops"),
            max_request_bytes,
            memory_budget_bytes: usize::try_from(values.uint("memory-budget-bytes")).unwrap_or(usize::MAX),
            max_concurrent_streams: values.uint32("max-concurrent-streams"),
            max_learners: values.uint32("max-learners"),
            pre_vote: values.bool("pre-vote"),
            strict_reconfig_check: values.bool("strict-reconfig-check"),
            keepalive: keepalive(&values),
            socket_reuse_port: values.bool("socket-reuse-port"),
            client_tls: planes::client_tls(&values, &protocol, &data_dir, &mut warnings)?,
            peer_tls: planes::peer_tls(&values, &protocol, &data_dir, &mut warnings)?,
            admin: planes::admin(&values, &protocol)?,
            log: log(&values)?,
            warning_apply: values.duration("warning-apply-duration"),
            warning_unary: values.duration("warning-unary-request-duration"),
            metrics_extensive: values.text("metrics") == "extensive",
            watch_progress_interval: match values.duration("watch-progress-notify-interval") {
                Duration::ZERO => WATCH_PROGRESS_DEFAULT,
                interval => interval,
            },
            wal_keep_bytes: Some(values.uint("wal-keep-bytes")).filter(|bytes| *bytes > 0),
            catch_up_bytes_per_second: Some(values.uint("catch-up-bytes-per-second")).filter(|bytes| *bytes > 0),
            scrub_interval: Some(values.duration("scrub-interval")).filter(|interval| !interval.is_zero()),
            unsafe_no_fsync,
            force_new_cluster: values.bool("force-new-cluster"),
            warnings,
            variables: values.variables(),
            data_dir,
            name,
        })
    }

    /// Checks that this member is in the cluster it is to found or join; only an empty directory asks.
    ///
    /// # Errors
    /// [`Error::NameNotInCluster`] or [`Error::AdvertisedDiffers`].
    pub fn check_founding(&self) -> Result<(), Error> {
        let (Founding::New { members, .. } | Founding::Existing { members, .. }) = &self.founding else {
            return Ok(());
        };
        let Some(own) = members.iter().find(|member| member.name == self.name) else {
            return Err(Error::NameNotInCluster(self.name.clone()));
        };
        if own.peer_urls != self.advertise_peer_urls {
            return Err(Error::AdvertisedDiffers {
                name: self.name.clone(),
                cluster: join(&own.peer_urls),
                advertised: join(&self.advertise_peer_urls),
            });
        }
        Ok(())
    }
}

fn join(urls: &[Url]) -> String {
    urls.iter().map(Url::to_string).collect::<Vec<_>>().join(",")
}

fn check_urls(values: &Values) -> Result<(), Error> {
    for name in [
        "listen-peer-urls",
        "listen-client-urls",
        "listen-client-http-urls",
        "listen-metrics-urls",
        "listen-admin-urls",
    ] {
        values.urls(name).iter().try_for_each(Url::check_bindable)?;
    }
    for url in values.urls("initial-advertise-peer-urls") {
        url.check_reachable().map_err(|source| Error::AdvertisePeer { url, source })?;
    }
    for url in values.urls("advertise-client-urls") {
        url.check_reachable().map_err(|source| Error::AdvertiseClient { url, source })?;
    }
    if values.is_set("listen-client-urls") && !values.is_set("advertise-client-urls") {
        return Err(Error::AdvertiseClientRequired);
    }
    for name in ["listen-peer-urls", "listen-client-urls", "initial-advertise-peer-urls", "advertise-client-urls"] {
        if values.urls(name).is_empty() {
            return Err(Error::Empty(name));
        }
    }
    for name in ["listen-peer-urls", "initial-advertise-peer-urls"] {
        let urls = values.urls(name);
        if urls.iter().any(|url| url.socket_file().is_some()) {
            return Err(Error::PeerSocketFile(name));
        }
        if urls.iter().any(Url::is_tls) != urls.iter().all(Url::is_tls) {
            return Err(Error::MixedSchemes(name));
        }
    }
    Ok(())
}

fn timers(values: &Values) -> Result<(Duration, Duration), Error> {
    let heartbeat = values.uint("heartbeat-interval");
    let election = values.uint("election-timeout");
    check_timers(heartbeat, election)
}

/// The two timers, in milliseconds, as they may be set together.
///
/// # Errors
/// One of them is zero, the election timeout is below five heartbeats, or too long.
pub fn check_timers(heartbeat: u64, election: u64) -> Result<(Duration, Duration), Error> {
    for (name, millis) in [("heartbeat-interval", heartbeat), ("election-timeout", election)] {
        if millis == 0 {
            return Err(Error::ZeroInterval { name, millis });
        }
    }
    if heartbeat.saturating_mul(5) > election {
        return Err(Error::ElectionTooShort { election, heartbeat });
    }
    if election > ELECTION_MAX_MILLIS {
        return Err(Error::ElectionTooLong(election));
    }
    Ok((Duration::from_millis(heartbeat), Duration::from_millis(election)))
}

/// Either flag at 0 turns the pings off, as in etcd.
fn keepalive(values: &Values) -> Keepalive {
    let timeout = values.duration("grpc-keepalive-timeout");
    let interval = Some(values.duration("grpc-keepalive-interval"));
    Keepalive { interval: interval.filter(|interval| !interval.is_zero() && !timeout.is_zero()), timeout }
}

fn founding(values: &Values, name: &str) -> Result<Founding, Error> {
    let state = values.text("initial-cluster-state");
    if state == "await" {
        if !values.text("initial-cluster").is_empty() {
            return Err(Error::AwaitWithCluster);
        }
        if values.urls("listen-admin-urls").is_empty() {
            return Err(Error::AwaitWithoutAdmin);
        }
        return Ok(Founding::Await);
    }
    let members = match values.text("initial-cluster").as_str() {
        "" => vec![InitialMember { name: name.to_owned(), peer_urls: values.urls("initial-advertise-peer-urls") }],
        text => initial_cluster(text)?,
    };
    let token = values.text("initial-cluster-token");
    Ok(match state.as_str() {
        "new" => Founding::New { members, token },
        _ => Founding::Existing { members, token },
    })
}

/// Parses `name=url,name=url`; a name may repeat with further URLs.
fn initial_cluster(text: &str) -> Result<Vec<InitialMember>, Error> {
    let mut members: BTreeMap<String, Vec<Url>> = BTreeMap::new();
    for part in text.split(',') {
        let (name, url) = part.split_once('=').unwrap_or((part, ""));
        if url.is_empty() {
            return Err(Error::InitialClusterEmptyUrl(name.to_owned()));
        }
        let urls = members.entry(name.trim().to_owned()).or_default();
        urls.extend(url::parse_list(url).map_err(Error::InitialCluster)?);
        urls.sort();
        urls.dedup();
    }
    Ok(members.into_iter().map(|(name, peer_urls)| InitialMember { name, peer_urls }).collect())
}

fn log(values: &Values) -> Result<Log, Error> {
    let logger = values.text("logger");
    if logger != "zap" {
        return Err(Error::Logger(logger));
    }
    let format = match values.text("log-format").as_str() {
        "json" => LogFormat::Json,
        "console" => LogFormat::Console,
        other => return Err(Error::LogFormat(other.to_owned())),
    };
    let names = values.list("log-outputs");
    if names.is_empty() {
        return Err(Error::Empty("log-outputs"));
    }
    if names.len() > 1 && names.iter().any(|name| name == "default") {
        return Err(Error::LogOutputs);
    }
    let outputs = names
        .into_iter()
        .map(|name| match name.as_str() {
            "default" | "stderr" => Ok(LogOutput::Stderr),
            "stdout" => Ok(LogOutput::Stdout),
            "systemd/journal" => Err(Error::LogOutput(name)),
            _ => Ok(LogOutput::File(name.into())),
        })
        .collect::<Result<_, _>>()?;
    let level = values.text("log-level").parse().expect("the table has the same levels");
    Ok(Log { level, format, outputs })
}
