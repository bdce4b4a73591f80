//! What the cluster tests share: where clusters stand, a pod to run, how a cluster begins and ends, and the account of
//! what it leaves behind.

#![allow(dead_code, unused_imports, reason = "each test target uses its part")]

mod footprint;
mod lifecycle;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::runtime::conditions::is_pod_running;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use quorate_e2e::image::{self, Config, Content};
use quorate_e2e::kubernetes::{Builder, Cluster, Store, run};

pub use footprint::{Footprint, machine};
pub use lifecycle::{killed_harness_leaves_nothing, ready_in_time, stop_leaves_nothing};

pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Image of the test pods: a shell and a few tools of this machine.
pub const TOOLBOX: &str = "quorate.local/toolbox:1";
const TOOLBOX_PROGRAMS: [&str; 6] = ["bash", "cat", "sleep", "getent", "ls", "id"];
/// A pod with its image in place starts in a second; builds beside it slow that down.
const POD_LIMIT: Duration = Duration::from_secs(60);

/// A folder of the build, always the same for a test, so that the next run cleans what a killed one left.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// A cluster in the test's folder. `QUORATE_E2E_STORE=etcd` runs the same test on etcd, to tell whose fault a failure is.
pub fn cluster(name: &str) -> Builder {
    let progress = |since: Duration, what: &str| println!("{:6.1} s  {what}", since.as_secs_f32());
    Cluster::builder(folder(name)).store(store()).progress(Arc::new(progress))
}

/// What the API server of the tests keeps its objects in.
pub fn store() -> Store {
    let etcd = std::env::var("QUORATE_E2E_STORE").is_ok_and(|store| store == "etcd");
    if etcd { Store::Etcd } else { Store::Quorate }
}

/// `quorate-local COMMAND` for the cluster in a folder.
pub fn local(folder: &Path, command: &str) -> Command {
    let mut local = Command::new(env!("CARGO_BIN_EXE_quorate-local"));
    local.arg(command).arg("--state-dir").arg(folder);
    local
}

/// Images of the dev profile, in a folder of the tests; returns it.
pub fn images() -> Result<PathBuf, Error> {
    let (images, script) = (folder("images"), Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/image.sh"));
    run(Command::new(script).args(["--profile", "dev", "--output"]).arg(&images))?;
    Ok(images)
}

/// The archive of [`TOOLBOX`].
pub fn toolbox() -> Result<PathBuf, Error> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/image/rootfs.sh");
    let root = folder(&format!("toolbox-{}", std::process::id()));
    let programs = TOOLBOX_PROGRAMS.map(|program| format!("/usr/bin/{program}"));
    run(Command::new(script).arg(&root).args(programs))?;
    let archive = root.with_extension("tar");
    let config = Config {
        references: vec![TOOLBOX.into()],
        entrypoint: vec!["/usr/bin/bash".into()],
        user: "65532:65532".into(),
        ..Config::default()
    };
    image::write(&archive, &config, &Content::Root(root.clone()))?;
    fs::remove_dir_all(root)?;
    Ok(archive)
}

/// Puts the toolbox onto the nodes of a cluster.
pub fn load_toolbox(cluster: &Cluster) -> Result<(), Error> {
    let archive = toolbox()?;
    cluster.import_image(&archive)?;
    Ok(fs::remove_file(archive)?)
}

/// A pod of the toolbox that runs `script` in bash, with more of its spec in YAML.
pub fn pod(name: &str, script: &str, container: &str, spec: &str) -> String {
    let script = serde_json::to_string(script).expect("a string has a JSON form");
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
         containers:\n  - name: main\n    image: {TOOLBOX}\n    args: [-c, {script}]\n{container}\n{spec}\n"
    )
}

pub async fn await_running(client: &Client, name: &str) -> Result<(), Error> {
    let pods = Api::<Pod>::default_namespaced(client.clone());
    tokio::time::timeout(POD_LIMIT, await_condition(pods, name, is_pod_running()))
        .await
        .map_err(|_| format!("pod {name} did not run within {} s", POD_LIMIT.as_secs()))??;
    Ok(())
}
