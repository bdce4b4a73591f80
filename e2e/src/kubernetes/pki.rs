//! Certificates and kubeconfigs, made anew for each cluster: one authority for Kubernetes and one for its store.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::KeyPair;

use super::error::{Result, io};
use super::layout::{API_PORT, API_SERVICE_ADDRESS, LAN_ADDRESS, Layout, node_address, node_name};
use crate::authority::{Authority, Issued};

/// User of a kubeconfig: its file's name, the name and the group by which the API server knows it.
const USERS: [(&str, &str, Option<&str>); 4] = [
    ("admin", "admin", Some("system:masters")),
    ("controller-manager", "system:kube-controller-manager", None),
    ("scheduler", "system:kube-scheduler", None),
    ("proxy", "system:kube-proxy", None),
];

/// Writes every certificate, key and kubeconfig of the cluster into its `pki` folder.
pub fn write(layout: &Layout, nodes: u32) -> Result<()> {
    let kubernetes = Authority::new("kubernetes-ca")?;
    write_authority(layout, &kubernetes, "ca")?;
    let localhost = ["127.0.0.1", "localhost"].map(str::to_owned);
    let api_names =
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
    let api_names = api_names.map(str::to_owned).into_iter().chain(localhost.clone());
    let api_names = api_names.chain([API_SERVICE_ADDRESS.to_string(), LAN_ADDRESS.to_string()]).collect();
    write_issued(layout, &kubernetes.issue("kube-apiserver", None, api_names)?, "apiserver")?;
    let to_kubelets = kubernetes.issue("apiserver-kubelet", Some("system:masters"), Vec::new())?;
    write_issued(layout, &to_kubelets, "apiserver-kubelet")?;
    write_issued(layout, &kubernetes.issue("front-proxy", None, Vec::new())?, "front-proxy")?;
    for (file, name, group) in USERS {
        let user = kubernetes.issue(name, group, Vec::new())?;
        write_issued(layout, &user, file)?;
        let server = format!("https://{LAN_ADDRESS}:{API_PORT}");
        write_secret(&layout.pki(&format!("{file}.kubeconfig")), &kubeconfig(&server, &kubernetes, &user))?;
    }
    for node in 1..=nodes {
        let (name, address) = (node_name(node), node_address(node).to_string());
        let user = format!("system:node:{name}");
        let kubelet = kubernetes.issue(&user, Some("system:nodes"), vec![name.clone(), address])?;
        write_issued(layout, &kubelet, &name)?;
        let server = format!("https://{LAN_ADDRESS}:{API_PORT}");
        write_secret(&layout.pki(&format!("{name}.kubeconfig")), &kubeconfig(&server, &kubernetes, &kubelet))?;
    }
    let accounts = KeyPair::generate()?;
    write_secret(&layout.pki("service-accounts.key"), &accounts.serialize_pem())?;
    write_secret(&layout.pki("service-accounts.pub"), &accounts.public_key_pem())?;

    let store = Authority::new("store-ca")?;
    write_authority(layout, &store, "store-ca")?;
    write_issued(layout, &store.issue("store", None, localhost.to_vec())?, "store")?;
    write_issued(layout, &store.issue("kube-apiserver", None, Vec::new())?, "store-client")
}

/// The admin's kubeconfig with another address of the API server, such as the relay's.
pub fn admin_kubeconfig(layout: &Layout, server: &str) -> Result<String> {
    let path = layout.pki("admin.kubeconfig");
    let text = fs::read_to_string(&path).map_err(io("read", path))?;
    Ok(text.replace(&format!("https://{LAN_ADDRESS}:{API_PORT}"), server))
}

fn write_authority(layout: &Layout, authority: &Authority, name: &str) -> Result<()> {
    write_secret(&layout.pki(&format!("{name}.crt")), &authority.certificate())?;
    write_secret(&layout.pki(&format!("{name}.key")), &authority.key())
}

fn write_issued(layout: &Layout, issued: &Issued, name: &str) -> Result<()> {
    write_secret(&layout.pki(&format!("{name}.crt")), &issued.certificate)?;
    write_secret(&layout.pki(&format!("{name}.key")), &issued.key)
}

/// Whole in itself, so that it works wherever it is copied to.
fn kubeconfig(server: &str, authority: &Authority, user: &Issued) -> String {
    let (authority, certificate, key) =
        (STANDARD.encode(authority.certificate()), STANDARD.encode(&user.certificate), STANDARD.encode(&user.key));
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: quorate-local\n  cluster:\n    server: {server}\n    certificate-authority-data: {authority}\n\
         users:\n\
         - name: user\n  user:\n    client-certificate-data: {certificate}\n    client-key-data: {key}\n\
         contexts:\n\
         - name: quorate-local\n  context: {{cluster: quorate-local, user: user}}\n\
         current-context: quorate-local\n"
    )
}

/// Readable by its owner only.
pub fn write_secret(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(io("write", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io("protect", path))
}
