//! What Prometheus can ask of the operator.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::crd::QuorateClusterStatus;
use crate::latch::Operation;

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    failures: IntCounterVec,
    actions: IntCounterVec,
    stalls: IntCounterVec,
    duration: HistogramVec,
    conditions: IntGaugeVec,
    margin: IntGaugeVec,
    operation_started: IntGaugeVec,
    operation_deadline: IntGaugeVec,
    leader: IntGauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new().expect("the metrics below have distinct valid names")
    }
}

impl Metrics {
    fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("quorate_operator".to_owned()), None)?;
        let counter = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| -> Result<IntGaugeVec, prometheus::Error> {
            let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let reconciles = counter("reconcile_runs_total", "Rounds of observing and planning.", &["namespace", "name"])?;
        let failures =
            counter("reconcile_failures_total", "Rounds that ended with an error, by its kind.", &["error"])?;
        let actions =
            counter("actions_total", "Actions, by name and result (done, stale, failed).", &["action", "result"])?;
        let stalls = counter("guard_refusals_total", "Rounds that ended without a safe step, by reason.", &["reason"])?;
        let cluster = ["namespace", "name"];
        let conditions = gauge("condition", "1 when the condition holds.", &["namespace", "name", "type"])?;
        let margin = gauge("quorum_margin", "Voters that may still fail; negative without quorum.", &cluster)?;
        let operation = ["namespace", "name", "type"];
        let operation_started = gauge(
            "operation_started_timestamp_seconds",
            "When the operation under way began; absent while there is none.",
            &operation,
        )?;
        let operation_deadline = gauge(
            "operation_deadline_timestamp_seconds",
            "Until when the operation under way shall have come to its next stage; absent while there is none.",
            &operation,
        )?;
        let duration = HistogramVec::new(
            HistogramOpts::new("reconcile_duration_seconds", "Time of one round including its action.")
                .buckets(vec![0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0]),
            &[],
        )?;
        let leader = IntGauge::new("leader", "1 while this process holds the lease.")?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(leader.clone()))?;
        Ok(Self {
            registry,
            reconciles,
            failures,
            actions,
            stalls,
            duration,
            conditions,
            margin,
            operation_started,
            operation_deadline,
            leader,
        })
    }

    /// Counts a round and times it until the guard is dropped.
    pub fn round(&self, namespace: &str, name: &str) -> prometheus::HistogramTimer {
        self.reconciles.with_label_values(&[namespace, name]).inc();
        self.duration.with_label_values::<&str>(&[]).start_timer()
    }

    /// Counts a failed round.
    pub fn failure(&self, kind: &str) {
        self.failures.with_label_values(&[kind]).inc();
    }

    /// Counts an action.
    pub fn action(&self, action: &str, result: &str) {
        self.actions.with_label_values(&[action, result]).inc();
    }

    /// Counts a round without a safe step.
    pub fn stall(&self, reason: &str) {
        self.stalls.with_label_values(&[reason]).inc();
    }

    /// Says whether this process leads.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Shows a status.
    pub fn show(&self, namespace: &str, name: &str, status: &QuorateClusterStatus) {
        for condition in &status.conditions {
            let gauge = self.conditions.with_label_values(&[namespace, name, &condition.type_]);
            gauge.set(i64::from(condition.status == "True"));
        }
        if let Some(quorum) = &status.quorum {
            self.margin.with_label_values(&[namespace, name]).set(i64::from(quorum.margin));
        }
        self.forget_operation(namespace, name);
        if let Some(operation) = &status.operation {
            let labels = [namespace, name, &operation.kind];
            let times =
                [(&self.operation_started, &operation.started_at), (&self.operation_deadline, &operation.deadline)];
            for (gauge, time) in times {
                if let Some(time) = time {
                    gauge.with_label_values(&labels).set(time.0.as_second());
                }
            }
        }
    }

    fn forget_operation(&self, namespace: &str, name: &str) {
        for kind in Operation::KINDS {
            // An absent series is what is wanted; there is nothing to do when it was never there.
            let _ = self.operation_started.remove_label_values(&[namespace, name, kind]);
            let _ = self.operation_deadline.remove_label_values(&[namespace, name, kind]);
        }
    }

    /// Forgets a cluster that is gone.
    pub fn forget(&self, namespace: &str, name: &str, status: Option<&QuorateClusterStatus>) {
        for condition in status.iter().flat_map(|status| &status.conditions) {
            // An absent series is what is wanted; there is nothing to do when it was never there.
            let _ = self.conditions.remove_label_values(&[namespace, name, &condition.type_]);
        }
        let _ = self.margin.remove_label_values(&[namespace, name]);
        self.forget_operation(namespace, name);
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::crd::status::OperationStatus;

    #[test]
    fn operation_is_shown_with_its_deadline_until_it_is_over() {
        let metrics = Metrics::default();
        let time = |second| Some(Time(jiff::Timestamp::from_second(second).unwrap()));
        let mut status = QuorateClusterStatus::default();
        for kind in Operation::KINDS {
            let (kind, started_at, deadline) = (kind.to_owned(), time(100), time(700));
            status.operation = Some(OperationStatus { kind, started_at, deadline, ..OperationStatus::default() });
            metrics.show("team", "main", &status);
        }
        let text = metrics.render().unwrap();
        let labels = "{name=\"main\",namespace=\"team\",type=\"Replace\"}";
        assert!(text.contains(&format!("operation_deadline_timestamp_seconds{labels} 700")), "{text}");
        assert_eq!(text.matches("quorate_operator_operation_started_timestamp_seconds{").count(), 1, "{text}");
        status.operation = None;
        metrics.show("team", "main", &status);
        assert!(!metrics.render().unwrap().contains("timestamp_seconds{"));
    }

    #[test]
    fn counted_things_are_rendered_with_the_prefix() {
        let metrics = Metrics::default();
        metrics.action("Found", "done");
        metrics.set_leader(true);
        let text = metrics.render().unwrap();
        assert!(text.contains("quorate_operator_actions_total{action=\"Found\",result=\"done\"} 1"), "{text}");
        assert!(text.contains("quorate_operator_leader 1"), "{text}");
    }
}
