//! The StatefulSet: a passive factory of pods. It never decides: Parallel, OnDelete, volumes kept; the operator alone
//! writes `replicas` and deletes pods and claims.
//!
//! One template serves founding, joining and restarting (`--initial-cluster-state=await`): no flag carries a member list.

use serde_json::{Map, Value, json};

use crate::claim::Claim;
use crate::crd::LABEL_CLUSTER;
use crate::crd::pods::QuantityText;
use crate::desired::{Desired, Template, scheme};
use crate::tls::{LeafKind, SecretKind};

use super::{LABEL_SERVING, labels, metadata};

/// User and group of the server in its image.
const USER: i64 = 65_532;
const VOLUME_PATH: &str = "/var/lib/quorate";
const WAL_PATH: &str = "/var/lib/quorate-wal";
const TLS_PATH: &str = "/etc/quorate/tls";
/// Ten minutes for opening, replaying or installing before the kubelet restarts a member that shows no progress.
const STARTUP_FAILURES_MAX: i64 = 300;
const STARTUP_PERIOD_SECONDS: i64 = 2;

/// Voter, of its cluster, not fenced, not behind, and not whether there is a quorum (rule F): when that is lost, its members must not all
/// leave the Service, because they still serve serializable reads and tell clients what is wrong.
const READY_PATH: &str = "/readyz?exclude=linearizable_read";

/// Renders it for a proven template, a number of pods, and the size of claims it was made with.
pub fn statefulset(desired: &Desired, template: &Template, replicas: u32, claim_size: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(desired, &desired.name),
        "spec": {
            "replicas": replicas,
            "serviceName": desired.peers_service(),
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            "selector": {"matchLabels": {LABEL_CLUSTER: desired.name}},
            "template": pod(desired, template),
            "volumeClaimTemplates": claims(desired, claim_size),
        },
    })
}

fn claims(desired: &Desired, size: &str) -> Vec<Value> {
    let storage = &desired.storage;
    let wal = storage.wal.iter().map(|wal| claim(desired, Claim::Wal, &wal.size, wal.class.as_ref()));
    std::iter::once(claim(desired, Claim::Data, size, storage.class.as_ref())).chain(wal).collect()
}

fn claim(desired: &Desired, claim: Claim, size: &str, class: Option<&String>) -> Value {
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
    });
    if let Some(class) = class {
        spec["storageClassName"] = json!(class);
    }
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim.name(), "labels": labels(desired)},
        "spec": spec,
    })
}

fn pod(desired: &Desired, template: &Template) -> Value {
    let pods = &template.pods;
    let metadata = &pods.metadata;
    let mut all_labels = json!(metadata.labels);
    for (key, value) in labels(desired).as_object().into_iter().flatten() {
        all_labels[key] = value.clone();
    }
    all_labels[LABEL_SERVING] = json!("true");
    let mut spec = json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": pods.termination_grace_period_seconds,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": pods.topology_spread_constraints.as_ref().map_or_else(|| spread(desired), |own| json!(own)),
        "containers": [container(desired, template)],
        "volumes": volumes(desired),
    });
    let optional = [
        ("nodeSelector", (!pods.node_selector.is_empty()).then(|| json!(pods.node_selector))),
        ("affinity", pods.affinity.as_ref().map(|affinity| json!(affinity))),
        ("tolerations", (!pods.tolerations.is_empty()).then(|| json!(pods.tolerations))),
        ("priorityClassName", pods.priority_class_name.as_ref().map(|name| json!(name))),
        ("runtimeClassName", pods.runtime_class_name.as_ref().map(|name| json!(name))),
        ("imagePullSecrets", pull_secrets(template)),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            spec[key] = value;
        }
    }
    let mut document = json!({"metadata": {"labels": all_labels}, "spec": spec});
    if !metadata.annotations.is_empty() {
        document["metadata"]["annotations"] = json!(metadata.annotations);
    }
    document
}

fn pull_secrets(template: &Template) -> Option<Value> {
    let secrets = &template.image.pull_secrets;
    (!secrets.is_empty()).then(|| secrets.iter().map(|name| json!({"name": name})).collect())
}

fn spread(desired: &Desired) -> Value {
    let selector = json!({"matchLabels": {LABEL_CLUSTER: desired.name}});
    json!([
        {
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
            "nodeTaintsPolicy": "Honor", "labelSelector": selector,
        },
        {
            "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": selector,
        },
    ])
}

fn container(desired: &Desired, template: &Template) -> Value {
    json!({
        "name": "quorate",
        "image": image(template),
        "imagePullPolicy": template.image.pull_policy.as_str(),
        "args": arguments(desired, template),
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
            {"name": "TMPDIR", "value": "/tmp"},
        ],
        "ports": [
            {"name": "client", "containerPort": 2379, "protocol": "TCP"},
            {"name": "peer", "containerPort": 2380, "protocol": "TCP"},
            {"name": "metrics", "containerPort": 2381, "protocol": "TCP"},
            {"name": "admin", "containerPort": 2382, "protocol": "TCP"},
        ],
        "resources": {
            "requests": quantities(&template.pods.resources.requests),
            "limits": quantities(&template.pods.resources.limits),
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "startupProbe": probe("/livez", STARTUP_PERIOD_SECONDS, STARTUP_FAILURES_MAX),
        "livenessProbe": probe("/livez", 10, 3),
        "readinessProbe": probe(READY_PATH, 2, 2),
        "volumeMounts": mounts(desired),
    })
}

