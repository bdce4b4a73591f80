//! Certificates and kubeconfigs, made anew for each cluster: one authority for Kubernetes and one for its store.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::error::{Result, io};
use super::layout::{API_PORT, API_SERVICE_ADDRESS, LAN_ADDRESS, Layout, node_address, node_name};

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
    kubernetes.write(layout, "ca")?;
    let localhost = ["127.0.0.1", "localhost"].map(str::to_owned);
    let api_names =
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
    let api_names = api_names.map(str::to_owned).into_iter().chain(localhost.clone());
    let api_names = api_names.chain([API_SERVICE_ADDRESS.to_string(), LAN_ADDRESS.to_string()]).collect();
    kubernetes.issue("kube-apiserver", None, api_names)?.write(layout, "apiserver")?;
    kubernetes.issue("apiserver-kubelet", Some("system:masters"), Vec::new())?.write(layout, "apiserver-kubelet")?;
    kubernetes.issue("front-proxy", None, Vec::new())?.write(layout, "front-proxy")?;
    for (file, name, group) in USERS {
        let user = kubernetes.issue(name, group, Vec::new())?;
        user.write(layout, file)?;
        let server = format!("https://{LAN_ADDRESS}:{API_PORT}");
        write_secret(&layout.pki(&format!("{file}.kubeconfig")), &kubeconfig(&server, &kubernetes, &user))?;
    }
    for node in 1..=nodes {
        let (name, address) = (node_name(node), node_address(node).to_string());
        let user = format!("system:node:{name}");
        let kubelet = kubernetes.issue(&user, Some("system:nodes"), vec![name.clone(), address])?;
        kubelet.write(layout, &name)?;
        let server = format!("https://{LAN_ADDRESS}:{API_PORT}");
        write_secret(&layout.pki(&format!("{name}.kubeconfig")), &kubeconfig(&server, &kubernetes, &kubelet))?;
    }
    let accounts = KeyPair::generate()?;
    write_secret(&layout.pki("service-accounts.key"), &accounts.serialize_pem())?;
    write_secret(&layout.pki("service-accounts.pub"), &accounts.public_key_pem())?;

    let store = Authority::new("store-ca")?;
    store.write(layout, "store-ca")?;
    store.issue("store", None, localhost.to_vec())?.write(layout, "store")?;
    store.issue("kube-apiserver", None, Vec::new())?.write(layout, "store-client")
}

/// The admin's kubeconfig with another address of the API server, such as the relay's.
pub fn admin_kubeconfig(layout: &Layout, server: &str) -> Result<String> {
    let path = layout.pki("admin.kubeconfig");
    let text = fs::read_to_string(&path).map_err(io("read", path))?;
    Ok(text.replace(&format!("https://{LAN_ADDRESS}:{API_PORT}"), server))
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

struct Issued {
    certificate: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Result<Self> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        Ok(Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?))
    }

    /// A certificate for both ends of a connection. Without `names` it can only be a client's.
    fn issue(&self, name: &str, group: Option<&str>, names: Vec<String>) -> Result<Issued> {
        let mut parameters = CertificateParams::new(names)?;
        parameters.distinguished_name.push(DnType::CommonName, name);
        if let Some(group) = group {
            parameters.distinguished_name.push(DnType::OrganizationName, group);
        }
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.0)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    fn write(&self, layout: &Layout, name: &str) -> Result<()> {
        write_secret(&layout.pki(&format!("{name}.crt")), &self.0.pem())?;
        write_secret(&layout.pki(&format!("{name}.key")), &self.0.key().serialize_pem())
    }
}

impl Issued {
    fn write(&self, layout: &Layout, name: &str) -> Result<()> {
        write_secret(&layout.pki(&format!("{name}.crt")), &self.certificate)?;
        write_secret(&layout.pki(&format!("{name}.key")), &self.key)
    }
}

/// Whole in itself, so that it works wherever it is copied to.
fn kubeconfig(server: &str, authority: &Authority, user: &Issued) -> String {
    let (authority, certificate, key) =
        (STANDARD.encode(authority.0.pem()), STANDARD.encode(&user.certificate), STANDARD.encode(&user.key));
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
