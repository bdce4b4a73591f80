//! Comparisons: `target("key") operator "value"`, with strings quoted as in Go.

use bytes::Bytes;
use quorate_api::etcdserverpb::Compare;
use quorate_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};

use super::Error;
use crate::go::number::parse_int;
use crate::go::quote::unquote_prefix;

/// Reads one comparison from a line without spaces around it. What follows the value is ignored, as etcdctl does.
pub fn parse(line: &str) -> Result<Compare, Error> {
    let (target, rest) = line.split_once('(').ok_or_else(|| Error::NoComparison(line.to_owned()))?;
    let mut scanned = Scanned::default();
    if scanned.scan(rest.as_bytes()).is_none() {
        let Scanned { key, operator, value } = scanned;
        return Err(Error::Incomplete { line: line.to_owned(), target: target.to_owned(), key, operator, value });
    }
    let Scanned { key, operator, value } = scanned;
    let result = match operator.as_str() {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        ">" => CompareResult::Greater,
        "<" => CompareResult::Less,
        _ => return Err(Error::UnknownOperator { line: line.to_owned(), operator }),
    };
    // Lease ids are hexadecimal wherever etcdctl shows or takes them.
    let number = |base| {
        let text = std::str::from_utf8(&value).ok()?;
        parse_int(text, base).ok()
    };
    let number = |base| number(base).ok_or_else(|| Error::Invalid(line.to_owned()));
    let (target, operand) = match target {
        "ver" | "version" => (CompareTarget::Version, TargetUnion::Version(number(10)?)),
        "c" | "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number(10)?)),
        "m" | "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number(10)?)),
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(number(16)?)),
        "val" | "value" => (CompareTarget::Value, TargetUnion::Value(Bytes::from(value.clone()))),
        _ => return Err(Error::UnknownTarget { line: line.to_owned(), target: target.to_owned() }),
    };
    Ok(Compare {
        result: result.into(),
        target: target.into(),
        key: key.into(),
        range_end: Bytes::new(),
        target_union: Some(operand),
    })
}

/// What was read so far; shown when the rest cannot be.
#[derive(Debug, Default)]
struct Scanned {
    key: Vec<u8>,
    operator: String,
    value: Vec<u8>,
}

impl Scanned {
    /// Reads `"key") operator "value"`; spaces may stand before the strings and must stand around the operator.
    fn scan(&mut self, input: &[u8]) -> Option<()> {
        let (key, rest) = unquote_prefix(input.trim_ascii_start())?;
        self.key = key;
        let rest = spaces(rest.strip_prefix(b")")?)?;
        let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        self.operator = String::from_utf8_lossy(&rest[..end]).into_owned();
        let (value, _) = unquote_prefix(spaces(&rest[end..])?)?;
        self.value = value;
        Some(())
    }
}

/// What follows at least one space.
fn spaces(input: &[u8]) -> Option<&[u8]> {
    let rest = input.trim_ascii_start();
    (rest.len() < input.len()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_operator_and_quoting_is_understood() {
        use CompareResult as R;
        use CompareTarget as T;
        for (line, target, result, operand) in [
            (r#"mod("k") > "0""#, T::Mod, R::Greater, TargetUnion::ModRevision(0)),
            (r#"m("k") < "99""#, T::Mod, R::Less, TargetUnion::ModRevision(99)),
            (r#"c("k") = "1""#, T::Create, R::Equal, TargetUnion::CreateRevision(1)),
            (r#"create("k") != "-1""#, T::Create, R::NotEqual, TargetUnion::CreateRevision(-1)),
            (r#"ver("k")  =  "2" trailing"#, T::Version, R::Equal, TargetUnion::Version(2)),
            ("version(`k`) > `2`", T::Version, R::Greater, TargetUnion::Version(2)),
            (r#"val("\x6b") = "a \"b\"""#, T::Value, R::Equal, TargetUnion::Value("a \"b\"".into())),
            ("value( \"k\")\t=\t\"\"", T::Value, R::Equal, TargetUnion::Value("".into())),
            (r#"lease("k") = "1f""#, T::Lease, R::Equal, TargetUnion::Lease(31)),
        ] {
            let expected = Compare {
                result: result.into(),
                target: target.into(),
                key: "k".into(),
                range_end: Bytes::new(),
                target_union: Some(operand),
            };
            assert_eq!(parse(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn mistakes_are_told_in_etcdctls_words() {
        for (line, text) in [
            ("garbage", "malformed comparison: garbage"),
            (r#"value("a") = 9"#, r#"malformed comparison: value("a") = 9; got value("a") = """#),
            ("value(a) = 9", r#"malformed comparison: value(a) = 9; got value("")  """#),
            (r#"mod("a")>"1""#, r#"malformed comparison: mod("a")>"1"; got mod("a")  """#),
            (r#"mod("a"  ) > "1""#, r#"malformed comparison: mod("a"  ) > "1"; got mod("a")  """#),
            (r#"mod("a) > "1""#, r#"malformed comparison: mod("a) > "1"; got mod("a) > ")  """#),
            (r#"mod("a")"#, r#"malformed comparison: mod("a"); got mod("a")  """#),
            (r#"mod("a") >"#, r#"malformed comparison: mod("a") >; got mod("a") > """#),
            (r#"value("a") = "\q""#, r#"malformed comparison: value("a") = "\q"; got value("a") = """#),
            (r#"bogus("a") > "1""#, r#"malformed comparison: bogus("a") > "1" (unknown target bogus)"#),
            (r#"MOD("a") > "1""#, r#"malformed comparison: MOD("a") > "1" (unknown target MOD)"#),
            (r#"mod("a") > "x""#, r#"invalid txn compare request: mod("a") > "x""#),
            (r#"ver("a") > "0x1""#, r#"invalid txn compare request: ver("a") > "0x1""#),
            (r#"mod("a") >= "1""#, r#"malformed comparison: mod("a") >= "1" (unknown operator >=, use =, !=, < or >)"#),
        ] {
            assert_eq!(parse(line).unwrap_err().to_string(), text);
        }
    }
}
