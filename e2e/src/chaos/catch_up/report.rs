//! What was measured of followers that came back, as a table and in two ratios.

use std::fmt;

use super::super::meter::Lap;
use super::{How, Return, Scenario};

/// All rounds.
#[derive(Debug)]
pub struct Report {
    pub scenario: Scenario,
    pub returns: Vec<Return>,
}

impl Return {
    /// The puts of the quiet phases.
    fn quiet(&self) -> Lap {
        [&self.without, &self.after].into_iter().fold(self.before.clone(), Lap::and)
    }

    /// p99 while the follower came back over that of the quiet phases.
    pub fn ratio(&self) -> f64 {
        ratio(&self.during, &self.quiet())
    }
}

fn ratio(during: &Lap, quiet: &Lap) -> f64 {
    let p99 = |lap: &Lap| lap.percentile(99.0).as_secs_f64();
    p99(during) / p99(quiet).max(1e-9)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scenario { revisions, rate, seed, apart, .. } = &self.scenario;
        let whose = if *apart { ", the follower on a processor of its own" } else { "" };
        writeln!(
            f,
            "catch-up: three members, {rate} puts/s at the leader, {revisions} revisions missed{whose}, seed {seed}\n"
        )?;
        writeln!(
            f,
            "| follower | came by | s | p50 ms before, without, during, after | p99 ms before, without, during, after | p99 ratio | puts during (failed) | leader MiB before, peak | follower MiB peak |"
        )?;
        writeln!(f, "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
        for back in &self.returns {
            let phases = |percent: f64| {
                let of = |lap: &Lap| lap.percentile(percent).as_secs_f64() * 1e3;
                format!(
                    "{:.2}, {:.2}, {:.2}, {:.2}",
                    of(&back.before),
                    of(&back.without),
                    of(&back.during),
                    of(&back.after)
                )
            };
            writeln!(
                f,
                "| {} | {} | {:.1} | {} | {} | {:.2}× | {} ({}) | {}, {} | {} |",
                back.how,
                if back.by_snapshot { "snapshot" } else { "log" },
                back.took.as_secs_f64(),
                phases(50.0),
                phases(99.0),
                back.ratio(),
                back.during.count(),
                back.during.failed,
                back.leader_memory.before,
                back.leader_memory.peak,
                back.follower_memory.peak,
            )?;
        }
        writeln!(
            f,
            "\nputs while it came back that were slower than 99 of 100 quiet ones, by second, and the slowest in ms:"
        )?;
        for back in &self.returns {
            let limit = back.quiet().percentile(99.0);
            let seconds = back.during.by_second().into_iter().map(|latencies| {
                let slower = latencies.iter().filter(|latency| **latency > limit).count();
                format!("{slower} ({})", latencies.into_iter().max().unwrap_or_default().as_millis())
            });
            writeln!(f, "{}: {}", back.how, seconds.collect::<Vec<_>>().join(", "))?;
        }
        for how in [How::Away, How::Replaced] {
            let (during, quiet) = self.pooled(how);
            let p99 = |lap: &Lap| lap.percentile(99.0).as_secs_f64() * 1e3;
            writeln!(
                f,
                "\n{how}: p99 of all rounds' puts together {:.2} ms quiet, {:.2} ms while it came back: {:.2}×; ratio in the middle of {} rounds {:.2}×",
                p99(&quiet),
                p99(&during),
                ratio(&during, &quiet),
                self.scenario.rounds,
                self.ratio(how)
            )?;
        }
        Ok(())
    }
}

impl Report {
    /// The ratio in the middle of all rounds of one way; with an even number the higher of the two.
    fn ratio(&self, how: How) -> f64 {
        let mut ratios: Vec<f64> = self.returns.iter().filter(|back| back.how == how).map(Return::ratio).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The puts of all rounds while the follower came back, and the quiet ones: a stall of the machine weighs less in them than in the
    /// phase that it hit.
    fn pooled(&self, how: How) -> (Lap, Lap) {
        let rounds = self.returns.iter().filter(|back| back.how == how);
        rounds.fold(Default::default(), |(during, quiet): (Lap, Lap), back| {
            (during.and(&back.during), quiet.and(&back.quiet()))
        })
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            How::Away => "away",
            How::Replaced => "replaced",
        })
    }
}
