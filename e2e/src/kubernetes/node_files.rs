//! What a node's disk holds at first and what its namespace mounts: the settings of containerd, kubelet and kube-proxy.
//!
//! The node's `/var/lib` is its folder, its `/run` is empty memory: every program uses its default paths, two nodes
//! never meet, and a killed node leaves no mount behind.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount as mount_call};

use super::cgroup::Cgroup;
use super::error::{Error, Result, io};
use super::layout::{
    CLUSTER_DOMAIN, DNS_ADDRESS, LAN_ADDRESS, Layout, POD_SUBNETS, node_address, node_name, pod_subnet,
};
use super::tools::Tools;

/// Folder of the settings, on the node.
const SETTINGS: &str = "/var/lib/quorate-node";
/// Folder of the programs that come from the cache, on the node.
const PROGRAMS: &str = "/run/quorate-node";
/// Folder of the local volumes, on the node.
pub const VOLUMES: &str = "/var/lib/quorate-volumes";
/// The tag by which containerd finds the sandbox's image.
pub const PAUSE_IMAGE: &str = "quorate.local/pause:1";

/// kubelet wants these of the kernel and writes what differs. They are of the whole machine, which is not ours to
/// change, so the node sees files with the wanted values in their place.
const SYSCTLS: [(&str, &str); 6] = [
    ("/proc/sys/vm/overcommit_memory", "1"),
    ("/proc/sys/vm/panic_on_oom", "0"),
    ("/proc/sys/kernel/panic", "10"),
    ("/proc/sys/kernel/panic_on_oops", "1"),
    ("/proc/sys/kernel/keys/root_maxkeys", "1000000"),
    ("/proc/sys/kernel/keys/root_maxbytes", "25000000"),
];

/// Path of a settings file as the node sees it.
pub fn in_node(file: &str) -> String {
    format!("{SETTINGS}/{file}")
}

/// Path of a program from the cache as the node sees it.
pub fn program(name: &str) -> PathBuf {
    Path::new(PROGRAMS).join(name)
}

/// The local volumes' folder of a node as this machine sees it.
pub fn volumes(layout: &Layout, node: u32) -> PathBuf {
    on_disk(&layout.node_disk(node), VOLUMES)
}

/// Writes a node's settings onto its disk.
pub fn write(layout: &Layout, tools: &Tools, cgroup: &Cgroup, node: u32) -> Result<()> {
    let disk = layout.node_disk(node);
    for folder in [on_disk(&disk, SETTINGS).join("cni"), on_disk(&disk, VOLUMES), disk.join("log"), disk.join("cni")] {
        fs::create_dir_all(&folder).map_err(io("make the folder", folder))?;
    }
    let name = node_name(node);
    let files = [
        ("containerd.toml", containerd(tools)),
        ("cni/10-ptp.conflist", cni(node)),
        ("kubelet.yaml", kubelet(cgroup, node)),
        ("kube-proxy.yaml", kube_proxy(node)),
        ("resolv.conf", format!("nameserver {LAN_ADDRESS}\n")),
    ];
    for (file, text) in files {
        let path = on_disk(&disk, &in_node(file));
        fs::write(&path, text).map_err(io("write", path))?;
    }
    let copies = [
        (layout.pki("ca.crt"), "ca.crt"),
        (layout.pki(&format!("{name}.crt")), "kubelet.crt"),
        (layout.pki(&format!("{name}.key")), "kubelet.key"),
        (layout.pki(&format!("{name}.kubeconfig")), "kubelet.kubeconfig"),
        (layout.pki("proxy.kubeconfig"), "proxy.kubeconfig"),
    ];
    for (from, file) in copies {
        fs::copy(&from, on_disk(&disk, &in_node(file))).map_err(io("copy", from))?;
    }
    Ok(())
}

/// Mounts the disk, an empty `/run` and the programs; runs in the node's fresh mount namespace.
pub fn mount(disk: &Path, programs: &[(&str, PathBuf)]) -> Result<()> {
    let none: Option<&str> = None;
    let set = |flags: MsFlags| mount_call(none, "/", none, flags | MsFlags::MS_REC, none).map_err(mounting("/"));
    set(MsFlags::MS_PRIVATE)?;
    // Shared within the node again, as kubelet asks of a volume that passes mounts on.
    set(MsFlags::MS_SHARED)?;

    // Opened before the mounts below hide their paths.
    let log = open_path(&disk.join("log"))?;
    let disk = open_path(disk)?;
    let files = programs.iter().map(|(name, path)| Ok((*name, open_path(path)?))).collect::<Result<Vec<_>>>()?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount_call(Some("tmpfs"), "/run", Some("tmpfs"), flags, Some("mode=0755")).map_err(mounting("/run"))?;
    bind(&disk, "/var/lib")?;
    bind(&log, "/var/log")?;
    for (name, file) in files {
        bind(&file, &place(Path::new(PROGRAMS).join(name), "")?)?;
    }
    for (path, value) in SYSCTLS.iter().filter(|(path, _)| Path::new(path).exists()) {
        let file = place(Path::new("/run/sysctl").join(path.trim_start_matches('/')), value)?;
        bind(&open_path(Path::new(&file))?, path)?;
    }
    Ok(())
}

