//! Kubernetes quantities of bytes, such as `10Gi`, as whole bytes.

/// The text is not a positive whole number of bytes in a form that Kubernetes takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a positive quantity such as 10Gi, 500M or 1073741824")]
pub struct InvalidQuantity {
    text: String,
}

/// Suffixes and their factors. Below one: how many make a byte.
const SUFFIXES: [(&str, u64); 13] = [
    ("", 1),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
];
const PARTS: [(&str, u64); 3] = [("m", 1_000), ("u", 1_000_000), ("n", 1_000_000_000)];
/// More digits than a number of bytes has, before or behind the point, and a larger exponent.
const DIGITS_MAX: usize = 18;

/// Bytes of a quantity in any form that Kubernetes takes (`1.5Gi`, `2e9`, `1500m`); fractions of a byte are rounded up as there.
pub fn bytes(text: &str) -> Result<i64, InvalidQuantity> {
    let invalid = || InvalidQuantity { text: text.to_owned() };
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (factor, parts) = scale(suffix).ok_or_else(invalid)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_short = |digits: &str| digits.len() <= DIGITS_MAX && !digits.contains('.');
    if whole.is_empty() && fraction.is_empty() || !is_short(whole) || !is_short(fraction) {
        return Err(invalid());
    }
    let places = u32::try_from(fraction.len()).map_err(|_| invalid())?;
    let number: u128 = format!("{whole}{fraction}").parse().map_err(|_| invalid())?;
    let parts = 10_u128.pow(places).checked_mul(parts).ok_or_else(invalid)?;
    let total = number.checked_mul(factor).ok_or_else(invalid)?.div_ceil(parts);
    match i64::try_from(total) {
        Ok(total) if total > 0 => Ok(total),
        _ => Err(invalid()),
    }
}

/// What a suffix multiplies by, and divides by.
fn scale(suffix: &str) -> Option<(u128, u128)> {
    let named =
        |all: &[(&str, u64)]| all.iter().find(|(name, _)| *name == suffix).map(|(_, factor)| u128::from(*factor));
    if let Some(factor) = named(&SUFFIXES) {
        return Some((factor, 1));
    }
    if let Some(parts) = named(&PARTS) {
        return Some((1, parts));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = Some(exponent.unsigned_abs()).filter(|power| *power as usize <= DIGITS_MAX)?;
    let factor = 10_u128.pow(power);
    Some(if exponent < 0 { (1, factor) } else { (factor, 1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kubernetes_reads() {
        for (text, expected) in [
            ("10Gi", Some(10 << 30)),
            ("1.5Gi", Some(3 << 29)),
            ("500M", Some(500_000_000)),
            ("1073741824", Some(1 << 30)),
            ("0", None),
            ("-1Gi", None),
            ("10 GB", None),
            ("Gi", None),
            ("99999999P", None),
            ("2e9", Some(2_000_000_000)),
            ("1.5E9", Some(1_500_000_000)),
            ("2e+3", Some(2_000)),
            ("20000e-3", Some(20)),
            ("1500m", Some(2)),
            ("7Ei", Some(7 << 60)),
            ("1E", Some(1_000_000_000_000_000_000)),
            ("8Ei", None),
            ("1.2.3", None),
            ("1e99", None),
            ("1eX", None),
            ("", None),
            ("+1Gi", Some(1 << 30)),
        ] {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
    }
}
