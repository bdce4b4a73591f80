//! `quorate-local demo`: from nothing to a `QuorateCluster` that answers. Starts Kubernetes, loads the images, applies the
//! definitions, the operator and the sample, waits, and shows a put, a linearizable get and a watch.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::runtime::conditions::{is_crd_established, is_deployment_completed};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt};
use quorate_e2e::kubernetes::{Attached, Dialer, Relay, Tools, apply, on_path, run, workspace_program};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::ChildStdout;

use super::Demo;
use super::commands::{self, Fallible};

/// The operator starts in seconds; founding three members takes a few more. Builds beside it slow both down.
const WAIT_LIMIT: Duration = Duration::from_secs(180);
const CLIENT_PORT: u16 = 2379;

/// Runs the whole demonstration; the cluster stays up after it.
pub fn run_demo(demo: &Demo, folder: &Path) -> Fallible<()> {
    let archives = ["quorate", "quorate-operator"].map(|name| demo.images.join(format!("{name}.tar")));
    if let Some(missing) = archives.iter().find(|archive| !archive.exists()) {
        return Err(format!("{} is missing: build it with scripts/image.sh", missing.display()).into());
    }
    commands::start(&demo.up, folder)?;
    let attached = Attached::open(folder)?;
    println!();
    commands::load(&archives, folder)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let client = attached.client().await?;
        let clusters = deploy(&client, &demo.sources).await?;
        for cluster in &clusters {
            await_ready(&client, cluster).await?;
        }
        let cluster = clusters.first().ok_or("the sample holds no QuorateCluster")?;
        show(&attached, &client, cluster).await
    })
}

/// Applies definitions, operator and sample; returns the clusters of the sample.
async fn deploy(client: &Client, sources: &Path) -> Fallible<Vec<DynamicObject>> {
    let start = Instant::now();
    let mut definitions: Vec<PathBuf> =
        fs::read_dir(sources.join("crds"))?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    definitions.sort();
    for file in &definitions {
        apply(client, &fs::read_to_string(file)?).await?;
    }
    let all = Api::<CustomResourceDefinition>::all(client.clone());
    for definition in all.list(&ListParams::default()).await? {
        limited(
            "an established definition",
            await_condition(all.clone(), &definition.name_any(), is_crd_established()),
        )
        .await??;
    }
    let operator = fs::read_to_string(sources.join("config/operator.yaml"))?;
    apply(client, &operator).await?;
    let deployments = Api::<Deployment>::all(client.clone()).list(&ListParams::default()).await?;
    for deployment in deployments {
        let api = Api::<Deployment>::namespaced(client.clone(), &deployment.namespace().unwrap_or_default());
        limited("a running operator", await_condition(api, &deployment.name_any(), is_deployment_completed()))
            .await??;
    }
    println!("{:6.1} s  the operator runs", start.elapsed().as_secs_f32());
    apply(client, &fs::read_to_string(sources.join("config/samples/quoratecluster.yaml"))?).await?;
    Ok(clusters(client, None).list(&ListParams::default()).await?.items)
}

