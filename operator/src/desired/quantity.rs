//! Kubernetes quantities of bytes, such as `10Gi`, as whole bytes.

/// The text is not a positive whole number of bytes in a form that Kubernetes takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a positive quantity such as 10Gi, 500M or 1073741824")]
pub struct InvalidQuantity {
    text: String,
}

const SUFFIXES: [(&str, u64); 11] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("", 1),
];

/// Bytes of a quantity; decimal fractions (`1.5Gi`) are rounded up as Kubernetes does.
pub fn bytes(text: &str) -> Result<i64, InvalidQuantity> {
    let invalid = || InvalidQuantity { text: text.to_owned() };
    let (number, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|number| (number, u128::from(*factor))))
        .ok_or_else(invalid)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()) && part.len() <= 18;
    if whole.is_empty() && fraction.is_empty() || !digits(whole) || !digits(fraction) {
        return Err(invalid());
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| invalid())?);
    let number: u128 = format!("{whole}{fraction}").parse().map_err(|_| invalid())?;
    let total = (number * factor).div_ceil(scale);
    match i64::try_from(total) {
        Ok(total) if total > 0 => Ok(total),
        _ => Err(invalid()),
    }
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
        ] {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
    }
}
