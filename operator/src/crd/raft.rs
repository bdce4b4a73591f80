//! `spec.raft`: a named profile of timers, or the two timers themselves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::rules;
use crate::desired::Timers;

/// Timing of the consensus protocol; timers are applied to running members, no restart.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[schemars(extend("x-kubernetes-validations" = rules(&[("self.profile == 'Custom' ? has(self.heartbeatIntervalMilliseconds) && has(self.electionTimeoutMilliseconds) && self.electionTimeoutMilliseconds >= 5 * self.heartbeatIntervalMilliseconds : !has(self.heartbeatIntervalMilliseconds) && !has(self.electionTimeoutMilliseconds)", "profile Custom needs heartbeatIntervalMilliseconds and electionTimeoutMilliseconds, the election timeout at least 5 times the heartbeat; the other profiles (Auto, LowLatency, CrossZone, WAN) allow neither")])))]
#[serde(rename_all = "camelCase", default)]
pub struct RaftSpec {
    /// Auto: one of the next three, by the round trips that the leader sees; it changes after ten minutes and at most once an hour.
    /// LowLatency (100 ms / 1 s): one data centre. CrossZone (250 ms / 2.5 s): zones of a region. WAN (500 ms / 5 s):
    /// regions. Custom: the two fields below.
    pub profile: RaftProfile,
    /// Time between heartbeats of the leader, 10 to 5000; only with profile Custom.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 5000))]
    pub heartbeat_interval_milliseconds: Option<i64>,
    /// Silence after which a member calls an election, 50 to 50000; only with profile Custom.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 50, max = 50000))]
    pub election_timeout_milliseconds: Option<i64>,
    /// Whether a member asks the others before it raises the term, so that one that returns disturbs nobody.
    pub pre_vote: bool,
    /// Applied entries that stay in the log for members that were away; one that misses more comes back by a snapshot.
    #[schemars(extend("x-kubernetes-validations" = rules(&[("self >= 100 && self <= 1000000", "raft.snapshotEntries must be from 100 to 1000000")])))]
    pub snapshot_entries: i64,
}

impl Default for RaftSpec {
    fn default() -> Self {
        Self {
            profile: RaftProfile::Auto,
            heartbeat_interval_milliseconds: None,
            election_timeout_milliseconds: None,
            pre_vote: true,
            snapshot_entries: 10_000,
        }
    }
}

/// Named pairs of heartbeat interval and election timeout.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaftProfile {
    Auto,
    LowLatency,
    CrossZone,
    #[serde(rename = "WAN")]
    Wan,
    Custom,
}

impl RaftProfile {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "Auto",
            Self::LowLatency => "LowLatency",
            Self::CrossZone => "CrossZone",
            Self::Wan => "WAN",
            Self::Custom => "Custom",
        }
    }

    /// The pair that it names; `Auto` and `Custom` name none.
    pub fn timers(self) -> Option<Timers> {
        let (heartbeat_milliseconds, election_milliseconds) = match self {
            Self::LowLatency => (100, 1_000),
            Self::CrossZone => (250, 2_500),
            Self::Wan => (500, 5_000),
            Self::Auto | Self::Custom => return None,
        };
        Some(Timers { heartbeat_milliseconds, election_milliseconds })
    }
}
