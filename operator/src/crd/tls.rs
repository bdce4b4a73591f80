//! `spec.tls`: the planes of clients and peers, each with a certificate authority of its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::rules;

/// Encryption of both planes. The modes are fixed at creation: members that disagree on them cannot talk.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsSpec {
    /// What clients speak to.
    pub client: ClientTlsSpec,
    /// What members speak among each other; always mutual when enabled.
    pub peer: PeerTlsSpec,
}

/// The client plane. With `Operator` a Secret `NAME-client-tls` with a client certificate is issued.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[schemars(extend("x-kubernetes-validations" = rules(&[("self == oldSelf", "tls.client cannot be changed after creation: create a new cluster with the other mode")])))]
#[serde(rename_all = "camelCase", default)]
pub struct ClientTlsSpec {
    /// Operator: certificates made and renewed by the operator. Disabled: plain text.
    pub mode: TlsMode,
    /// Whether a client has to show a certificate of the client authority; without effect when disabled.
    pub require_client_certificates: bool,
}

impl Default for ClientTlsSpec {
    fn default() -> Self {
        Self { mode: TlsMode::Operator, require_client_certificates: true }
    }
}

/// The peer plane.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[schemars(extend("x-kubernetes-validations" = rules(&[("self == oldSelf", "tls.peer cannot be changed after creation: create a new cluster with the other mode")])))]
#[serde(rename_all = "camelCase", default)]
pub struct PeerTlsSpec {
    /// Operator: mutual TLS with certificates made by the operator. Disabled needs the annotation
    /// quorate.io/allow-plaintext-peers: "true", because anyone who reaches the port can then speak raft.
    pub mode: TlsMode,
}

impl Default for PeerTlsSpec {
    fn default() -> Self {
        Self { mode: TlsMode::Operator }
    }
}

/// Who makes the certificates of a plane.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsMode {
    Operator,
    Disabled,
}
