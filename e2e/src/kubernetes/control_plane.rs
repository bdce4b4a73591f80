//! Command lines of the control plane, which runs in the LAN's namespace.

use super::error::Result;
use super::layout::{API_PORT, LAN_ADDRESS, Layout, SERVICE_SUBNET};
use super::process::Program;
use super::store::CLIENT_URL;
use super::tools::Tools;

pub fn api_server(tools: &Tools, layout: &Layout) -> Result<Program> {
    let pki = |file: &str| layout.pki(file).display().to_string();
    Ok(Program::new("kube-apiserver", tools.program("kube-apiserver")?).arguments([
        format!("--etcd-servers={CLIENT_URL}"),
        format!("--etcd-cafile={}", pki("store-ca.crt")),
        format!("--etcd-certfile={}", pki("store-client.crt")),
        format!("--etcd-keyfile={}", pki("store-client.key")),
        "--bind-address=0.0.0.0".to_owned(),
        format!("--advertise-address={LAN_ADDRESS}"),
        format!("--secure-port={API_PORT}"),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--cert-dir={}", layout.pki("").display()),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-signing-key-file={}", pki("service-accounts.key")),
        format!("--service-account-key-file={}", pki("service-accounts.pub")),
        format!("--service-cluster-ip-range={SERVICE_SUBNET}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        format!("--kubelet-client-certificate={}", pki("apiserver-kubelet.crt")),
        format!("--kubelet-client-key={}", pki("apiserver-kubelet.key")),
        format!("--kubelet-certificate-authority={}", pki("ca.crt")),
        "--kubelet-preferred-address-types=InternalIP,Hostname".to_owned(),
        format!("--requestheader-client-ca-file={}", pki("ca.crt")),
        "--requestheader-allowed-names=front-proxy".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        format!("--proxy-client-cert-file={}", pki("front-proxy.crt")),
        format!("--proxy-client-key-file={}", pki("front-proxy.key")),
        // Webhooks and aggregated APIs reach pods without a kube-proxy beside the API server.
        "--enable-aggregator-routing=true".to_owned(),
    ]))
}

pub fn controller_manager(tools: &Tools, layout: &Layout) -> Result<Program> {
    let pki = |file: &str| layout.pki(file).display().to_string();
    let program = Program::new("kube-controller-manager", tools.program("kube-controller-manager")?);
    Ok(program.arguments(common(layout, "controller-manager")).arguments([
        format!("--service-account-private-key-file={}", pki("service-accounts.key")),
        format!("--root-ca-file={}", pki("ca.crt")),
        "--use-service-account-credentials=true".to_owned(),
        format!("--cluster-signing-cert-file={}", pki("ca.crt")),
        format!("--cluster-signing-key-file={}", pki("ca.key")),
        format!("--client-ca-file={}", pki("ca.crt")),
        "--allocate-node-cidrs=false".to_owned(),
        format!("--service-cluster-ip-range={SERVICE_SUBNET}"),
        // A node is NotReady ten seconds after it went silent, not forty.
        "--node-monitor-grace-period=10s".to_owned(),
        "--node-monitor-period=1s".to_owned(),
        // Each of its forty controllers makes requests before it starts; the default of 20 a second takes five seconds.
        "--kube-api-qps=500".to_owned(),
        "--kube-api-burst=500".to_owned(),
        // The default is a folder of the machine, which it makes.
        format!("--flex-volume-plugin-dir={}", layout.root().join("run/plugins").display()),
    ]))
}

pub fn scheduler(tools: &Tools, layout: &Layout) -> Result<Program> {
    let program = Program::new("kube-scheduler", tools.program("kube-scheduler")?);
    Ok(program.arguments(common(layout, "scheduler")))
}

fn common(layout: &Layout, user: &str) -> [String; 6] {
    let kubeconfig = layout.pki(&format!("{user}.kubeconfig"));
    let kubeconfig = kubeconfig.display();
    [
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1".to_owned(),
        // There is one of each, and a lease would only delay it after a crash.
        "--leader-elect=false".to_owned(),
        format!("--cert-dir={}", layout.pki("").display()),
    ]
}
