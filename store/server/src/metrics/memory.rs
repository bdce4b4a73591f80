//! The memory budget, set when somebody scrapes.

use prometheus::{IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

use super::{counter, gauge, register};
use crate::memory::{Budget, Part};

pub struct Memory {
    bytes_max: IntGauge,
    charged: IntGaugeVec,
    refused: IntCounter,
}

impl Memory {
    pub(super) fn new(r: &Registry) -> Memory {
        let charged = Opts::new("quorate_memory_charged_bytes", "Bytes that are charged to the memory budget.");
        let charged = IntGaugeVec::new(charged, &["part"]).expect("the names are well-formed");
        register(r, charged.clone());
        Memory {
            bytes_max: gauge(r, "quorate_memory_budget_bytes", "The memory budget (--memory-budget-bytes)."),
            charged,
            refused: counter(r, "quorate_memory_refused_total", "Requests refused because the budget was full."),
        }
    }

    pub fn set(&self, budget: &Budget) {
        let signed = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.bytes_max.set(signed(budget.bytes_max()));
        for part in Part::ALL {
            self.charged.with_label_values(&[part.label()]).set(signed(budget.charged(part)));
        }
        // Two scrapes at once may both see the same growth; a counter that is ahead by it is corrected by the next.
        self.refused.inc_by(budget.refused().saturating_sub(self.refused.get()));
    }
}
