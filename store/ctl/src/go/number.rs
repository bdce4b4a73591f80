//! Integers and booleans as Go's `strconv` reads them, with its error texts; sizes as etcdctl shows them.

/// What `strconv` says when a number does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("strconv.{function}: parsing {}: {reason}", super::quote::quote(.text.as_bytes()))]
pub struct NumberError {
    function: &'static str,
    text: String,
    reason: &'static str,
}

const SYNTAX: &str = "invalid syntax";
const RANGE: &str = "value out of range";

/// Reads a signed integer. Base 0 takes Go's prefixes (0x, 0o, 0b, 0) and underscores between digits.
pub fn parse_int(text: &str, base: u32) -> Result<i64, NumberError> {
    let error = |reason| NumberError { function: "ParseInt", text: text.to_owned(), reason };
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = magnitude(digits, base).map_err(error)?;
    let signed = if negative { -i128::from(magnitude) } else { i128::from(magnitude) };
    i64::try_from(signed).map_err(|_| error(RANGE))
}

/// Reads an unsigned integer; see [`parse_int`].
pub fn parse_uint(text: &str, base: u32) -> Result<u64, NumberError> {
    magnitude(text, base).map_err(|reason| NumberError { function: "ParseUint", text: text.to_owned(), reason })
}

/// Reads what Go takes for a boolean.
pub fn parse_bool(text: &str) -> Result<bool, NumberError> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(NumberError { function: "ParseBool", text: text.to_owned(), reason: SYNTAX }),
    }
}

fn magnitude(text: &str, base: u32) -> Result<u64, &'static str> {
    let (digits, base) = if base == 0 { with_prefix(text)? } else { (text.to_owned(), base) };
    if digits.is_empty() || !digits.bytes().all(|b| char::from(b).is_digit(base)) {
        return Err(SYNTAX);
    }
    u64::from_str_radix(&digits, base).map_err(|_| RANGE)
}

/// Splits Go's base prefix off and removes underscores, which may stand only between digits.
fn with_prefix(text: &str) -> Result<(String, u32), &'static str> {
    if text.starts_with('_') || text.ends_with('_') || text.contains("__") {
        return Err(SYNTAX);
    }
    let lower = text.to_ascii_lowercase();
    let (digits, base) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'o', ..] => (&lower[2..], 8),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (lower.as_str(), 10),
    };
    Ok((digits.replace('_', ""), base))
}

/// A size in decimal units as etcdctl shows it: `25 kB`, `2.1 GB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut scale = 1u64;
    while unit + 1 < UNITS.len() && bytes / scale >= 1000 {
        unit += 1;
        scale *= 1000;
    }
    let tenths = ((bytes as f64 / scale as f64) * 10.0 + 0.5).floor() / 10.0;
    let decimals = usize::from(tenths < 10.0);
    format!("{tenths:.decimals$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_read_as_in_go() {
        for (text, base, expected) in [
            ("12", 10, Ok(12)),
            ("-1", 16, Ok(-1)),
            ("+7", 10, Ok(7)),
            ("12c8a1fc8a10456a", 16, Ok(0x12c8_a1fc_8a10_456a)),
            ("0x10", 0, Ok(16)),
            ("1_0", 0, Ok(10)),
            ("017", 0, Ok(15)),
            ("0", 0, Ok(0)),
            ("-9223372036854775808", 10, Ok(i64::MIN)),
            ("9223372036854775808", 10, Err(r#"strconv.ParseInt: parsing "9223372036854775808": value out of range"#)),
            ("0x10", 16, Err(r#"strconv.ParseInt: parsing "0x10": invalid syntax"#)),
            ("abc", 10, Err(r#"strconv.ParseInt: parsing "abc": invalid syntax"#)),
            ("", 0, Err(r#"strconv.ParseInt: parsing "": invalid syntax"#)),
            ("_1", 0, Err(r#"strconv.ParseInt: parsing "_1": invalid syntax"#)),
        ] {
            let got = parse_int(text, base).map_err(|error| error.to_string());
            assert_eq!(got, expected.map_err(String::from), "{text:?} in base {base}");
        }
        assert_eq!(
            parse_uint("-1", 16).map_err(|error| error.to_string()),
            Err(r#"strconv.ParseUint: parsing "-1": invalid syntax"#.into())
        );
    }

    #[test]
    fn sizes_have_one_decimal_below_ten() {
        for (bytes, text) in [
            (0, "0 B"),
            (9, "9 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (20480, "20 kB"),
            (24576, "25 kB"),
            (2_147_483_648, "2.1 GB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