/// Where a path below the node's `/var/lib` stands on its disk.
fn on_disk(disk: &Path, path: &str) -> PathBuf {
    disk.join(path.strip_prefix("/var/lib/").expect("the disk is /var/lib"))
}

fn open_path(path: &Path) -> Result<File> {
    // Only a path to bind from; no permission to read is needed.
    let flags = OFlag::O_PATH.bits();
    OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(io("open", path))
}

fn bind(from: &File, to: &str) -> Result<()> {
    let none: Option<&str> = None;
    let from = format!("/proc/thread-self/fd/{}", from.as_raw_fd());
    mount_call(Some(from.as_str()), to, none, MsFlags::MS_BIND, none).map_err(mounting(to))
}

/// Makes a file with its folders, to be bound or bound upon.
fn place(path: PathBuf, text: &str) -> Result<String> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(io("make the folder", folder))?;
    }
    fs::write(&path, text).map_err(io("write", &path))?;
    Ok(path.display().to_string())
}

fn mounting(path: &str) -> impl FnOnce(nix::Error) -> Error {
    let path = path.to_owned();
    move |source| io("mount", path)(source.into())
}

fn containerd(tools: &Tools) -> String {
    let cni = tools.cni.display();
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Without it each sandbox fails on machines that forbid lowering an OOM score.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni}"
    conf_dir = "{SETTINGS}/cni"
"#
    )
}

/// Point-to-point links, not a bridge: what a pod sends to a Service of a pod beside it then passes the node's routing,
/// and no bridge filter has to be switched on in the machine's kernel.
fn cni(node: u32) -> String {
    let subnet = pod_subnet(node);
    format!(
        r#"{{"cniVersion":"1.0.0","name":"pods","plugins":[
 {{"type":"ptp","ipMasq":false,
  "ipam":{{"type":"host-local","ranges":[[{{"subnet":"{subnet}"}}]],"routes":[{{"dst":"0.0.0.0/0"}}],"dataDir":"/run/cni"}}}},
 {{"type":"portmap","capabilities":{{"portMappings":true}}}}]}}
"#
    )
}

fn kubelet(cgroup: &Cgroup, node: u32) -> String {
    let (address, cgroup) = (node_address(node), cgroup.absolute_name());
    format!(
        r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
failSwapOn: false
cgroupDriver: cgroupfs
cgroupRoot: {cgroup}
enforceNodeAllocatable: [pods]
oomScoreAdj: 0
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
address: {address}
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: {SETTINGS}/ca.crt}}}}
authorization: {{mode: Webhook}}
tlsCertFile: {SETTINGS}/kubelet.crt
tlsPrivateKeyFile: {SETTINGS}/kubelet.key
clusterDNS: ["{DNS_ADDRESS}"]
clusterDomain: {CLUSTER_DOMAIN}
resolvConf: {SETTINGS}/resolv.conf
volumePluginDir: {SETTINGS}/plugins
localStorageCapacityIsolation: true
imageGCHighThresholdPercent: 100
evictionHard: {{memory.available: "100Mi", nodefs.available: "1%", nodefs.inodesFree: "1%", imagefs.available: "1%"}}
nodeStatusUpdateFrequency: 4s
nodeLeaseDurationSeconds: 10
syncFrequency: 10s
maxPods: 60
serializeImagePulls: false
"#
    )
}

/// Conntrack's limits are the machine's, so all of them stay as they are; with the default sync period of a second the
/// first query after a Service gets its endpoint waits for seconds.
fn kube_proxy(node: u32) -> String {
    let (name, address) = (node_name(node), node_address(node));
    format!(
        r#"apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {{kubeconfig: {SETTINGS}/proxy.kubeconfig}}
clusterCIDR: {POD_SUBNETS}
hostnameOverride: {name}
bindAddress: {address}
oomScoreAdj: 0
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
nftables: {{minSyncPeriod: 100ms, syncPeriod: 30s}}
"#
    )
}
