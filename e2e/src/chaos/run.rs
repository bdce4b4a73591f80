//! One run: a cluster, load on it, faults until the time is over, the way back, and the judgement of all that was seen.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use quorate_api::etcdserverpb::{CompactionRequest, DefragmentRequest};
use quorate_harness::Interrupt;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinHandle;

use super::Error;
use super::board::Board;
use super::clients::in_clients_network;
use super::cluster::{Cluster, Network};
use super::endpoints::{Endpoints, REQUEST_TIMEOUT};
use super::keeper::{Keepers, Kept};
use super::load::Load;
use super::nemesis::Tally;
use super::plan::{Draws, Plan, Step};
use super::recorder::Recorder;
use super::report::Report;
use super::watchers::Watchers;
use crate::history::{Observed, Truth, Violation, check, leases};

/// A lease that nobody renews goes at most so long after its TTL, once all members serve: a leader change gives every lease
/// its TTL anew, and the last one may have been just now.
const EXPIRY_SLACK: Duration = Duration::from_secs(12);

/// Longest time to live of a lease of the load.
const TTL_MAX: Duration = Duration::from_secs(9);

/// A compaction leaves at least so many revisions of the recorded history.
const KEPT_REVISIONS: i64 = 400;

/// Between two compactions at most.
const COMPACT_MS_MAX: u64 = 4_000;

/// Between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What goes on while faults strike.
struct Activity {
    board: Board,
    load: Load,
    keepers: Keepers,
    watchers: Watchers,
    recorder: Recorder,
    upkeep: JoinHandle<()>,
}

/// What everybody saw; the recorder goes on to the end of the history.
struct Seen {
    board: Board,
    recorder: Recorder,
    last_asked: HashMap<i64, Duration>,
    observed: Observed,
}

/// Runs a plan in a thread of its own, which is where the clients' network is. `progress` gets a line for every step. A run that is
/// interrupted ends in order, and its report says what was done until then.
pub fn run(
    plan: Plan,
    interrupt: &Interrupt,
    progress: impl Fn(String) + Send + Sync + 'static,
) -> Result<Report, Error> {
    if ![3, 5].contains(&plan.members) {
        return Err(Error::Members(plan.members));
    }
    if plan.kinds.is_empty() {
        return Err(Error::NoFaults);
    }
    let interrupt = interrupt.clone();
    in_clients_network(move |clients| async move {
        let mut cluster = Cluster::start(&plan, clients, Network::Switched, &[])?;
        let mut report = Report::new(plan);
        match run_inside(&mut cluster, &mut report, &interrupt, &progress).await {
            Err(Error::Interrupted(interrupted)) => report.interrupted = Some(interrupted),
            done => done?,
        }
        if !report.violations.is_empty() {
            report.logs = Some(cluster.keep_logs()?);
        }
        Ok(report)
    })
}

async fn run_inside(
    cluster: &mut Cluster,
    report: &mut Report,
    interrupt: &Interrupt,
    progress: &(impl Fn(String) + Send + Sync),
) -> Result<(), Error> {
    if let Err(violation) = interrupt.or(cluster.all_back()).await? {
        report.violations.push(violation);
        return Ok(());
    }
    // The founding is old when the first power cut comes.
    for member in &cluster.members {
        member.disk().settle()?;
    }
    let activity = Activity::start(&cluster.endpoints, report.plan.seed);
    let under_load = interrupt.or(strike_and_come_back(cluster, &activity.board, report, progress)).await;
    activity.board.stop();
    let back = match under_load {
        Ok(back) => back?,
        Err(interrupted) => {
            report.struck_for = activity.board.now();
            // Requests end by their own limit, a few seconds at most.
            report.count(&activity.load.end().await);
            return Err(interrupted.into());
        }
    };
    let seen = activity.end(report).await;
    if back {
        interrupt.or(judge(cluster, seen, report)).await??;
    }
    Ok(())
}

/// All faults, and the way back after the last. Whether all members serve: else there is no end of the history to compare with.
async fn strike_and_come_back(
    cluster: &mut Cluster,
    board: &Board,
    report: &mut Report,
    progress: &(impl Fn(String) + Send + Sync),
) -> Result<bool, Error> {
    let struck = strike(cluster, board, report, progress).await?;
    report.struck_for = board.now();
    if let Err(violation) = struck {
        report.violations.push(violation);
        // What was seen until then is judged all the same, if the members that are left can be brought to serve.
        let _ = cluster.start_all()?;
    }
    // Load goes on until all are back: the cluster serves again, and not only its harness.
    let back = cluster.all_back().await;
    let serves = back.is_ok();
    match back {
        Ok(took) => report.recovered(took),
        Err(violation) => report.violations.push(violation),
    }
    Ok(serves)
}

