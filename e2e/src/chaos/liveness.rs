//! How soon a cluster goes on: leadership moves away from a disk that does not answer or is slow, and five members of which two
//! are dead are about as quick as five.

use std::fmt;
use std::time::{Duration, Instant};

use quorate_harness::Interrupt;

use super::Error;
use super::clients::until_interrupted;
use super::cluster::{BACK_WITHIN, Cluster, Network};
use super::meter::{Lap, Meter};
use super::plan::Plan;

/// The servers' default.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);

/// Leadership must have moved within so many election timeouts.
const MOVED_WITHIN: u32 = 2;

/// p99 with two of five dead, over p99 of five, must stay below.
const TWO_DEAD_RATIO: f64 = 2.0;

/// A disk stalls for so long.
const STALL: Duration = Duration::from_secs(5);

/// Between two looks at who leads.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Writes a second of a slow disk: a sync of the log takes most of an election timeout.
const SLOW_WRITES: u32 = 3;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// How often a leader's disk stalls.
    pub stalls: u32,
    /// Puts a second of the steady load.
    pub rate: u32,
    /// How long each latency is measured.
    pub phase: Duration,
    pub seed: u64,
}

/// What a leader in trouble costs.
#[derive(Debug, Clone, Copy)]
pub struct Outage {
    /// From its start until the others had another leader; `None`: never.
    pub moved: Option<Duration>,
    /// The longest time without an answered put.
    pub longest_gap: Duration,
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outage { moved, longest_gap } = self;
        let moved = moved.map_or("never".to_owned(), |moved| format!("{moved:.0?}"));
        write!(f, "another leader after {moved}, longest time without an answer {longest_gap:.0?}")
    }
}

#[derive(Debug)]
pub struct Report {
    pub stalls: Vec<Outage>,
    /// Of a slow disk, where the kernel can slow one.
    pub slow: Option<Outage>,
    pub five: Lap,
    pub two_dead: Lap,
}

impl Report {
    /// p99 with two dead over p99 with all.
    pub fn ratio(&self) -> f64 {
        self.two_dead.percentile(99.0).as_secs_f64() / self.five.percentile(99.0).as_secs_f64().max(1e-9)
    }

    /// What does not hold.
    pub fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for stall in &self.stalls {
            match stall.moved {
                Some(moved) if moved <= ELECTION_TIMEOUT * MOVED_WITHIN => {}
                Some(moved) => broken.push(format!("leadership left a stalled disk only after {moved:?}")),
                None => broken.push(format!("leadership did not leave a disk that stalled for {STALL:?}")),
            }
        }
        if self.ratio() >= TWO_DEAD_RATIO {
            broken.push(format!("p99 with two of five dead is {:.2} times that of five", self.ratio()));
        }
        broken
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, stall) in self.stalls.iter().enumerate() {
            writeln!(f, "stall {}: {stall}", number + 1)?;
        }
        if let Some(slow) = &self.slow {
            writeln!(f, "slow disk ({SLOW_WRITES} writes/s): {slow}")?;
        }
        let line = |lap: &Lap| {
            let ms = |percent| lap.percentile(percent).as_secs_f64() * 1e3;
            format!("p50 {:.2} ms, p99 {:.2} ms, {} puts, {} failed", ms(50.0), ms(99.0), lap.count(), lap.failed)
        };
        writeln!(f, "five members: {}", line(&self.five))?;
        writeln!(f, "two of them dead: {}", line(&self.two_dead))?;
        write!(f, "p99 ratio {:.2}", self.ratio())
    }
}

/// Measures all of it. `progress` gets a line for every part.
pub fn run(
    scenario: Scenario,
    interrupt: &Interrupt,
    progress: impl Fn(String) + Send + Sync + 'static,
) -> Result<Report, Error> {
    let part = scenario.clone();
    let (stalls, slow) = until_interrupted(interrupt, move |clients| async move {
        let mut cluster = Cluster::start(&plan(3, part.seed), clients, Network::SharedWithDisks, &[])?;
        back(&mut cluster).await?;
        let mut stalls = Vec::new();
        for number in 1..=part.stalls {
            progress(format!("stall {number} of {}", part.stalls));
            let stall = leader_loses_disk(&mut cluster, &part, Trouble::Stall).await?;
            progress(stall.to_string());
            stalls.push(stall);
        }
        let slow = match cluster.can_slow_disks() {
            true => Some(leader_loses_disk(&mut cluster, &part, Trouble::Slow).await?),
            false => None,
        };
        Ok((stalls, slow))
    })?;
    let (five, two_dead) = until_interrupted(interrupt, move |clients| async move {
        let mut cluster = Cluster::start(&plan(5, scenario.seed), clients, Network::Shared, &[])?;
        back(&mut cluster).await?;
        two_of_five_dead(&mut cluster, &scenario).await
    })?;
    Ok(Report { stalls, slow, five, two_dead })
}

fn plan(members: usize, seed: u64) -> Plan {
    Plan { members, duration: Duration::ZERO, seed, tls: false, kinds: Vec::new() }
}

#[derive(Clone, Copy)]
enum Trouble {
    Stall,
    Slow,
}

async fn leader_loses_disk(cluster: &mut Cluster, scenario: &Scenario, trouble: Trouble) -> Result<Outage, Error> {
    let leader = leader(cluster).await?;
    let others: Vec<usize> = (0..cluster.members.len()).filter(|member| *member != leader).collect();
    // Clients of the others: they see what a cluster does, and not a member that is in trouble.
    let meter = Meter::start(&cluster.endpoints, &others, scenario.rate, scenario.seed);
    meter.measure(Duration::from_secs(1)).await;
    match trouble {
        Trouble::Stall => cluster.members[leader].disk().stall()?,
        Trouble::Slow => cluster.members[leader].slow_disk(SLOW_WRITES)?,
    }
    let started = Instant::now();
    let mut moved = None;
    while started.elapsed() < STALL && moved.is_none() {
        tokio::time::sleep(LOOK_EVERY).await;
        let leads = cluster.leads(others[0]).await;
        moved = leads.filter(|leads| *leads != leader).map(|_| started.elapsed());
    }
    tokio::time::sleep(STALL.saturating_sub(started.elapsed())).await;
    let lap = meter.lap();
    match trouble {
        Trouble::Stall => cluster.members[leader].disk().resume(),
        Trouble::Slow => cluster.members[leader].slow_disk(0)?,
    }
    back(cluster).await?;
    Ok(Outage { moved, longest_gap: lap.longest_gap })
}

async fn two_of_five_dead(cluster: &mut Cluster, scenario: &Scenario) -> Result<(Lap, Lap), Error> {
    let leader = leader(cluster).await?;
    let meter = Meter::start(&cluster.endpoints, &[leader], scenario.rate, scenario.seed);
    meter.measure(scenario.phase / 4).await;
    let five = meter.measure(scenario.phase).await;
    let dead: Vec<usize> = (0..cluster.members.len()).filter(|member| *member != leader).take(2).collect();
    for member in dead {
        cluster.members[member].kill();
    }
    let two_dead = meter.measure(scenario.phase).await;
    Ok((five, two_dead))
}

async fn leader(cluster: &Cluster) -> Result<usize, Error> {
    cluster.leader().await.ok_or_else(|| cluster.late("an election", ELECTION_TIMEOUT))
}

async fn back(cluster: &mut Cluster) -> Result<(), Error> {
    let back = cluster.all_back().await;
    back.map(|_| ()).map_err(|violation| cluster.late(violation, BACK_WITHIN))
}