fn clusters(client: &Client, namespace: Option<&str>) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("quorate.io", "v1alpha1", "QuorateCluster"));
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// Waits for the condition Ready and tells what changes until then.
async fn await_ready(client: &Client, cluster: &DynamicObject) -> Fallible<()> {
    let start = Instant::now();
    let name = cluster.name_any();
    let api = clusters(client, cluster.namespace().as_deref());
    let told = std::cell::RefCell::new(String::new());
    let ready = await_condition(api, &name, |cluster: Option<&DynamicObject>| {
        let Some(status) = cluster.and_then(|cluster| cluster.data.get("status")) else { return false };
        let wanted = cluster.map(|cluster| cluster.data["spec"]["replicas"].to_string()).unwrap_or_default();
        let now = progress(status, &wanted);
        if *told.borrow() != now {
            println!("{:6.1} s  {name}: {now}", start.elapsed().as_secs_f32());
            told.replace(now);
        }
        condition(status, "Ready").is_some_and(|ready| ready["status"] == "True")
    });
    limited("a ready QuorateCluster", ready).await??;
    Ok(())
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// How far a cluster is: who votes, who comes, and what keeps it from going on.
fn progress(status: &Value, wanted: &str) -> String {
    let mut text = match status["voters"].as_u64().unwrap_or(0) {
        0 => "the first member is being founded".to_owned(),
        voters => format!("{voters} of {wanted} members vote, {} ready", status["readyReplicas"]),
    };
    if let Some(target) = status["operation"]["target"].as_str() {
        let coming = status["operation"]["type"] == "ScaleOut";
        text.push_str(&format!("; {target} is being {}", if coming { "added" } else { "removed" }));
    }
    let stalled = condition(status, "Stalled").filter(|stalled| stalled["status"] == "True");
    if let Some(message) = stalled.and_then(|stalled| stalled["message"].as_str()) {
        text.push_str(&format!("; stalled: {message}"));
    }
    text
}

async fn show(attached: &Attached, client: &Client, cluster: &DynamicObject) -> Fallible<()> {
    let (name, namespace) = (cluster.name_any(), cluster.namespace().unwrap_or_else(|| "default".into()));
    let tls = write_certificates(attached, client, &namespace, &name).await?;
    let target = service_address(client, &namespace, &name, CLIENT_PORT).await?;
    let relay = Relay::start(Dialer::start(attached.lan_holder())?, target, 0).await?;
    let scheme = if tls.is_empty() { "http" } else { "https" };
    let quoratectl = |arguments: &[&str]| -> Fallible<Command> {
        let mut command = Command::new(workspace_program("quoratectl")?);
        command.arg(format!("--endpoints={scheme}://{}", relay.local())).args(&tls).args(arguments);
        Ok(command)
    };
    println!();
    for arguments in [["put", "greeting", "hello"].as_slice(), &["get", "greeting"]] {
        println!("$ quoratectl {}\n{}", arguments.join(" "), run(&mut quoratectl(arguments)?)?.trim_end());
    }
    println!("$ quoratectl watch greeting --rev=1 &");
    let watch = quoratectl(&["watch", "greeting", "--rev=1"])?;
    let mut watch = tokio::process::Command::from(watch).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut lines = BufReader::new(watch.stdout.take().ok_or("the watch has no output")?).lines();
    print_until(&mut lines, "hello").await?;
    println!("$ quoratectl put greeting \"hello again\"");
    println!("{}", run(&mut quoratectl(&["put", "greeting", "hello again"])?)?.trim_end());
    print_until(&mut lines, "hello again").await?;
    watch.kill().await?;

    println!("\nGo on with");
    for line in hints(attached, &format!("{name}.{namespace}"), scheme, &tls)? {
        println!("  {line}");
    }
    Ok(())
}

/// What to do with the cluster, as lines for a shell: each works as it stands, pasted alone or all of them in turn.
fn hints(attached: &Attached, service: &str, scheme: &str, tls: &[String]) -> Fallible<Vec<String>> {
    let local = std::env::current_exe()?;
    let (local, root, port) = (local.display(), attached.layout().root(), free_port()?);
    let elsewhere = if super::default_folder().canonicalize().is_ok_and(|default| default == root) {
        String::new()
    } else {
        format!(" --state-dir {}", root.display())
    };
    let kubectl = on_path("kubectl").map_or_else(|| Tools::find()?.program("kubectl"), |_| Ok("kubectl".into()))?;
    let quoratectl = workspace_program("quoratectl")?;
    let flags = [&[format!("--endpoints={scheme}://127.0.0.1:{port}")], tls].concat().join(" ");
    Ok(vec![
        format!("export KUBECONFIG={}", attached.layout().kubeconfig().display()),
        format!("{} get qc -A", kubectl.display()),
        format!("{local} forward {service}:{CLIENT_PORT} --port {port}{elsewhere} &"),
        format!("{} {flags} get greeting", quoratectl.display()),
        format!("{local} kill 2{elsewhere}    # pulls a node's plug; `restart 2` switches it on again"),
        format!("{local} down{elsewhere}    # removes it all"),
    ])
}

/// The port that clients know on this machine's loopback, or another one where somebody listens there already.
fn free_port() -> std::io::Result<u16> {
    let listen = |port| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    Ok(listen(CLIENT_PORT).or_else(|_| listen(0))?.local_addr()?.port())
}

/// Writes a client's certificates into the folder and returns quoratectl's flags for them: none where the cluster serves
/// without TLS.
async fn write_certificates(
    attached: &Attached,
    client: &Client,
    namespace: &str,
    name: &str,
) -> Fallible<Vec<String>> {
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    let Some(secret) = secrets.get_opt(&format!("{name}-client-tls")).await? else { return Ok(Vec::new()) };
    let data = secret.data.unwrap_or_default();
    let mut flags = Vec::new();
    for (flag, key) in [("cacert", "ca.crt"), ("cert", "tls.crt"), ("key", "tls.key")] {
        let bytes = data.get(key).ok_or_else(|| format!("the Secret {name}-client-tls holds no {key}"))?;
        let path = attached.layout().pki(&format!("{namespace}-{name}-{key}"));
        quorate_e2e::kubernetes::write_secret(&path, std::str::from_utf8(&bytes.0)?)?;
        flags.push(format!("--{flag}={}", path.display()));
    }
    Ok(flags)
}

/// Address of a Service inside the cluster.
pub async fn service_address(client: &Client, namespace: &str, name: &str, port: u16) -> Fallible<SocketAddr> {
    let service = Api::<Service>::namespaced(client.clone(), namespace).get(name).await?;
    let address = service.spec.and_then(|spec| spec.cluster_ip).unwrap_or_default();
    let address = address.parse().map_err(|_| format!("Service {namespace}/{name} has no address of its own"))?;
    Ok(SocketAddr::new(address, port))
}

/// Prints the lines of a watch up to the one that holds `value` and nothing else.
async fn print_until(lines: &mut Lines<BufReader<ChildStdout>>, value: &str) -> Fallible<()> {
    let print = async {
        while let Some(line) = lines.next_line().await? {
            println!("{line}");
            if line == value {
                return Ok(());
            }
        }
        Err("the watch ended".into())
    };
    limited("an event of the watch", print).await?
}

async fn limited<T>(what: &str, future: impl Future<Output = T>) -> Fallible<T> {
    let late =
        |_| format!("{what} did not come within {} s: see `quorate-local kubectl get events -A`", WAIT_LIMIT.as_secs());
    Ok(tokio::time::timeout(WAIT_LIMIT, future).await.map_err(late)?)
}
