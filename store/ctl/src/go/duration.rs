//! Go's durations: `5s`, `1m30s`, `2.338673ms`.

use std::time::Duration;

use super::quote::quote;

/// Why a text is no duration, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("time: invalid duration {}", quote(.0.as_bytes()))]
    Invalid(String),
    #[error("time: missing unit in duration {}", quote(.0.as_bytes()))]
    MissingUnit(String),
    #[error("time: unknown unit {} in duration {}", quote(.unit.as_bytes()), quote(.text.as_bytes()))]
    UnknownUnit { unit: String, text: String },
}

/// Reads a duration of zero or more; a negative one is invalid here, because no timeout can be.
pub fn parse(text: &str) -> Result<Duration, Error> {
    let invalid = || Error::Invalid(text.to_owned());
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number * seconds(&rest[..letters], text)?;
        rest = &rest[letters..];
    }
    Duration::try_from_secs_f64(total).map_err(|_| invalid())
}

fn seconds(unit: &str, text: &str) -> Result<f64, Error> {
    Ok(match unit {
        "" => return Err(Error::MissingUnit(text.to_owned())),
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(Error::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() }),
    })
}

/// Prints a duration in the largest unit that keeps a whole part, without trailing zeros.
pub fn format(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match nanos {
        0 => "0s".into(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(nanos, 1_000_000)),
        _ => {
            let minutes = nanos / 60_000_000_000;
            let seconds = fraction(nanos % 60_000_000_000, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

fn fraction(nanos: u128, unit: u128) -> String {
    let width = unit.ilog10() as usize;
    let text = format!("{}.{:0width$}", nanos / unit, nanos % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_in_go() {
        for (nanos, text) in [
            (0, "0s"),
            (999, "999ns"),
            (1_500, "1.5µs"),
            (2_338_673, "2.338673ms"),
            (5_001_344_210, "5.00134421s"),
            (60_000_000_000, "1m0s"),
            (3_661_000_000_000, "1h1m1s"),
        ] {
            assert_eq!(format(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn durations_read_as_in_go() {
        for (text, millis) in [("5s", 5_000), ("300ms", 300), ("1m30s", 90_000), ("1.5h", 5_400_000), ("0", 0)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)));
        }
        for (text, error) in [
            ("bogus", r#"time: invalid duration "bogus""#),
            ("", r#"time: invalid duration """#),
            ("-1s", r#"time: invalid duration "-1s""#),
            ("5", r#"time: missing unit in duration "5""#),
            ("5x", r#"time: unknown unit "x" in duration "5x""#),
        ] {
            assert_eq!(parse(text).map_err(|e| e.to_string()), Err(error.into()));
        }
    }
}
