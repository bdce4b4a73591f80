//! One function for each command.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command as Process, ExitCode};
use std::time::Instant;

use quorate_e2e::image::{self, Content};
use quorate_e2e::kubernetes::{self, Attached, Dialer, Layout, Phase, Relay, State, Tools};

use super::control::{self, Fault};
use super::demo::{run_demo, service_address};
use super::{Command, Pack, Up, supervisor};

/// A person reads these errors; nothing decides by them.
pub type Fallible<T> = Result<T, Box<dyn std::error::Error>>;
type Outcome = Fallible<ExitCode>;

pub fn run(command: Command, folder: &Path) -> Outcome {
    match command {
        Command::Up(up) => start_and_explain(&up, folder),
        Command::Demo(demo) => run_demo(&demo, folder).map(|()| ExitCode::SUCCESS),
        Command::Down => down(folder),
        Command::Status => status(folder),
        Command::Kubeconfig => kubeconfig(folder),
        Command::Kubectl { arguments } => kubectl(&arguments, folder),
        Command::Partition(one) => control::fault(Fault::Partition, one.node, folder).map(|()| ExitCode::SUCCESS),
        Command::Heal(one) => control::fault(Fault::Heal, one.node, folder).map(|()| ExitCode::SUCCESS),
        Command::Kill(one) => control::fault(Fault::Kill, one.node, folder).map(|()| ExitCode::SUCCESS),
        Command::Restart(one) => control::fault(Fault::Restart, one.node, folder).map(|()| ExitCode::SUCCESS),
        Command::Load { archives } => load(&archives, folder).map(|()| ExitCode::SUCCESS),
        Command::Forward { target, port } => forward(&target, port, folder),
        Command::Pack(pack) => write_image(pack),
        Command::Supervise(up) => supervisor::run(&up, folder),
    }
}

/// Starts a cluster unless one is up.
pub fn start(up: &Up, folder: &Path) -> Fallible<()> {
    if let Ok(attached) = Attached::open(folder) {
        println!("A cluster of {} node(s) is up in {} already.", attached.nodes(), attached.layout().root().display());
        return Ok(());
    }
    println!("Starting a Kubernetes of {} node(s) in {}", up.nodes, folder.display());
    supervisor::start(up, folder)
}

fn start_and_explain(up: &Up, folder: &Path) -> Outcome {
    start(up, folder)?;
    println!(
        "\nGo on with\n  export KUBECONFIG={}\n  kubectl get nodes        or: quorate-local kubectl get nodes\n  \
         quorate-local kill 1     pulls a node's plug (restart, partition and heal: see --help)\n  \
         quorate-local down       removes it all",
        Attached::open(folder)?.layout().kubeconfig().display()
    );
    Ok(ExitCode::SUCCESS)
}

fn down(folder: &Path) -> Outcome {
    let start = Instant::now();
    if kubernetes::down(folder)? {
        println!("Stopped the cluster and removed {} in {:.1} s", folder.display(), start.elapsed().as_secs_f32());
    } else {
        println!("There is no cluster in {}", folder.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn status(folder: &Path) -> Outcome {
    let state = if folder.exists() { State::read(&Layout::open(folder)?) } else { None };
    let Some(state) = state else {
        println!("No cluster in {}. Start one with: quorate-local up", folder.display());
        return Ok(ExitCode::FAILURE);
    };
    if !state.harness.is_alive() {
        println!("The cluster's supervisor (process {}) is dead. Clean up with: quorate-local down", state.harness.pid);
        return Ok(ExitCode::FAILURE);
    }
    let phase = match &state.phase {
        Phase::Starting => "starting".to_owned(),
        Phase::Ready => "ready".to_owned(),
        Phase::Failed(why) => format!("failed: {why}"),
    };
    let attached = Attached::open(folder);
    let programs = attached.as_ref().map_or_else(|_| Ok(Vec::new()), Attached::programs)?;
    let nodes = match &attached {
        Ok(attached) => control::nodes(attached).unwrap_or_else(|_| state.nodes.to_string()),
        Err(_) => state.nodes.to_string(),
    };
    let mut text = format!(
        "Cluster     {phase}\nFolder      {}\nNodes       {nodes}\nStore       {}\nSupervisor  process {}\n",
        folder.display(),
        format!("{:?}", state.store).to_lowercase(),
        state.harness.pid
    );
    for (name, alive) in &programs {
        text.push_str(&format!("  {name:28} {}\n", if *alive { "running" } else { "dead" }));
    }
    // Into `head`, which closes its end, too.
    let _ = std::io::stdout().write_all(text.as_bytes());
    let whole = attached.is_ok() && programs.iter().all(|(_, alive)| *alive);
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn kubeconfig(folder: &Path) -> Outcome {
    println!("{}", Attached::open(folder)?.layout().kubeconfig().display());
    Ok(ExitCode::SUCCESS)
}

fn kubectl(arguments: &[String], folder: &Path) -> Outcome {
    let attached = Attached::open(folder)?;
    let program = Tools::find()?.program("kubectl")?;
    attached.lan().move_thread()?;
    // This process becomes kubectl, with its terminal and its exit code.
    let kubeconfig = attached.layout().pki("admin.kubeconfig");
    Err(Process::new(program).env("KUBECONFIG", kubeconfig).args(arguments).exec().into())
}

/// Puts images onto every node.
pub fn load(archives: &[std::path::PathBuf], folder: &Path) -> Fallible<()> {
    let attached = Attached::open(folder)?;
    for archive in archives {
        let start = Instant::now();
        attached.import_image(archive)?;
        let seconds = start.elapsed().as_secs_f32();
        println!("{} is on {} node(s) ({seconds:.1} s)", archive.display(), attached.nodes());
    }
    Ok(())
}

fn forward(target: &str, port: u16, folder: &Path) -> Outcome {
    let attached = Attached::open(folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let address = match target.parse() {
            Ok(address) => address,
            Err(_) => {
                let (service, service_port) = target.rsplit_once(':').ok_or("the target has no port")?;
                let (name, namespace) = service.split_once('.').unwrap_or((service, "default"));
                service_address(&attached.client().await?, namespace, name, service_port.parse()?).await?
            }
        };
        let relay = Relay::start(Dialer::start(attached.lan_holder())?, address, port).await?;
        println!("{} leads to {target}; Ctrl-C ends it", relay.local());
        tokio::signal::ctrl_c().await?;
        Ok(ExitCode::SUCCESS)
    })
}

fn write_image(Pack { root, references, entrypoint, user, output }: Pack) -> Outcome {
    let config = image::Config { references, entrypoint, user, ..image::Config::default() };
    image::write(&output, &config, &Content::Root(root))?;
    let megabytes = std::fs::metadata(&output)?.len() as f64 / 1e6;
    println!("{} in {} ({megabytes:.1} MB)", config.references.join(" and "), output.display());
    Ok(ExitCode::SUCCESS)
}
