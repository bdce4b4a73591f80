//! Ranges, puts, deletes, transactions and compactions, as lines.

use std::fmt::Write;

use super::{Draw, Kind};

/// How deep transactions are nested.
const DEPTH_MAX: u32 = 2;

impl Draw {
    pub(super) fn range(&mut self) -> String {
        format!("KV.Range {}", self.range_fields())
    }

    pub(super) fn range_stream(&mut self) -> String {
        let mut text = format!("KV.RangeStream {}", self.interval(15));
        self.range_basics(&mut text);
        if self.percent(6) {
            text.push_str(" sort_order: DESCEND");
        }
        if self.percent(6) {
            self.revision_bounds(&mut text);
        }
        text
    }

    fn range_fields(&mut self) -> String {
        let mut text = self.interval(35);
        self.range_basics(&mut text);
        if self.percent(30) {
            let order = self.one(&["ASCEND", "DESCEND", "NONE"]);
            let targets = ["KEY", "KEY", "VERSION", "CREATE", "MOD", "VALUE"];
            let _ = write!(text, " sort_order: {order} sort_target: {}", self.one(&targets));
        }
        if self.percent(2) {
            text = text.split(" sort_").next().unwrap_or_default().to_owned();
            text.push_str(self.one(&[" sort_order: 7", " sort_target: 9"]));
        }
        if self.percent(15) {
            self.revision_bounds(&mut text);
        }
        text
    }

    fn range_basics(&mut self, text: &mut String) {
        if self.percent(30) {
            let limit = self.one(&["1", "2", "3", "5", "10", "11", "25", "-1", "1000"]);
            let _ = write!(text, " limit: {limit}");
        }
        if self.percent(30) {
            let _ = write!(text, " revision: {}", self.revision());
        }
        for (name, percent) in [("serializable", 15), ("keys_only", 12), ("count_only", 10)] {
            if self.percent(percent) {
                let _ = write!(text, " {name}: true");
            }
        }
    }

    fn revision_bounds(&mut self, text: &mut String) {
        for name in ["min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"] {
            if self.percent(40) {
                let bound = if self.percent(80) { format!("now-{}", self.below(12)) } else { self.revision() };
                let _ = write!(text, " {name}: {bound}");
            }
        }
    }

    pub(super) fn put(&mut self) -> String {
        let ignores = self.percent(12);
        format!("KV.Put {}", self.put_fields(ignores))
    }

    fn put_fields(&mut self, ignores: bool) -> String {
        let mut text = format!("key: \"{}\"", self.key());
        let (ignore_value, ignore_lease) = (ignores && self.percent(60), ignores && self.percent(60));
        // Now and then both the flag and what it says to ignore, which is refused.
        if !ignore_value || self.percent(10) {
            let _ = write!(text, " value: \"{}\"", self.value());
        }
        if !ignore_lease && self.percent(20) || ignore_lease && self.percent(10) {
            let _ = write!(text, " lease: {}", self.lease_id());
        }
        for (name, set) in
            [("prev_kv", self.percent(25)), ("ignore_value", ignore_value), ("ignore_lease", ignore_lease)]
        {
            if set {
                let _ = write!(text, " {name}: true");
            }
        }
        text
    }

    fn value(&mut self) -> String {
        match self.below(100) {
            0..5 => String::new(),
            5..10 => "\\000\\377".to_owned(),
            10..13 => format!("fill:{}", self.one(&[100, 3000, 9000])),
            13 if self.kind == Kind::Limits => format!("fill:{}", self.one(&[9_970, 9_990, 10_000, 100_000, 600_000])),
            13 if self.percent(12) => format!("fill:{}", self.one(&[1_572_700, 1_572_864, 2_097_151, 2_200_000])),
            _ => self.below(10).to_string(),
        }
    }

    pub(super) fn delete(&mut self) -> String {
        let text = self.delete_fields();
        format!("KV.DeleteRange {text}")
    }

    fn delete_fields(&mut self) -> String {
        let mut text = self.interval(75);
        if self.percent(35) {
            text.push_str(" prev_kv: true");
        }
        text
    }

    pub(super) fn compact(&mut self) -> String {
        let revision = match self.below(10) {
            0..5 => format!("now-{}", 3 + self.below(15)),
            5 => "now".to_owned(),
            6 => "compacted".to_owned(),
            7 => format!("compacted+{}", 1 + self.below(5)),
            8 => "now-1".to_owned(),
            _ => self.revision(),
        };
        let physical = if self.percent(50) { " physical: true" } else { "" };
        format!("KV.Compact revision: {revision}{physical}")
    }

    pub(super) fn txn(&mut self) -> String {
        // Either deletes or what a delete before it must not meet.
        let ignores = self.percent(10);
        let text = self.txn_fields(DEPTH_MAX, ignores);
        if self.percent(1) {
            let count = self.one(&[128, 129]);
            return format!("KV.Txn {}", "success { request_range { key: \"a\" count_only: true } } ".repeat(count));
        }
        format!("KV.Txn {text}")
    }

    fn txn_fields(&mut self, depth: u32, ignores: bool) -> String {
        let mut text = String::new();
        for _ in 0..self.one(&[0, 0, 1, 1, 1, 2, 3]) {
            let _ = write!(text, "compare {{ {} }} ", self.compare());
        }
        for (branch, most) in [("success", 5), ("failure", 4)] {
            for _ in 0..self.below(most) {
                let _ = write!(text, "{branch} {{ {} }} ", self.op(depth, ignores));
            }
        }
        text
    }

    fn op(&mut self, depth: u32, ignores: bool) -> String {
        match self.below(100) {
            0..30 => format!("request_range {{ {} }}", self.range_fields()),
            30..65 => format!("request_put {{ {} }}", self.put_fields(ignores)),
            // What etcd panics at is drawn now and then, to see that it is kept back.
            65..85 if !ignores || self.percent(4) => format!("request_delete_range {{ {} }}", self.delete_fields()),
            85..99 if depth > 0 => format!("request_txn {{ {} }}", self.txn_fields(depth - 1, ignores)),
            99 => String::new(),
            _ => format!("request_put {{ key: \"{}\" value: \"t\" }}", self.key()),
        }
    }

    fn compare(&mut self) -> String {
        let result = self.one(&["EQUAL", "GREATER", "LESS", "NOT_EQUAL"]);
        let (target, union) = match self.below(5) {
            0 => ("VERSION", format!("version: {}", self.below(4))),
            1 => ("CREATE", format!("create_revision: {}", self.revision())),
            2 => ("MOD", format!("mod_revision: {}", self.revision())),
            3 => ("VALUE", format!("value: \"{}\"", self.below(10))),
            _ => ("LEASE", format!("lease: {}", self.lease_id())),
        };
        let target = if self.percent(3) { "MOD" } else { target };
        let union = if self.percent(6) { String::new() } else { union };
        format!("result: {result} target: {target} {} {union}", self.interval(80))
    }
}
