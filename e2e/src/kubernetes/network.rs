//! Links, addresses and routes: one bridge in the control plane's namespace is the cluster's LAN, each node hangs on it
//! by a cable (a veth pair) that can be cut.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use super::error::{Error, Result, io};
use super::layout::{LAN_ADDRESS, SERVICE_SUBNET, node_address, pod_subnet};
use super::tools::on_path;

/// Sets up the LAN's end; runs in the control plane's namespace.
pub fn set_up_lan() -> Result<()> {
    ip(&format!(
        "link set lo up\n\
         link add lan0 type bridge\n\
         addr add {LAN_ADDRESS}/24 dev lan0\n\
         link set lan0 up\n"
    ))?;
    forward_packets()
}

/// Sets up a node before it has its cable; runs in the node's namespace.
pub fn set_up_node() -> Result<()> {
    ip("link set lo up\n")?;
    forward_packets()
}

/// Plugs a node in; runs in the control plane's namespace. `holder` is a process of the node's namespace.
pub fn plug_in(node: u32, holder: u32) -> Result<()> {
    // The kernel takes a dead node's end away some time after its last process.
    if interface_exists(&cable(node)) {
        ip(&format!("link del {}\n", cable(node)))?;
    }
    ip(&format!(
        "link add {cable} type veth peer name eth0 netns {holder}\n\
         link set {cable} master lan0 up\n\
         route replace {pods} via {address}\n",
        cable = cable(node),
        pods = pod_subnet(node),
        address = node_address(node),
    ))
}

/// Gives a plugged node its address and its routes; runs in the node's namespace.
pub fn address_node(node: u32, nodes: u32) -> Result<()> {
    let mut batch = format!(
        "addr add {address}/24 dev eth0\n\
         link set eth0 up\n\
         route add default via {LAN_ADDRESS}\n",
        address = node_address(node)
    );
    for other in (1..=nodes).filter(|&other| other != node) {
        batch.push_str(&format!("route add {} via {}\n", pod_subnet(other), node_address(other)));
    }
    ip(&batch)
}

/// Cuts the node's cable or mends it; runs in the control plane's namespace.
pub fn set_cable(node: u32, up: bool) -> Result<()> {
    let state = if up { "up" } else { "down" };
    ip(&format!("link set {} {state}\n", cable(node)))
}

/// Sends what the LAN asks of Services through a node's kube-proxy; runs in the control plane's namespace.
pub fn route_services_through(node: u32) -> Result<()> {
    ip(&format!("route replace {SERVICE_SUBNET} via {}\n", node_address(node)))
}

fn cable(node: u32) -> String {
    format!("cable{node}")
}

fn interface_exists(name: &str) -> bool {
    // /proc/net shows the namespace of the thread that reads it; /sys shows that of its mount.
    let devices = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    devices.lines().any(|line| line.trim_start().strip_prefix(name).is_some_and(|rest| rest.starts_with(':')))
}

fn forward_packets() -> Result<()> {
    let file = "/proc/sys/net/ipv4/ip_forward";
    fs::write(file, "1").map_err(io("write", file))
}

/// Runs lines of `ip` commands; the first that fails is the error.
fn ip(batch: &str) -> Result<()> {
    let program = on_path("ip").ok_or_else(|| Error::PackageMissing { program: "ip".into(), package: "iproute2" })?;
    let mut child = Command::new(&program)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(io("start", &program))?;
    let mut input = child.stdin.take().expect("stdin was asked for as a pipe");
    input.write_all(batch.as_bytes()).map_err(io("write to", &program))?;
    drop(input);
    let output = child.wait_with_output().map_err(io("wait for", &program))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Command { command: format!("ip -batch: {batch}"), status: output.status, stderr })
}
