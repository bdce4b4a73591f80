//! Answers of several endpoints: status, health and hash.

use std::time::Duration;

use quorate_api::etcdserverpb::{HashKvResponse, StatusResponse};

use super::table::Table;
use super::{Format, Render, Style, header_fields, header_json, id};
use crate::go::duration;
use crate::go::json::{Object, array, string};
use crate::go::number::size;
use crate::go::quote::quote;

/// Endpoints with their statuses.
pub struct Statuses(pub Vec<(String, StatusResponse)>);

pub struct Health {
    pub endpoint: String,
    pub took: Duration,
    /// Why it is unhealthy.
    pub error: Option<String>,
}

pub struct Healths(pub Vec<Health>);

pub struct Hash {
    pub endpoint: String,
    pub response: HashKvResponse,
}

pub struct Hashes(pub Vec<Hash>);

fn lines(rows: Vec<Vec<String>>, out: &mut Vec<u8>) {
    for row in rows {
        out.extend_from_slice(format!("{}\n", row.join(", ")).as_bytes());
    }
}

/// Bytes are never negative; a server that says so has none.
fn bytes(count: i64) -> String {
    size(u64::try_from(count).unwrap_or_default())
}

fn percentage_not_in_use(status: &StatusResponse) -> String {
    let free = status.db_size - status.db_size_in_use;
    let share = if status.db_size > 0 { free as f64 / status.db_size as f64 } else { 0.0 };
    format!("{:.0}%", share * 100.0)
}

fn status_row((endpoint, status): &(String, StatusResponse)) -> Vec<String> {
    let downgrade = status.downgrade_info.clone().unwrap_or_default();
    let member = status.header.as_ref().map_or(0, |header| header.member_id);
    vec![
        endpoint.clone(),
        format!("{member:x}"),
        status.version.clone(),
        status.storage_version.clone(),
        bytes(status.db_size),
        bytes(status.db_size_in_use),
        percentage_not_in_use(status),
        bytes(status.db_size_quota),
        (status.leader == member).to_string(),
        status.is_learner.to_string(),
        status.raft_term.to_string(),
        status.raft_index.to_string(),
        status.raft_applied_index.to_string(),
        status.errors.join(", "),
        downgrade.target_version,
        downgrade.enabled.to_string(),
    ]
}

fn status_json(status: &StatusResponse) -> String {
    let downgrade = status.downgrade_info.as_ref().map(|info| {
        Object::new().boolean("enabled", info.enabled).text("targetVersion", &info.target_version).finish()
    });
    Object::new()
        .optional("header", header_json(&status.header))
        .text("version", &status.version)
        .number("dbSize", status.db_size)
        .number("leader", status.leader)
        .number("raftIndex", status.raft_index)
        .number("raftTerm", status.raft_term)
        .number("raftAppliedIndex", status.raft_applied_index)
        .list("errors", status.errors.iter().map(|error| string(error)))
        .number("dbSizeInUse", status.db_size_in_use)
        .boolean("isLearner", status.is_learner)
        .text("storageVersion", &status.storage_version)
        .number("dbSizeQuota", status.db_size_quota)
        .optional("downgradeInfo", downgrade)
        .finish()
}

fn status_fields(endpoint: &str, status: &StatusResponse, style: Style, out: &mut String) {
    let downgrade = status.downgrade_info.clone().unwrap_or_default();
    header_fields(&status.header, style, out);
    for (name, value) in [
        ("Version", quote(status.version.as_bytes())),
        ("StorageVersion", quote(status.storage_version.as_bytes())),
        ("DBSize", status.db_size.to_string()),
        ("DBSizeInUse", status.db_size_in_use.to_string()),
        ("DBSizeQuota", status.db_size_quota.to_string()),
        ("Leader", id(status.leader, style)),
        ("IsLearner", status.is_learner.to_string()),
        ("RaftIndex", status.raft_index.to_string()),
        ("RaftAppliedIndex", status.raft_applied_index.to_string()),
        ("Errors", format!("[{}]", status.errors.join(" "))),
        ("Endpoint", quote(endpoint.as_bytes())),
        ("DowngradeTargetVersion", quote(downgrade.target_version.as_bytes())),
        ("DowngradeEnabled", downgrade.enabled.to_string()),
    ] {
        out.push_str(&format!("\"{name}\" : {value}\n"));
    }
    out.push('\n');
}

