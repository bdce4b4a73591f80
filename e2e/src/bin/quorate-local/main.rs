//! `quorate-local`: a real Kubernetes on this machine for people and for `make up`. A supervisor process runs the
//! cluster in the background; the commands talk to it through the files of the cluster's folder.

mod commands;
mod control;
mod demo;
mod supervisor;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use quorate_e2e::kubernetes::{Store, cache_folder};

/// A real Kubernetes on this machine, with Quorate as the API server's store.
///
/// Everything runs in network namespaces, cgroups and one folder of its own; `down` leaves nothing behind.
/// Needs root and the programs that `make setup` puts into the cache.
#[derive(Debug, Parser)]
#[command(name = "quorate-local", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Folder that holds everything of the cluster.
    #[arg(long, global = true, value_name = "DIR", env = "QUORATE_LOCAL_DIR", default_value_os_t = default_folder())]
    state_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster and wait until it is ready (removes a dead one in the same folder first).
    Up(Up),
    /// Stop the cluster and remove everything of it, also after a crash.
    Down,
    /// Show what runs; exits with 1 unless the cluster is ready.
    Status,
    /// Print the path of the admin's kubeconfig.
    Kubeconfig,
    /// Run kubectl in the cluster's network with the admin's rights.
    Kubectl {
        /// Arguments of kubectl.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Cut a node's cable: its pods run on and nobody reaches them.
    Partition(OneNode),
    /// Mend a node's cable.
    Heal(OneNode),
    /// Pull a node's plug: every process in it is killed, its disk stays.
    Kill(OneNode),
    /// Switch a killed node on again.
    Restart(OneNode),
    /// Put image archives (docker or OCI) onto every node.
    Load {
        #[arg(required = true, value_name = "ARCHIVE")]
        archives: Vec<PathBuf>,
    },
    /// Lead a port of this machine's loopback to an address in the cluster, until interrupted.
    Forward {
        /// A Service (NAME[.NAMESPACE]:PORT) or an address of a pod, a Service or a node (10.96.0.10:53).
        target: String,
        /// Port on 127.0.0.1; 0 takes a free one.
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
    /// Start a cluster, run the operator in it, apply config/samples/quoratecluster.yaml and show a put, a get and a watch.
    Demo(Demo),
    /// Pack a folder into an image archive (the last step of scripts/image.sh).
    Pack(Pack),
    /// Run the cluster in the foreground; `up` starts this in the background.
    #[command(hide = true)]
    Supervise(Up),
}

#[derive(Debug, clap::Args)]
struct OneNode {
    /// Number of the node: 2 for node2.
    node: u32,
}

#[derive(Debug, Clone, clap::Args)]
struct Up {
    /// How many nodes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=5))]
    nodes: u32,
    /// What the API server keeps its objects in.
    #[arg(long, value_enum, default_value_t = StoreName::Quorate)]
    store: StoreName,
    /// Port of the API server on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

#[derive(Debug, clap::Args)]
struct Demo {
    #[command(flatten)]
    up: Up,
    /// Folder with quorate.tar and quorate-operator.tar, as scripts/image.sh writes them.
    #[arg(long, value_name = "DIR", default_value_os_t = cache_folder().join("images"))]
    images: PathBuf,
    /// Folder with crds/ and config/.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/.."))]
    sources: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StoreName {
    /// The `quorate` of this build.
    Quorate,
    /// etcd, to compare with.
    Etcd,
}

#[derive(Debug, clap::Args)]
struct Pack {
    /// Folder that becomes the image's root.
    #[arg(long)]
    root: PathBuf,
    /// Full name with tag, such as docker.io/library/quorate:0.1.0; may be given several times.
    #[arg(long = "reference", required = true)]
    references: Vec<String>,
    /// Program to run and its first arguments.
    #[arg(long, num_args = 1.., required = true)]
    entrypoint: Vec<String>,
    /// User and group that it runs as.
    #[arg(long, default_value = "65532:65532")]
    user: String,
    /// The archive to write.
    #[arg(long)]
    output: PathBuf,
}

impl From<StoreName> for Store {
    fn from(name: StoreName) -> Self {
        match name {
            StoreName::Quorate => Self::Quorate,
            StoreName::Etcd => Self::Etcd,
        }
    }
}

fn default_folder() -> PathBuf {
    cache_folder().join("local")
}

fn main() -> ExitCode {
    let Cli { command, state_dir } = Cli::parse();
    match commands::run(command, &state_dir) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("quorate-local: {error}");
            ExitCode::FAILURE
        }
    }
}
