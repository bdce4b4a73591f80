//! Watches: several watchers on a stream, several streams, from every revision and with every option.

use std::fmt::Write;

use super::Draw;
use crate::step::STREAMS;

impl Draw {
    pub(super) fn watch(&mut self, lines: &mut Vec<String>) {
        let stream = self.below(STREAMS as u64);
        match self.below(100) {
            0..55 => {
                let (fields, past) = self.create_fields();
                let racing = if past && self.percent(25) { "~ " } else { "" };
                lines.push(format!("{racing}Watch.Watch/{stream} create_request {{ {fields} }}"));
            }
            55..72 => {
                let id = self.one(&["0", "1", "2", "3", "4", "5", "77", "-3"]);
                lines.push(format!("Watch.Watch/{stream} cancel_request {{ watch_id: {id} }}"));
            }
            72..86 => lines.push(format!("Watch.Watch/{stream} progress_request {{ }}")),
            86..88 => lines.push(format!("Watch.Watch/{stream}")),
            _ => lines.push(format!("end/{stream}")),
        }
    }

    /// The fields of a creation, and whether it may start in the past.
    fn create_fields(&mut self) -> (String, bool) {
        let mut text = self.interval(35);
        let past = self.percent(50);
        if past {
            let start = match self.below(12) {
                0..5 => format!("now-{}", self.below(12)),
                5 => "now+1".to_owned(),
                6 => "now+3".to_owned(),
                _ => self.revision(),
            };
            let _ = write!(text, " start_revision: {start}");
        }
        for (name, percent) in [("progress_notify", 10), ("prev_kv", 40), ("fragment", 15)] {
            if self.percent(percent) {
                let _ = write!(text, " {name}: true");
            }
        }
        if self.percent(20) {
            let filters = self.one(&["NOPUT", "NODELETE", "NOPUT, NODELETE", "NOPUT, NOPUT"]);
            let _ = write!(text, " filters: [{filters}]");
        }
        if self.percent(15) {
            let id = self.one(&["1", "2", "3", "5", "-1", "-9"]);
            let _ = write!(text, " watch_id: {id}");
        }
        (text, past)
    }

    /// More than fits into one message, watched from the past with and without fragments.
    pub(super) fn fragments(&mut self, lines: &mut Vec<String>) {
        let stream = self.below(STREAMS as u64);
        for n in 0..60 {
            lines.push(format!("KV.Put key: \"f{n:02}\" value: \"fill:9500\""));
        }
        for fragment in [" fragment: true", ""] {
            let range = "key: \"f\" range_end: \"g\"";
            lines.push(format!("Watch.Watch/{stream} create_request {{ {range} start_revision: now-59{fragment} }}"));
        }
        lines.push(format!("end/{stream}"));
        lines.push("KV.DeleteRange key: \"f\" range_end: \"g\"".to_owned());
    }
}
