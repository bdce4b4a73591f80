//! A steady load whose latencies are measured: so many puts a second, each begun when its time has come, whatever became of
//! those before.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quorate_api::etcdserverpb::PutRequest;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::endpoints::Endpoints;

/// Keys that are overwritten at random.
const KEYS: u32 = 50_000;

const VALUE_BYTES: usize = 256;

/// Puts under way at once; one that comes on top counts as failed.
const UNDER_WAY_MAX: usize = 2_000;

/// A put that takes longer has failed.
const PUT_TIMEOUT: Duration = Duration::from_secs(5);

/// A put that was answered.
#[derive(Debug, Clone, Copy)]
struct Answered {
    begun: Instant,
    latency: Duration,
}

/// What happened between two looks.
#[derive(Debug, Default, Clone)]
pub struct Lap {
    puts: Vec<Answered>,
    pub failed: u64,
    /// The longest time without an answer to any put.
    pub longest_gap: Duration,
    last: Option<Instant>,
}

impl Lap {
    pub fn count(&self) -> usize {
        self.puts.len()
    }

    /// The latency that so many of a hundred puts did not exceed; zero without any.
    pub fn percentile(&self, percent: f64) -> Duration {
        let mut sorted: Vec<Duration> = self.puts.iter().map(|put| put.latency).collect();
        sorted.sort_unstable();
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied().unwrap_or_default()
    }

    /// Latencies by the second in which the puts began; the first second is that of the first put.
    pub fn by_second(&self) -> Vec<Vec<Duration>> {
        let first = self.puts.iter().map(|put| put.begun).min();
        let mut seconds = Vec::new();
        for put in &self.puts {
            let second = first.map_or(0, |first| (put.begun - first).as_secs() as usize);
            if seconds.len() <= second {
                seconds.resize_with(second + 1, Vec::new);
            }
            seconds[second].push(put.latency);
        }
        seconds
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: &Lap) -> Lap {
        self.puts.extend_from_slice(&other.puts);
        self.failed += other.failed;
        self.longest_gap = self.longest_gap.max(other.longest_gap);
        self
    }

    fn answered(&mut self, begun: Instant) {
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.longest_gap = self.longest_gap.max(now - last);
        }
        self.puts.push(Answered { begun, latency: now - begun });
    }
}

/// A running load.
pub struct Meter {
    lap: Arc<Mutex<Lap>>,
    task: JoinHandle<()>,
}

impl Meter {
    /// Puts go to the members named, in turn. One that fails goes to the next of them, once.
    pub fn start(endpoints: &Endpoints, members: &[usize], per_second: u32, seed: u64) -> Meter {
        let lap = Arc::new(Mutex::new(Lap::default()));
        let load = Load {
            endpoints: endpoints.clone(),
            members: members.to_vec(),
            lap: Arc::clone(&lap),
            under_way: Arc::new(AtomicUsize::new(0)),
            rng: ChaCha8Rng::seed_from_u64(seed),
        };
        Meter { lap, task: tokio::spawn(load.run(per_second)) }
    }

    /// Everything since the last call.
    pub fn lap(&self) -> Lap {
        let mut lap = lock(&self.lap);
        let next = Lap { last: lap.last, ..Lap::default() };
        std::mem::replace(&mut lap, next)
    }

    /// Measures for so long.
    pub async fn measure(&self, time: Duration) -> Lap {
        self.lap();
        tokio::time::sleep(time).await;
        self.lap()
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(lap: &Mutex<Lap>) -> MutexGuard<'_, Lap> {
    lap.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Load {
    endpoints: Endpoints,
    members: Vec<usize>,
    lap: Arc<Mutex<Lap>>,
    under_way: Arc<AtomicUsize>,
    rng: ChaCha8Rng,
}

impl Load {
    async fn run(mut self, per_second: u32) {
        let mut due = tokio::time::interval(Duration::from_secs(1) / per_second.max(1));
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for turn in 0.. {
            due.tick().await;
            if self.under_way.fetch_add(1, Ordering::Relaxed) >= UNDER_WAY_MAX {
                self.under_way.fetch_sub(1, Ordering::Relaxed);
                lock(&self.lap).failed += 1;
                continue;
            }
            let key = format!("steady/{:06}", self.rng.random_range(0..KEYS));
            let value: Vec<u8> = (0..VALUE_BYTES).map(|_| self.rng.random()).collect();
            let request = PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() };
            let clients: Vec<_> =
                (0..2).map(|more| self.endpoints.kv(self.members[(turn + more) % self.members.len()])).collect();
            let (lap, under_way) = (Arc::clone(&self.lap), Arc::clone(&self.under_way));
            tokio::spawn(async move {
                let started = Instant::now();
                let put = async {
                    for mut client in clients {
                        if client.put(request.clone()).await.is_ok() {
                            return true;
                        }
                    }
                    false
                };
                let done = tokio::time::timeout(PUT_TIMEOUT, put).await == Ok(true);
                under_way.fetch_sub(1, Ordering::Relaxed);
                let mut lap = lock(&lap);
                if done { lap.answered(started) } else { lap.failed += 1 }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_value_that_so_many_do_not_exceed() {
        let begun = Instant::now();
        let puts = (1..=200).rev().map(|ms| Answered { begun, latency: Duration::from_millis(ms) }).collect();
        let lap = Lap { puts, ..Lap::default() };
        assert_eq!(lap.percentile(99.0), Duration::from_millis(198));
        assert_eq!(lap.percentile(100.0), Duration::from_millis(200));
        assert_eq!(lap.percentile(50.0), Duration::from_millis(100));
        assert_eq!(Lap::default().percentile(99.0), Duration::ZERO);
    }
    #[test]
    fn latencies_are_kept_by_the_second_in_which_the_puts_began() {
        let first = Instant::now();
        let ms = Duration::from_millis;
        let put = |begun, latency| Answered { begun: first + ms(begun), latency: ms(latency) };
        let lap = Lap { puts: vec![put(3_100, 9), put(0, 5), put(900, 1_500), put(1_999, 6)], ..Lap::default() };
        assert_eq!(lap.by_second(), [vec![ms(5), ms(1_500)], vec![ms(6)], vec![], vec![ms(9)]]);
        assert!(Lap::default().by_second().is_empty());
    }
}