/// Faults, one step after the other, until the time is over or something is wrong.
async fn strike(
    cluster: &mut Cluster,
    board: &Board,
    report: &mut Report,
    progress: &(impl Fn(String) + Send + Sync),
) -> Result<Result<(), Violation>, Error> {
    let mut draws = Draws::new(&report.plan, ChaCha8Rng::seed_from_u64(report.plan.seed));
    while board.now() < report.plan.duration {
        let step = draws.step();
        progress(format!("{:7.2} s  {}", board.now().as_secs_f64(), step));
        if let Err(violation) = perform(cluster, &step, &mut report.faults).await? {
            return Ok(Err(violation));
        }
        if step.then_all_back {
            match cluster.all_back().await {
                Ok(took) => report.recovered(took),
                violation => return Ok(violation.map(|_| ())),
            }
        }
        tokio::time::sleep(step.quiet).await;
    }
    Ok(Ok(()))
}

async fn perform(cluster: &mut Cluster, step: &Step, tally: &mut Tally) -> Result<Result<(), Violation>, Error> {
    let mut wrong = None;
    let mut struck = Vec::new();
    for fault in &step.faults {
        struck.push(fault);
        wrong = cluster.strike(fault).await?.err();
        *tally.entry(fault.kind()).or_default() += 1;
        if wrong.is_some() {
            break;
        }
    }
    if wrong.is_none() {
        tokio::time::sleep(step.hold).await;
    }
    for fault in struck.into_iter().rev() {
        let healed = cluster.heal(fault).await?;
        wrong = wrong.or(healed.err());
    }
    Ok(wrong.map_or(Ok(()), Err))
}

impl Activity {
    fn start(endpoints: &Endpoints, seed: u64) -> Activity {
        let board = Board::new();
        Activity {
            load: Load::start(endpoints, &board, seed),
            keepers: Keepers::start(endpoints, &board, seed),
            watchers: Watchers::start(endpoints, &board, seed),
            recorder: Recorder::start(endpoints, &board, seed),
            upkeep: tokio::spawn(upkeep(endpoints.clone(), board.clone(), seed)),
            board,
        }
    }

    /// Waits until everybody has ended, once the board is stopped, and collects what they saw.
    async fn end(self, report: &mut Report) -> Seen {
        let Activity { board, load, keepers, watchers, recorder, upkeep } = self;
        upkeep.await.expect("the upkeep neither panics nor is aborted");
        let mut operations = load.end().await;
        let Kept { leases, operations: attached, last_asked } = keepers.end().await;
        operations.extend(attached);
        let sessions = watchers.end().await;
        report.count(&operations);
        Seen { board, recorder, last_asked, observed: Observed { operations, leases, sessions } }
    }
}

/// Compacts what is recorded and defragments members, now and then.
async fn upkeep(endpoints: Endpoints, board: Board, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xc0_4ac7);
    loop {
        let pause = Duration::from_millis(rng.random_range(0..COMPACT_MS_MAX));
        tokio::select! {
            () = board.stopped() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let member = rng.random_range(0..endpoints.len());
        if rng.random_ratio(1, 4) {
            let mut client = endpoints.maintenance(member);
            // Its member may be killed in the middle, which is what it is for.
            let _ = tokio::time::timeout(REQUEST_TIMEOUT, client.defragment(DefragmentRequest {})).await;
            continue;
        }
        let revision = board.recorded() - KEPT_REVISIONS - rng.random_range(0..KEPT_REVISIONS);
        if revision > board.compacted() {
            board.compact(revision);
            let request = CompactionRequest { revision, physical: rng.random_ratio(1, 4) };
            // Done or not: readers and watchers take a refusal below it either way.
            let _ = tokio::time::timeout(REQUEST_TIMEOUT, endpoints.kv(member).compact(request)).await;
        }
    }
}

/// Judges what everybody saw by the history, on a cluster whose members all serve.
async fn judge(cluster: &Cluster, seen: Seen, report: &mut Report) -> Result<(), Error> {
    let Seen { board, recorder, last_asked, observed } = seen;
    let deadline = Instant::now() + TTL_MAX + EXPIRY_SLACK;
    while !cluster.is_empty("lease/", "lease0").await? && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let revision = cluster.revision().await?;
    let ended = board.now();
    let (truth, mut violations) = Truth::new(recorder.end(revision).await?);
    if truth.last_revision() < revision && violations.is_empty() {
        violations.push(Violation::HistoryBroken { after: truth.last_revision(), revision });
    }
    let (judged, found) = check(&truth, &observed);
    violations.extend(found);
    violations.extend(leases::overdue(&truth, &observed.leases, &last_asked, ended, EXPIRY_SLACK));
    let hashes = cluster.hashes(revision).await?;
    if hashes.windows(2).any(|pair| (pair[0].1, pair[0].2) != (pair[1].1, pair[1].2)) {
        violations.push(Violation::HashesDiffer { revision, hashes });
    }
    report.judged = judged;
    report.revisions = revision;
    report.violations.extend(violations);
    Ok(())
}
