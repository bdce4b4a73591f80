//! The closed loop: N clients, each sending its next request when it has the answer to its last, over a few connections.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::grpc::Channel;
use crate::process::{self, Usage};
use crate::workload::{KEYS, KEYS_PER_TXN, Source, Workload, preparation};

/// Connections that the clients share; fewer clients have one each.
pub const CONNECTIONS: usize = 16;
/// Load before the window, in which nothing is counted.
pub const WARM_UP: Duration = Duration::from_secs(1);
/// Transactions in flight while the keys are written.
const PREPARERS: u64 = 8;
/// How long the last answers may take after the window.
const DRAIN_SECONDS: u64 = 30;
/// Latencies are kept in ns with three digits, up to one minute.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// What one window saw.
#[derive(Debug)]
pub struct Window {
    /// Its true length.
    pub length: Duration,
    /// Latency of each operation answered in it, ns.
    pub latencies: Histogram<u64>,
    /// The server's costs at its start and end.
    pub server: (Usage, Usage),
    /// This program's CPU in it, µs.
    pub loader_cpu_us: u64,
    /// The whole machine's CPU in it, µs.
    pub machine_cpu_us: u64,
}

/// Writes every key once.
pub async fn prepare(address: SocketAddr, source: &Source) -> Result<()> {
    let next = Rc::new(Cell::new(0));
    let mut preparers = JoinSet::new();
    for seed in 0..PREPARERS {
        let (next, mut source, mut channel) = (next.clone(), source.fork(seed), Channel::open(address).await?);
        preparers.spawn_local(async move {
            let method = channel.method("/etcdserverpb.KV/Txn");
            while next.get() < KEYS {
                let first = next.replace(next.get() + KEYS_PER_TXN);
                channel.call(&method, preparation(first, &mut source)).await?;
            }
            Ok(())
        });
    }
    all_well(preparers).await
}

/// Runs the clients for the warm-up and a window of this length.
pub async fn drive(
    address: SocketAddr,
    pid: u32,
    (workload, clients): (Workload, usize),
    length: Duration,
    source: &Source,
) -> Result<Window> {
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS.min(clients) {
        channels.push(Channel::open(address).await?);
    }
    let shared = Rc::new(Shared::new());
    let mut running = JoinSet::new();
    for (number, channel) in (1..).zip(channels.iter().cycle().take(clients)) {
        running.spawn_local(client(workload, channel.clone(), source.fork(number), shared.clone()));
    }
    tokio::time::sleep(WARM_UP).await;
    let before = Costs::now(pid)?;
    shared.phase.set(Phase::Counted);
    // A failing client ends the run at once, and not after a window without load.
    let failed = timeout(length, running.join_next()).await;
    shared.phase.set(Phase::Ended);
    let after = Costs::now(pid)?;
    if let Ok(Some(joined)) = failed {
        joined.expect("a client does not panic")?;
    }
    let stuck = Error::Stuck { clients, seconds: DRAIN_SECONDS };
    timeout(Duration::from_secs(DRAIN_SECONDS), all_well(running)).await.map_err(|_| stuck)??;
    Ok(Window {
        length: after.at - before.at,
        latencies: shared.latencies.replace(histogram()),
        server: (before.server, after.server),
        loader_cpu_us: after.loader_us - before.loader_us,
        machine_cpu_us: after.machine_us - before.machine_us,
    })
}

async fn client(workload: Workload, mut channel: Channel, mut source: Source, shared: Rc<Shared>) -> Result<()> {
    let method = channel.method(workload.path());
    while shared.phase.get() != Phase::Ended {
        let request = workload.request(&mut source);
        let sent = Instant::now();
        let answer = channel.call(&method, request).await?;
        let latency = sent.elapsed();
        workload.check(answer)?;
        if shared.phase.get() == Phase::Counted {
            let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
            shared.latencies.borrow_mut().saturating_record(nanoseconds);
        }
    }
    Ok(())
}

/// Waits for all; the first failure is the outcome.
async fn all_well(mut tasks: JoinSet<Result<()>>) -> Result<()> {
    while let Some(joined) = tasks.join_next().await {
        joined.expect("a client does not panic")?;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Counted,
    Ended,
}

/// What the clients, all on one thread, have in common.
struct Shared {
    phase: Cell<Phase>,
    latencies: RefCell<Histogram<u64>>,
}

impl Shared {
    fn new() -> Self {
        Self { phase: Cell::new(Phase::WarmUp), latencies: RefCell::new(histogram()) }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("the bounds are in order and the digits below six")
}

struct Costs {
    at: Instant,
    server: Usage,
    loader_us: u64,
    machine_us: u64,
}

impl Costs {
    fn now(pid: u32) -> Result<Self> {
        Ok(Self {
            server: Usage::of(pid)?,
            loader_us: Usage::of(std::process::id())?.cpu_us(),
            machine_us: process::machine_cpu_us()?,
            at: Instant::now(),
        })
    }
}
