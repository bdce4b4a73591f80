//! What version we are: etcd's that we are compatible with, because tools look for it, and our own.

/// The version of etcd whose behaviour this server has; in Status, `/version` and metrics.
pub const ETCD: &str = "3.7.3";
/// The cluster and storage version that goes with [`ETCD`].
pub const ETCD_CLUSTER: &str = "3.7.0";
/// Our own.
pub const QUORATE: &str = env!("CARGO_PKG_VERSION");

/// The text of `--version`: four lines, the first as etcd prints it.
pub fn text() -> String {
    format!(
        "etcd Version: {ETCD}\nQuorate Version: {QUORATE}\nRust Version: {}\nOS/Arch: {}/{}\n",
        env!("CARGO_PKG_RUST_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}
