//! Medians over the rounds, and Quorate's ratio to etcd, made within each round.

use serde::Serialize;

use crate::arguments::Plan;
use crate::run::Measurement;
use crate::server::Kind;
use crate::statistics::Spread;
use crate::workload::Workload;

/// Both servers under one workload.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// What was asked.
    pub workload: Workload,
    /// By how many clients.
    pub clients: u16,
    /// The peer's figures.
    pub etcd: Figures,
    /// Ours.
    pub quorate: Figures,
    /// Ours over the peer's.
    pub ratio: Ratios,
}

/// Medians of one server's rounds; units as in [`Measurement`].
#[derive(Debug, Clone, Copy, Serialize)]
#[allow(missing_docs)]
pub struct Figures {
    pub operations_per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub user_us_per_operation: f64,
    pub system_us_per_operation: f64,
    pub written_bytes_per_operation: f64,
    pub peak_rss_bytes: f64,
}

/// Quorate over etcd; none where etcd's figure is zero.
#[derive(Debug, Clone, Copy, Serialize)]
#[allow(missing_docs)]
pub struct Ratios {
    pub operations_per_second: Option<Spread>,
    pub p50: Option<Spread>,
    pub p99: Option<Spread>,
    pub p999: Option<Spread>,
    /// User and system together.
    pub cpu_per_operation: Option<Spread>,
    pub written_bytes_per_operation: Option<Spread>,
    pub peak_rss: Option<Spread>,
}

/// A row for each workload and number of clients of the plan that was measured on both.
pub fn summarize(plan: &Plan, measurements: &[Measurement]) -> Vec<Summary> {
    let cells =
        plan.workloads.iter().flat_map(|workload| plan.clients.iter().map(move |clients| (*workload, *clients)));
    cells.filter_map(|(workload, clients)| row(workload, clients, measurements)).collect()
}

fn row(workload: Workload, clients: u16, measurements: &[Measurement]) -> Option<Summary> {
    let of = |server| {
        let matching =
            move |done: &&Measurement| done.server == server && done.workload == workload && done.clients == clients;
        measurements.iter().filter(matching).collect::<Vec<_>>()
    };
    let (etcd, quorate) = (of(Kind::Etcd), of(Kind::Quorate));
    let ratio = ratios(&etcd, &quorate);
    Some(Summary { workload, clients, etcd: figures(&etcd)?, quorate: figures(&quorate)?, ratio })
}

fn figures(rounds: &[&Measurement]) -> Option<Figures> {
    let median =
        |figure: fn(&Measurement) -> f64| Spread::of(rounds.iter().map(|done| figure(done))).map(|of| of.median);
    Some(Figures {
        operations_per_second: median(|done| done.operations_per_second)?,
        p50_us: median(|done| done.p50_us)?,
        p99_us: median(|done| done.p99_us)?,
        p999_us: median(|done| done.p999_us)?,
        user_us_per_operation: median(|done| done.user_us_per_operation)?,
        system_us_per_operation: median(|done| done.system_us_per_operation)?,
        written_bytes_per_operation: median(|done| done.written_bytes_per_operation)?,
        peak_rss_bytes: median(rss)?,
    })
}

fn ratios(etcd: &[&Measurement], quorate: &[&Measurement]) -> Ratios {
    let of = |figure: fn(&Measurement) -> f64| {
        let pairs = etcd.iter().zip(quorate);
        Spread::of_ratios(pairs.map(|(etcd, quorate)| {
            assert_eq!(etcd.round, quorate.round, "figures of different rounds must not be compared");
            (figure(quorate), figure(etcd))
        }))
    };
    Ratios {
        operations_per_second: of(|done| done.operations_per_second),
        p50: of(|done| done.p50_us),
        p99: of(|done| done.p99_us),
        p999: of(|done| done.p999_us),
        cpu_per_operation: of(|done| done.user_us_per_operation + done.system_us_per_operation),
        written_bytes_per_operation: of(|done| done.written_bytes_per_operation),
        peak_rss: of(rss),
    }
}

#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^53 bytes, up to which a double is exact")]
fn rss(done: &Measurement) -> f64 {
    done.peak_rss_bytes as f64
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn measured(server: Kind, round: u16, operations_per_second: f64) -> Measurement {
        Measurement {
            server,
            workload: Workload::Put,
            clients: 1,
            round,
            seconds: 1.0,
            operations: 1,
            operations_per_second,
            p50_us: 100.0,
            p99_us: 200.0,
            p999_us: 300.0,
            user_us_per_operation: 10.0,
            system_us_per_operation: if server == Kind::Etcd { 30.0 } else { 10.0 },
            written_bytes_per_operation: 0.0,
            peak_rss_bytes: 1 << 20,
            loader_cores: 0.5,
            other_cores: f64::from(round),
            load_average: 3.0,
        }
    }

    pub(crate) fn plan() -> Plan {
        Plan { workloads: vec![Workload::Put, Workload::Get], clients: vec![1], rounds: 3, seconds: 1 }
    }

    pub(crate) fn three_rounds() -> Vec<Measurement> {
        let rounds = [(1, 100.0, 300.0), (2, 50.0, 100.0), (3, 200.0, 200.0)];
        let both =
            |(round, etcd, quorate)| [measured(Kind::Etcd, round, etcd), measured(Kind::Quorate, round, quorate)];
        rounds.into_iter().flat_map(both).collect()
    }

    #[test]
    fn figures_are_medians_and_ratios_are_made_round_by_round() {
        let rows = summarize(&plan(), &three_rounds());
        assert_eq!(rows.len(), 1, "what was not measured has no row");
        let row = &rows[0];
        assert_eq!(row.etcd.operations_per_second.to_string(), "100");
        assert_eq!(row.quorate.operations_per_second.to_string(), "200");
        assert_eq!(row.ratio.operations_per_second, Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(row.ratio.cpu_per_operation, Some(Spread { median: 0.5, min: 0.5, max: 0.5 }));
        assert_eq!(row.ratio.written_bytes_per_operation, None, "nothing was written");
    }

    #[test]
    #[should_panic(expected = "different rounds")]
    fn rounds_are_never_mixed() {
        ratios(&[&measured(Kind::Etcd, 1, 1.0)], &[&measured(Kind::Quorate, 2, 1.0)]);
    }
}