/// The digest, where there is one, decides; the tag says to people which version it is.
fn image(template: &Template) -> String {
    let tagged = format!("{}:{}", template.image.repository, template.version);
    template.image.digest.iter().fold(tagged, |tagged, digest| format!("{tagged}@{digest}"))
}

fn quantities(all: &std::collections::BTreeMap<String, QuantityText>) -> Value {
    all.iter().map(|(name, quantity)| (name.clone(), json!(quantity.0))).collect::<Map<_, _>>().into()
}

/// On the plain port, because the client port may ask for certificates that the kubelet lacks.
fn probe(path: &str, period_seconds: i64, failures: i64) -> Value {
    json!({
        "httpGet": {"path": path, "port": "metrics", "scheme": "HTTP"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    })
}

fn arguments(desired: &Desired, template: &Template) -> Vec<String> {
    let host = format!("$(POD_NAME).{}.{}.svc", desired.peers_service(), desired.namespace);
    let (client, peer) = (scheme(desired.tls.client), scheme(desired.tls.peer));
    let mut arguments = vec![
        "--name=$(POD_NAME)".to_owned(),
        "--initial-cluster-state=await".to_owned(),
        format!("--data-dir={VOLUME_PATH}/data"),
        format!("--listen-peer-urls={peer}://0.0.0.0:2380"),
        format!("--initial-advertise-peer-urls={peer}://{host}:2380"),
        format!("--listen-client-urls={client}://0.0.0.0:2379"),
        format!("--advertise-client-urls={client}://{host}:2379"),
        "--listen-metrics-urls=http://0.0.0.0:2381".to_owned(),
        format!("--listen-admin-urls={client}://0.0.0.0:2382"),
        format!("--owner-uid={}", desired.uid),
        format!("--owner-name={}", desired.owner_name()),
        format!("--heartbeat-interval={}", template.timers.heartbeat_milliseconds),
        format!("--election-timeout={}", template.timers.election_milliseconds),
        format!("--snapshot-catchup-entries={}", template.snapshot_entries),
        format!("--quota-backend-bytes={}", template.limits.quota_bytes),
        format!("--max-request-bytes={}", template.limits.request_bytes_max),
        format!("--max-txn-ops={}", template.limits.txn_ops_max),
        "--log-format=json".to_owned(),
    ];
    if desired.storage.wal.is_some() {
        // Below the mount point, which holds what the file system put there and cannot be renamed.
        arguments.push(format!("--wal-dir={WAL_PATH}/wal"));
    }
    if !template.pre_vote {
        arguments.push("--pre-vote=false".to_owned());
    }
    arguments.extend(tls_arguments(desired));
    arguments
}

fn tls_arguments(desired: &Desired) -> Vec<String> {
    let pair = |prefix: &str, folder: &str| {
        vec![
            format!("--{prefix}cert-file={TLS_PATH}/{folder}/tls.crt"),
            format!("--{prefix}key-file={TLS_PATH}/{folder}/tls.key"),
        ]
    };
    let authority = |prefix: &str, folder: &str| format!("--{prefix}trusted-ca-file={TLS_PATH}/{folder}/ca.crt");
    let mut arguments = Vec::new();
    if desired.tls.client {
        arguments.extend(pair("", "client"));
        if desired.tls.require_client_certificates {
            arguments.extend([authority("", "client"), "--client-cert-auth=true".to_owned()]);
        }
        arguments.extend(pair("admin-", "admin"));
        arguments.push(authority("admin-", "admin"));
    } else {
        arguments.push(format!("--admin-token-file={TLS_PATH}/admin/token"));
    }
    if desired.tls.peer {
        arguments.extend(pair("peer-", "peer"));
        arguments.extend([authority("peer-", "peer"), "--peer-client-cert-auth=true".to_owned()]);
    }
    arguments
}

/// Folder below the TLS path and the Secret it comes from.
fn secrets(desired: &Desired) -> Vec<(&'static str, SecretKind)> {
    let mut secrets = Vec::new();
    if desired.tls.client {
        secrets.push(("client", SecretKind::Leaf(LeafKind::Server)));
        secrets.push(("admin", SecretKind::Leaf(LeafKind::Admin)));
    } else {
        secrets.push(("admin", SecretKind::Token));
    }
    if desired.tls.peer {
        secrets.push(("peer", SecretKind::Leaf(LeafKind::Peer)));
    }
    secrets
}

fn mounts(desired: &Desired) -> Value {
    let fixed =
        [json!({"name": Claim::Data.name(), "mountPath": VOLUME_PATH}), json!({"name": "tmp", "mountPath": "/tmp"})];
    let wal = desired.storage.wal.as_ref().map(|_| json!({"name": Claim::Wal.name(), "mountPath": WAL_PATH}));
    let secrets = secrets(desired).into_iter().map(|(folder, _)| {
        json!({"name": format!("tls-{folder}"), "mountPath": format!("{TLS_PATH}/{folder}"), "readOnly": true})
    });
    fixed.into_iter().chain(wal).chain(secrets).collect()
}

fn volumes(desired: &Desired) -> Value {
    let temporary = json!({"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}});
    let secrets = secrets(desired).into_iter().map(|(folder, kind)| {
        json!({
            "name": format!("tls-{folder}"),
            "secret": {"secretName": kind.name(desired), "defaultMode": 0o440},
        })
    });
    std::iter::once(temporary).chain(secrets).collect()
}
