//! One line of the log, as zap writes it: JSON, or columns for a console.

use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::config::LogFormat;

/// A line before it is rendered; fields keep their order.
pub struct Line {
    level: &'static str,
    at: SystemTime,
    caller: String,
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Line {
    pub fn new(level: &'static str, caller: &str, message: &str) -> Line {
        let (caller, message) = (caller.to_owned(), message.to_owned());
        Line { level, at: SystemTime::now(), caller, message, fields: Vec::new() }
    }

    pub fn of(event: &Event<'_>) -> Line {
        let metadata = event.metadata();
        let level = match *metadata.level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        let caller = match (metadata.file(), metadata.line()) {
            (Some(file), Some(line)) => caller(file, line),
            _ => metadata.target().to_owned(),
        };
        let mut line = Line::new(level, &caller, "");
        event.record(&mut line);
        line
    }

    pub fn field(&mut self, name: &'static str, value: Value) {
        self.fields.push((name, value));
    }

    /// The line with its newline.
    pub fn render(&self, format: LogFormat) -> String {
        match format {
            LogFormat::Json => self.render_json(),
            LogFormat::Console => self.render_console(),
        }
    }

    fn render_json(&self) -> String {
        let mut out = String::with_capacity(256);
        let _ = write!(
            out,
            "{{\"level\":\"{}\",\"ts\":\"{}\",\"caller\":{},\"msg\":{}",
            self.level,
            Timestamp(self.at),
            Value::from(self.caller.as_str()),
            Value::from(self.message.as_str())
        );
        self.render_fields(&mut out, true);
        out.push_str("}\n");
        out
    }

    fn render_console(&self) -> String {
        let mut out = String::with_capacity(256);
        let _ = write!(out, "{}\t{}\t{}\t{}", Timestamp(self.at), self.level, self.caller, self.message);
        if !self.fields.is_empty() {
            out.push_str("\t{");
            self.render_fields(&mut out, false);
            out.push('}');
        }
        out.push('\n');
        out
    }

    fn render_fields(&self, out: &mut String, mut comma: bool) {
        for (name, value) in &self.fields {
            if comma {
                out.push(',');
            }
            comma = true;
            let _ = write!(out, "\"{}\":{value}", Dashed(name));
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.field(name, format!("{value:?}").into()),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            name => self.field(name, value.into()),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.field(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field.name(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.field(field.name(), value.to_string().into());
    }
}

/// Rust's field names with the dashes of zap's.
struct Dashed<'a>(&'a str);

impl fmt::Display for Dashed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| f.write_char(if c == '_' { '-' } else { c }))
    }
}

/// The last folder, the file and the line, as zap's short caller.
pub fn caller(file: &str, line: u32) -> String {
    let short = file.rmatch_indices('/').nth(1).map_or(file, |(at, _)| &file[at + 1..]);
    format!("{short}:{line}")
}

/// UTC as `2006-01-02T15:04:05.000000Z`.
struct Timestamp(SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (year, month, day) = date(since.as_secs() / 86_400);
        let second = since.as_secs() % 86_400;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let micros = since.subsec_micros();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar: counts in eras of 400 years that begin in March,
/// so that the leap day is the last of its year.
fn date(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn timestamps_are_in_utc_with_microseconds() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000Z"),
            (1_795_238_431, "2026-11-21T05:20:31.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(Timestamp(UNIX_EPOCH + Duration::from_secs(seconds)).to_string(), text);
        }
    }

    #[test]
    fn callers_are_short() {
        assert_eq!(caller("store/server/src/wal/segment.rs", 7), "wal/segment.rs:7");
        assert_eq!(caller("main.rs", 7), "main.rs:7");
    }
}