impl Render for Statuses {
    fn simple(&self, _: Style, out: &mut Vec<u8>) {
        lines(self.0.iter().map(status_row).collect(), out);
    }

    fn json(&self, _: Style) -> String {
        array(self.0.iter().map(|(endpoint, status)| {
            Object::new().always("Endpoint", string(endpoint)).always("Status", status_json(status)).finish()
        }))
    }

    fn fields(&self, style: Style, out: &mut String) {
        for (endpoint, status) in &self.0 {
            status_fields(endpoint, status, style, out);
        }
    }

    fn table(&self) -> Option<Table> {
        let headings = [
            "endpoint",
            "ID",
            "version",
            "storage version",
            "db size",
            "in use",
            "percentage not in use",
            "quota",
            "is leader",
            "is learner",
            "raft term",
            "raft index",
            "raft applied index",
            "errors",
            "downgrade target version",
            "downgrade enabled",
        ];
        Some(Table::new(&headings, self.0.iter().map(status_row).collect()))
    }
}

impl Healths {
    /// In the simple format the unhealthy stand on standard error.
    pub fn unhealthy_lines(&self, format: Format) -> Vec<String> {
        if format != Format::Simple {
            return Vec::new();
        }
        let line = |health: &Health| {
            let error = health.error.as_ref()?;
            Some(format!("{} is unhealthy: failed to commit proposal: {error}", health.endpoint))
        };
        self.0.iter().filter_map(line).collect()
    }
}

impl Render for Healths {
    fn simple(&self, _: Style, out: &mut Vec<u8>) {
        for health in self.0.iter().filter(|health| health.error.is_none()) {
            let took = duration::format(health.took);
            let line = format!("{} is healthy: successfully committed proposal: took = {took}\n", health.endpoint);
            out.extend_from_slice(line.as_bytes());
        }
    }

    fn json(&self, _: Style) -> String {
        array(self.0.iter().map(|health| {
            Object::new()
                .always("endpoint", string(&health.endpoint))
                .always("health", health.error.is_none())
                .always("took", string(&duration::format(health.took)))
                .text("error", health.error.as_deref().unwrap_or_default())
                .finish()
        }))
    }

    fn fields(&self, _: Style, out: &mut String) {
        for Health { endpoint, took, error } in &self.0 {
            let (healthy, error) = (error.is_none(), error.as_deref().unwrap_or_default());
            let (endpoint, took) = (quote(endpoint.as_bytes()), duration::format(*took));
            out.push_str(&format!(
                "\"Endpoint\" : {endpoint}\n\"Health\" : {healthy}\n\"Took\" : {took}\n\"Error\" : {error}\n\n"
            ));
        }
    }

    fn table(&self) -> Option<Table> {
        let row = |Health { endpoint, took, error }: &Health| {
            let healthy = error.is_none().to_string();
            vec![endpoint.clone(), healthy, duration::format(*took), error.clone().unwrap_or_default()]
        };
        Some(Table::new(&["endpoint", "health", "took", "error"], self.0.iter().map(row).collect()))
    }
}

fn hash_row(Hash { endpoint, response }: &Hash) -> Vec<String> {
    vec![endpoint.clone(), response.hash.to_string(), response.hash_revision.to_string()]
}

impl Render for Hashes {
    fn simple(&self, _: Style, out: &mut Vec<u8>) {
        lines(self.0.iter().map(hash_row).collect(), out);
    }

    fn json(&self, _: Style) -> String {
        array(self.0.iter().map(|Hash { endpoint, response }| {
            let hash = Object::new()
                .optional("header", header_json(&response.header))
                .number("hash", response.hash)
                .number("compact_revision", response.compact_revision)
                .number("hash_revision", response.hash_revision)
                .finish();
            Object::new().always("Endpoint", string(endpoint)).always("HashKV", hash).finish()
        }))
    }

    fn fields(&self, style: Style, out: &mut String) {
        for Hash { endpoint, response } in &self.0 {
            header_fields(&response.header, style, out);
            let endpoint = quote(endpoint.as_bytes());
            let (hash, revision) = (response.hash, response.hash_revision);
            out.push_str(&format!("\"Endpoint\" : {endpoint}\n\"Hash\" : {hash}\n\"HashRevision\" : {revision}\n\n"));
        }
    }

    fn table(&self) -> Option<Table> {
        Some(Table::new(&["endpoint", "hash", "hash revision"], self.0.iter().map(hash_row).collect()))
    }
}
