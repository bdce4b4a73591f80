//! The results as people read them: the table of the terminal and docs/performance.md.

use crate::loader::{CONNECTIONS, WARM_UP};
use crate::run::{Measurement, Report};
use crate::server::flags;
use crate::statistics::Spread;
use crate::summary::{Figures, Ratios, Summary};
use crate::table::{self, Table};
use crate::workload::{KEYS, VALUE_BYTES};

const HEADING: [&str; 9] = [
    "workload",
    "server",
    "op/s",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "CPU µs/op (user + system)",
    "written B/op",
    "peak RSS MiB",
];
const MIB: f64 = 1_048_576.0;

/// Three rows for each workload: etcd, Quorate, and Quorate's ratio to etcd.
pub fn results(summary: &[Summary]) -> Table {
    let rows = summary.iter().flat_map(|row| {
        let plural = if row.clients == 1 { "" } else { "s" };
        let name = format!("{}, {} client{plural}", row.workload.name(), row.clients);
        [figures(name, "etcd", &row.etcd), figures(String::new(), "quorate", &row.quorate), ratios(&row.ratio)]
    });
    Table { heading: HEADING.map(String::from).to_vec(), rows: rows.collect() }
}

fn figures(workload: String, server: &str, of: &Figures) -> Vec<String> {
    let cpu = of.user_us_per_operation + of.system_us_per_operation;
    vec![
        workload,
        server.into(),
        format!("{:.0}", of.operations_per_second),
        format!("{:.3}", of.p50_us / 1000.0),
        format!("{:.3}", of.p99_us / 1000.0),
        format!("{:.3}", of.p999_us / 1000.0),
        format!("{cpu:.1} ({:.1} + {:.1})", of.user_us_per_operation, of.system_us_per_operation),
        format!("{:.0}", of.written_bytes_per_operation),
        format!("{:.0}", of.peak_rss_bytes / MIB),
    ]
}

fn ratios(of: &Ratios) -> Vec<String> {
    let all = [of.operations_per_second, of.p50, of.p99, of.p999, of.cpu_per_operation];
    let rest = [of.written_bytes_per_operation, of.peak_rss];
    let names = [String::new(), "ratio".into()];
    names.into_iter().chain(all.into_iter().chain(rest).map(ratio)).collect()
}

fn ratio(of: Option<Spread>) -> String {
    of.map_or_else(|| "-".into(), |Spread { median, min, max }| format!("{median:.2}× ({min:.2}–{max:.2})"))
}

/// How much other programs disturbed, in a sentence.
pub fn disturbance(measurements: &[Measurement]) -> String {
    let text = |figure: fn(&Measurement) -> f64| {
        let of = Spread::of(measurements.iter().map(figure));
        of.map_or_else(|| "unknown".into(), |Spread { median, min, max }| format!("{median:.1} ({min:.1}–{max:.1})"))
    };
    format!(
        "Median (least–most) over all measurements: load average {}, cores taken by the loader {}, by other programs {}.",
        text(|done| done.load_average),
        text(|done| done.loader_cores),
        text(|done| done.other_cores),
    )
}

/// docs/performance.md.
pub fn render(report: &Report) -> String {
    let Report { machine, versions, plan, summary, measurements } = report;
    let flags = flags("FOLDER", "http://127.0.0.1:PORT", "http://127.0.0.1:PORT").join(" ");
    let gib = memory_gib(machine.memory_bytes);
    format!(
        "\
# Performance

Written by `quorate-bench` and by nobody's hand. Run it anew with `make bench`, or write this page anew with
`{command} --write-page docs/performance.md`.

## Results

{table}

{versions}, {date}. One member of each, on loopback without TLS. Each figure is the median of {rounds} rounds; each ratio is
Quorate's figure over etcd's in the same round, its median with the least and the most in brackets. For op/s more is better, for all
others less is.

## The machine

| | |
| --- | --- |
| processor | {processor}, {cores} cores |
| memory | {gib:.1} GiB |
| kernel | {kernel} |
| file system | {file_system} |

{disturbance}
Server, loader and other programs share the processors, so throughput says less than CPU per operation does.

## What was run

`{command}`

- In every round each workload ran on etcd and right after it on Quorate, each on a new process with empty data, both with
  `{flags}` and else the defaults of each.
- First {keys} keys of 16 B were written with random values of {value} B in transactions of 128, then the clients ran for {warm_up} s unmeasured
  and for {seconds} s measured.
- Clients ask for random ones of these keys in a closed loop, over at most {connections} connections of HTTP/2; every answer is checked, and
  a failed request ends the run. `put` overwrites with {value} random bytes; `get` is linearizable; `get-serializable` is served by the member alone.
- CPU is user and system time of the server's process in `/proc/PID/stat`, bytes written are `write_bytes` in `/proc/PID/io`, peak RSS is
  `VmHWM` since the process started, with the writing of the keys in it.
",
        command = plan.command(),
        table = table::markdown(&results(summary)),
        versions = versions.join(" and "),
        date = machine.date,
        rounds = plan.rounds,
        processor = machine.processor,
        cores = machine.cores,
        kernel = machine.kernel,
        file_system = machine.file_system,
        disturbance = disturbance(measurements),
        keys = KEYS,
        value = VALUE_BYTES,
        warm_up = WARM_UP.as_secs(),
        seconds = plan.seconds,
        connections = CONNECTIONS,
    )
}

#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^53 bytes, up to which a double is exact")]
fn memory_gib(bytes: u64) -> f64 {
    bytes as f64 / MIB / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::summary::summarize;
    use crate::summary::tests::{plan, three_rounds};

    fn report() -> Report {
        let machine = Machine {
            date: "2026-01-02 03:04 UTC".into(),
            processor: "Some CPU".into(),
            cores: 2,
            memory_bytes: 3 << 30,
            kernel: "6.1".into(),
            file_system: "ext4".into(),
        };
        let measurements = three_rounds();
        let summary = summarize(&plan(), &measurements);
        Report { machine, versions: vec!["etcd 3".into(), "quorate 0".into()], plan: plan(), summary, measurements }
    }

    #[test]
    fn a_workload_has_a_row_for_each_server_and_one_for_the_ratio() {
        let table = results(&report().summary);
        assert!(table.rows.iter().all(|row| row.len() == table.heading.len()));
        let cells: Vec<String> = table.rows.iter().map(|row| row[..3].join("|")).collect();
        assert_eq!(cells, ["put, 1 client|etcd|100", "|quorate|200", "|ratio|2.00× (1.00–3.00)"]);
        assert_eq!(table.rows[1][6], "20.0 (10.0 + 10.0)");
        assert_eq!(table.rows[2][7], "-", "nothing was written, so there is no ratio");
    }

    #[test]
    fn other_load_is_told() {
        let told = disturbance(&three_rounds());
        assert!(told.contains("load average 3.0 (3.0–3.0)"), "{told}");
        assert!(told.contains("by other programs 2.0 (1.0–3.0)"), "{told}");
    }

    #[test]
    fn the_page_tells_what_was_run_where_and_when() {
        let page = render(&report());
        for part in ["etcd 3 and quorate 0, 2026-01-02", "Some CPU, 2 cores", "3.0 GiB", "2.00×", &plan().command()] {
            assert!(page.contains(part), "{part} is missing in:\n{page}");
        }
    }
}
