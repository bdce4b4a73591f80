//! One run: rounds of load, a fault at a random moment, restart, and a check of all that was ever acknowledged.
//! Everything that is drawn comes from the plan's seed; the moments themselves are the machine's.

use std::fmt;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Error;
use super::checker::{Violation, check};
use super::cluster::Cluster;
use super::load::{Load, Outcome, Write};
use super::member::READY_TIMEOUT;

/// A fault comes after this many acknowledged puts at the latest, so that a round is short.
const PUTS_BEFORE_FAULT_MAX: u64 = 400;

/// The fault then waits this long at most, to hit any moment of a write.
const PAUSE_MS_MAX: u64 = 300;

/// Puts that must be acknowledged once all members are back: the cluster goes on, and does not only still hold.
const PUTS_AFTER_RESTART: u64 = 24;

/// Of this many rounds one strikes again while the members are starting.
const STRIKE_AGAIN_ONE_IN: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL: what was written survives in the page cache.
    Kill,
    /// The disk stops without a flush, then SIGKILL: only what was synced survives.
    PowerCut,
    /// The file system of one member turns read-only; the process must end by itself and say why, while the others go on.
    ReadOnly,
}

#[derive(Debug, Clone)]
pub struct Plan {
    /// 1, 3 or 5.
    pub members: usize,
    pub fault: Fault,
    pub rounds: u32,
    pub seed: u64,
    /// Off, the members run with `--unsafe-no-fsync`, and a power cut must be found out.
    pub fsync: bool,
}

/// What a run did and found.
#[derive(Debug)]
pub struct Report {
    pub plan: Plan,
    pub rounds: u32,
    /// Members struck, over all rounds.
    pub strikes: usize,
    pub acknowledged: usize,
    pub unknown: usize,
    pub violations: Vec<Violation>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { members, fault, seed, fsync, .. } = &self.plan;
        write!(
            f,
            "{members} member(s), {fault:?}, fdatasync {}, seed {seed}: {} rounds, {} strikes, {} puts acknowledged, {} unknown, {} violations",
            if *fsync { "on" } else { "off" },
            self.rounds,
            self.strikes,
            self.acknowledged,
            self.unknown,
            self.violations.len()
        )?;
        // Thousands of lost keys say no more than the first of them.
        for violation in self.violations.iter().take(10) {
            write!(f, "\n  {violation}")?;
        }
        Ok(())
    }
}

/// Runs the plan; it ends early with the first round that finds a violation.
pub async fn run(plan: Plan) -> Result<Report, Error> {
    let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
    let mut cluster = Cluster::start(&plan)?;
    let mut report = Report { plan, rounds: 0, strikes: 0, acknowledged: 0, unknown: 0, violations: Vec::new() };
    if let Err(refusal) = cluster.ready().await {
        report.violations.push(Violation::Refused(refusal));
        return Ok(report);
    }
    // The founding is old when the first fault comes. Without this a server that never syncs would not even start again, and
    // a run could not show that the checker finds the loss of a write.
    for member in &cluster.members {
        member.disk.settle()?;
    }
    let mut writes: Vec<Write> = Vec::new();
    while report.rounds < report.plan.rounds && report.violations.is_empty() {
        let mut load = Load::start(&cluster.clients(), report.rounds, report.plan.seed);
        let back = strike(&mut cluster, &mut load, &report.plan, &mut rng, &mut report.strikes).await;
        writes.extend(load.stop().await);
        report.rounds += 1;
        report.acknowledged = writes.iter().filter(|write| write.outcome != Outcome::Unknown).count();
        report.unknown = writes.len() - report.acknowledged;
        if let Err(violation) = back? {
            report.violations.push(violation);
            break;
        }
        let (revision, holdings) = cluster.holdings().await?;
        report.violations = check(&writes, revision, &holdings);
    }
    Ok(report)
}

/// The fault of one round under load, and the way back until puts are acknowledged again.
async fn strike(
    cluster: &mut Cluster,
    load: &mut Load,
    plan: &Plan,
    rng: &mut ChaCha8Rng,
    strikes: &mut usize,
) -> Result<Result<(), Violation>, Error> {
    load.acknowledge(rng.random_range(1..=PUTS_BEFORE_FAULT_MAX), READY_TIMEOUT).await?;
    cluster.compact().await?;
    for member in &cluster.members {
        if rng.random_bool(0.5) {
            member.defragment();
        }
    }
    pause(rng).await;
    let victims = victims(plan, rng);
    if let Err(violation) = fell(cluster, &victims, plan.fault).await? {
        return Ok(Err(violation));
    }
    if plan.fault == Fault::ReadOnly && plan.members > 1 {
        load.acknowledge(PUTS_AFTER_RESTART, READY_TIMEOUT).await?;
    }
    pause(rng).await;
    raise(cluster, &victims)?;
    *strikes += victims.len();
    if rng.random_ratio(1, STRIKE_AGAIN_ONE_IN) {
        pause(rng).await;
        if let Err(violation) = fell(cluster, &victims[..1], plan.fault).await? {
            return Ok(Err(violation));
        }
        raise(cluster, &victims[..1])?;
        *strikes += 1;
    }
    if let Err(refusal) = cluster.ready().await {
        return Ok(Err(Violation::Refused(refusal)));
    }
    load.acknowledge(PUTS_AFTER_RESTART, READY_TIMEOUT).await?;
    Ok(Ok(()))
}

/// One, some or all of the members, in the order in which they fall. Of those whose file system fails it is one: without a majority
/// nobody would write anything to the others, and so they would not find out.
fn victims(plan: &Plan, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut all: Vec<usize> = (0..plan.members).collect();
    for last in (1..plan.members).rev() {
        all.swap(last, rng.random_range(0..=last));
    }
    let count = if plan.fault == Fault::ReadOnly { 1 } else { rng.random_range(1..=plan.members) };
    all.truncate(count);
    all
}

/// Kills the victims, or has their file systems fail and waits until they are gone. A power cut ends process and disk at one moment, so the processes are frozen before their disks stop:
/// a process that outlived its disk could acknowledge what a dying fdatasync wrongly reported as synced.
async fn fell(cluster: &mut Cluster, victims: &[usize], fault: Fault) -> Result<Result<(), Violation>, Error> {
    if fault == Fault::ReadOnly {
        for victim in victims {
            let member = &mut cluster.members[*victim];
            member.disk.turn_read_only()?;
            if let Err(refusal) = member.ends_for_its_disk().await {
                return Ok(Err(Violation::Lingers(refusal)));
            }
        }
        return Ok(Ok(()));
    }
    if fault == Fault::PowerCut {
        for victim in victims {
            cluster.members[*victim].freeze().await?;
        }
        for victim in victims {
            cluster.members[*victim].disk.cut_power()?;
        }
    }
    for victim in victims {
        cluster.members[*victim].kill();
    }
    Ok(Ok(()))
}

fn raise(cluster: &mut Cluster, victims: &[usize]) -> Result<(), Error> {
    for victim in victims {
        let member = &mut cluster.members[*victim];
        member.disk.restore_power()?;
        member.start()?;
    }
    Ok(())
}

async fn pause(rng: &mut ChaCha8Rng) {
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..=PAUSE_MS_MAX))).await;
}
