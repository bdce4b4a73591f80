//! What a cluster holds from the start: DNS for Services, and the storage class of the local volumes.

use std::path::PathBuf;

use super::error::{Result, io};
use super::layout::{CLUSTER_DOMAIN, DNS_ADDRESS};
use super::node_files::PAUSE_IMAGE;
use super::provisioner::{PROVISIONER, STORAGE_CLASS};
use super::tools::Tools;
use crate::image::{self, Config, Content};

const COREDNS_IMAGE: &str = "quorate.local/coredns:1";
/// DaemonSet that [`super::Cluster`] waits for. Each node answers its own pods, so that a node which is cut off or killed
/// takes nobody else's DNS with it.
pub const COREDNS: &str = "coredns";
pub const SYSTEM_NAMESPACE: &str = "kube-system";

/// Archives of the images that every node needs, made once beside their programs in the cache.
pub fn images(tools: &Tools) -> Result<Vec<PathBuf>> {
    [("pause", PAUSE_IMAGE), ("coredns", COREDNS_IMAGE)]
        .into_iter()
        .map(|(name, reference)| {
            let program = tools.program(name)?;
            let archive = program.with_extension("tar");
            if !archive.exists() {
                let config = Config {
                    references: vec![reference.into()],
                    entrypoint: vec![format!("/{name}")],
                    ..Config::default()
                };
                let failed = |error: image::Error| io("write", &archive)(std::io::Error::other(error));
                image::write(&archive, &config, &Content::Program(program)).map_err(failed)?;
            }
            Ok(archive)
        })
        .collect()
}

/// `allowVolumeExpansion` is true because [`super::provisioner`] does expand.
pub fn manifests() -> String {
    format!(
        r#"apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: {STORAGE_CLASS}
  annotations: {{storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: {PROVISIONER}
volumeBindingMode: WaitForFirstConsumer
reclaimPolicy: Delete
allowVolumeExpansion: true
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {COREDNS}, namespace: {SYSTEM_NAMESPACE}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: system:coredns}}
rules:
- {{apiGroups: [""], resources: [services, pods, namespaces], verbs: [list, watch]}}
- {{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: system:coredns}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:coredns}}
subjects: [{{kind: ServiceAccount, name: {COREDNS}, namespace: {SYSTEM_NAMESPACE}}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: {COREDNS}, namespace: {SYSTEM_NAMESPACE}}}
data:
  Corefile: |
    .:53 {{
        errors
        health :8080
        ready :8181
        kubernetes {CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{
            pods insecure
            ttl 5
        }}
        cache 5
    }}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: {COREDNS}, namespace: {SYSTEM_NAMESPACE}}}
spec:
  selector: {{matchLabels: {{k8s-app: kube-dns}}}}
  template:
    metadata: {{labels: {{k8s-app: kube-dns}}}}
    spec:
      serviceAccountName: {COREDNS}
      priorityClassName: system-node-critical
      dnsPolicy: Default
      containers:
      - name: coredns
        image: {COREDNS_IMAGE}
        imagePullPolicy: Never
        args: [-conf, /etc/coredns/Corefile]
        volumeMounts: [{{name: settings, mountPath: /etc/coredns}}]
        readinessProbe: {{httpGet: {{path: /ready, port: 8181}}, periodSeconds: 1}}
        livenessProbe: {{httpGet: {{path: /health, port: 8080}}}}
      volumes: [{{name: settings, configMap: {{name: {COREDNS}}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: kube-dns, namespace: {SYSTEM_NAMESPACE}}}
spec:
  clusterIP: {DNS_ADDRESS}
  internalTrafficPolicy: Local
  selector: {{k8s-app: kube-dns}}
  ports: [{{name: dns, port: 53, protocol: UDP}}, {{name: dns-tcp, port: 53, protocol: TCP}}]
"#
    )
}
