//! Faults on demand: `partition`, `heal`, `kill` and `restart` are done by the process that runs the cluster, which listens
//! on a socket in the cluster's folder. One line asks, one line answers.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use quorate_e2e::kubernetes::{Attached, Cluster, NodeState, node_name};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::commands::Fallible;

/// Longer than any line of either side.
const LINE_BYTES_MAX: u64 = 4_096;
/// Booting a node takes a second or two; a busy machine is slower.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// What can be done with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Partition,
    Heal,
    Kill,
    Restart,
}

const WORDS: [(Fault, &str); 4] =
    [(Fault::Partition, "partition"), (Fault::Heal, "heal"), (Fault::Kill, "kill"), (Fault::Restart, "restart")];

impl Fault {
    fn word(self) -> &'static str {
        WORDS.iter().find(|(fault, _)| *fault == self).map_or("", |(_, word)| word)
    }
}

/// A request.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    /// How the nodes are.
    Nodes,
    Node(Fault, u32),
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nodes => write!(f, "nodes"),
            Self::Node(fault, node) => write!(f, "{} {node}", fault.word()),
        }
    }
}

impl FromStr for Request {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let unknown =
            || format!("{line:?} is no request of this version: run `down` and `up` with the same quorate-local");
        if line == "nodes" {
            return Ok(Self::Nodes);
        }
        let (word, node) = line.split_once(' ').ok_or_else(unknown)?;
        let (fault, _) = WORDS.iter().find(|(_, known)| *known == word).ok_or_else(unknown)?;
        Ok(Self::Node(*fault, node.parse().map_err(|_| unknown())?))
    }
}

/// Answers requests, one after the other, for as long as the cluster runs.
pub async fn serve(cluster: &Cluster, socket: &Path) -> Fallible<()> {
    // A supervisor that was killed left its own.
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket)
        .map_err(|error| format!("listen on {}: {error}; a shorter --state-dir may help", socket.display()))?;
    loop {
        let (stream, _) = listener.accept().await?;
        // Whoever asked may be gone again.
        if let Err(error) = answer(cluster, stream).await {
            eprintln!("a request was not answered: {error}");
        }
    }
}

async fn answer(cluster: &Cluster, mut stream: UnixStream) -> Fallible<()> {
    let (reader, mut writer) = stream.split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(LINE_BYTES_MAX));
    tokio::time::timeout(ANSWER_LIMIT, reader.read_line(&mut line)).await??;
    let said = match line.trim().parse() {
        Ok(request) => match tokio::task::block_in_place(|| perform(cluster, &request)) {
            Ok(said) => format!("ok {said}\n"),
            Err(error) => format!("error {error}\n"),
        },
        Err(error) => format!("error {error}\n"),
    };
    Ok(writer.write_all(said.as_bytes()).await?)
}

fn perform(cluster: &Cluster, request: &Request) -> quorate_e2e::kubernetes::Result<String> {
    match request {
        Request::Nodes => {
            let state = |(node, state): (u32, NodeState)| format!("{}: {state}", node_name(node));
            return Ok(cluster.node_states().into_iter().map(state).collect::<Vec<_>>().join(", "));
        }
        Request::Node(Fault::Partition, node) => cluster.partition(*node)?,
        Request::Node(Fault::Heal, node) => cluster.heal(*node)?,
        Request::Node(Fault::Kill, node) => cluster.kill_node(*node)?,
        Request::Node(Fault::Restart, node) => cluster.restart_node(*node)?,
    }
    Ok(String::new())
}

async fn ask(attached: &Attached, request: &Request) -> Fallible<String> {
    let socket = attached.layout().control();
    let mut stream = UnixStream::connect(&socket)
        .await
        .map_err(|error| format!("the cluster's supervisor does not listen on {}: {error}", socket.display()))?;
    stream.write_all(format!("{request}\n").as_bytes()).await?;
    let mut said = String::new();
    let mut answer = stream.take(LINE_BYTES_MAX);
    let answered = answer.read_to_string(&mut said);
    tokio::time::timeout(ANSWER_LIMIT, answered).await.map_err(|_| "the cluster's supervisor does not answer")??;
    match said.trim_end().split_once(' ').unwrap_or((said.trim_end(), "")) {
        ("ok", text) => Ok(text.to_owned()),
        (_, error) => Err(error.to_owned().into()),
    }
}

/// How the nodes are, in words.
pub fn nodes(attached: &Attached) -> Fallible<String> {
    runtime()?.block_on(ask(attached, &Request::Nodes))
}

/// Does it and says what to expect and how to undo it.
pub fn fault(fault: Fault, node: u32, folder: &Path) -> Fallible<()> {
    let attached = Attached::open(folder)?;
    runtime()?.block_on(ask(&attached, &Request::Node(fault, node)))?;
    let name = node_name(node);
    match fault {
        Fault::Partition => println!(
            "{name} is cut off: its pods run on and nobody reaches them. It is NotReady in about 10 s.\nMend its cable with: quorate-local heal {node}"
        ),
        Fault::Heal => println!("{name} has its network again; it is Ready in a few seconds"),
        Fault::Kill => println!(
            "{name} has no power: its pods are dead, its disk stays. It is NotReady in about 10 s.\nSwitch it on with: quorate-local restart {node}"
        ),
        Fault::Restart => {
            println!("{name} has booted; it is Ready in a few seconds, and its pods come back by themselves")
        }
    }
    Ok(())
}

fn runtime() -> Fallible<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_line() {
        for request in [
            Request::Nodes,
            Request::Node(Fault::Partition, 1),
            Request::Node(Fault::Heal, 2),
            Request::Node(Fault::Kill, 3),
            Request::Node(Fault::Restart, 4),
        ] {
            assert_eq!(request.to_string().parse(), Ok(request));
        }
        assert!("explode 1".parse::<Request>().is_err());
        assert!("kill one".parse::<Request>().is_err());
    }
}
