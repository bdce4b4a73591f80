//! Does a live object hold what was rendered? Only owned fields count (rule I): defaults that the API server adds and
//! fields of others are not ours to judge. A hash of what was last applied would never notice an edited child.

use serde_json::Value;

/// `Err` names the first path whose owned value differs.
pub fn holds(live: &Value, wanted: &Value) -> Result<(), String> {
    compare(live, wanted, "")
}

fn compare(live: &Value, wanted: &Value, path: &str) -> Result<(), String> {
    let differs = || Err(if path.is_empty() { "the document".to_owned() } else { path.to_owned() });
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().try_for_each(|(key, value)| {
            let path = format!("{path}.{key}");
            match live.get(key) {
                Some(live) => compare(live, value, &path),
                // The API server drops empty maps and lists.
                None if is_empty(value) => Ok(()),
                None => Err(path),
            }
        }),
        (Value::Array(live), Value::Array(wanted)) if live.len() == wanted.len() => live
            .iter()
            .zip(wanted)
            .enumerate()
            .try_for_each(|(index, (live, wanted))| compare(live, wanted, &format!("{path}[{index}]"))),
        (Value::String(live), Value::String(wanted)) if live != wanted => {
            // The API server writes quantities in a canonical form.
            match (milli(live), milli(wanted)) {
                (Some(live), Some(wanted)) if live == wanted => Ok(()),
                _ => differs(),
            }
        }
        (live, wanted) if live == wanted => Ok(()),
        _ => differs(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.values().all(is_empty),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// A quantity in thousandths.
fn milli(text: &str) -> Option<i128> {
    const SUFFIXES: [(&str, i128); 12] = [
        ("Ki", 1_000 << 10),
        ("Mi", 1_000 << 20),
        ("Gi", 1_000 << 30),
        ("Ti", 1_000 << 40),
        ("Pi", 1_000 << 50),
        ("m", 1),
        ("k", 1_000_000),
        ("M", 1_000_000_000),
        ("G", 1_000_000_000_000),
        ("T", 1_000_000_000_000_000),
        ("P", 1_000_000_000_000_000_000),
        ("", 1_000),
    ];
    let (number, factor) =
        SUFFIXES.iter().find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|number| (number, factor)))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all_digits = |part: &str| part.len() <= 12 && part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let value: i128 = format!("{whole}{fraction}").parse().ok()?;
    Some(value * factor / scale)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn owned_fields_count_and_others_do_not() {
        let live = json!({"a": 1, "b": {"c": ["x"], "default": true}, "cpu": "1", "memory": "1Gi", "list": [{"n": 1, "d": 2}]});
        for (wanted, expected) in [
            (json!({"a": 1}), Ok(())),
            (json!({"b": {"c": ["x"]}}), Ok(())),
            (json!({"cpu": "1000m", "memory": "1024Mi"}), Ok(())),
            (json!({"cpu": "2"}), Err(".cpu".to_owned())),
            (json!({"b": {"c": ["x", "y"]}}), Err(".b.c".to_owned())),
            (json!({"list": [{"n": 2}]}), Err(".list[0].n".to_owned())),
            (json!({"gone": {"limits": {}}}), Ok(())),
            (json!({"gone": 1}), Err(".gone".to_owned())),
        ] {
            assert_eq!(holds(&live, &wanted), expected, "{wanted}");
        }
    }
}
