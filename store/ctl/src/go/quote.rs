//! Go's quoted strings: `%q` and `strconv.Unquote`.

/// A byte string as Go's `%q` prints it: printable characters as they are, others escaped.
pub fn quote(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            push(&mut text, character);
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text.push('"');
    text
}

fn push(text: &mut String, character: char) {
    match character {
        '"' => text.push_str("\\\""),
        '\\' => text.push_str("\\\\"),
        '\u{7}' => text.push_str("\\a"),
        '\u{8}' => text.push_str("\\b"),
        '\u{c}' => text.push_str("\\f"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        '\u{b}' => text.push_str("\\v"),
        c if c < ' ' || c == '\u{7f}' => text.push_str(&format!("\\x{:02x}", u32::from(c))),
        c if printable(c) => text.push(c),
        c if u32::from(c) < 0x10000 => text.push_str(&format!("\\u{:04x}", u32::from(c))),
        c => text.push_str(&format!("\\U{:08x}", u32::from(c))),
    }
}

/// Go escapes control, separator and private characters; this covers those that text in practice holds.
fn printable(c: char) -> bool {
    c == ' '
        || !(c.is_control()
            || c.is_whitespace()
            || matches!(u32::from(c), 0xad | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xe000..=0xf8ff | 0xfeff | 0xf0000..))
}

/// Reads the quoted string that `input` begins with (`"…"` with escapes, or a raw one in backquotes) and what follows
/// it. `None` when there is none or an escape is wrong.
pub fn unquote_prefix(input: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (&delimiter, mut rest) = input.split_first()?;
    let mut value = Vec::new();
    match delimiter {
        b'`' => {
            let end = rest.iter().position(|b| *b == b'`')?;
            value.extend(rest[..end].iter().filter(|b| **b != b'\r'));
            Some((value, &rest[end + 1..]))
        }
        b'"' => loop {
            let (&byte, after) = rest.split_first()?;
            rest = match byte {
                b'"' => return Some((value, after)),
                b'\n' => return None,
                b'\\' => escape(after, &mut value)?,
                other => {
                    value.push(other);
                    after
                }
            };
        },
        _ => None,
    }
}

/// The whole of `input` as one quoted string.
pub fn unquote(input: &[u8]) -> Option<Vec<u8>> {
    unquote_prefix(input).and_then(|(value, rest)| rest.is_empty().then_some(value))
}

fn escape<'a>(input: &'a [u8], value: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (&kind, rest) = input.split_first()?;
    let simple = match kind {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b'\\' | b'"' => kind,
        b'x' => return number(rest, 2, 16).map(|(n, rest)| (value.push(n as u8), rest).1),
        b'u' => return scalar(rest, 4, value),
        b'U' => return scalar(rest, 8, value),
        b'0'..=b'7' => {
            let (n, rest) = number(input, 3, 8)?;
            value.push(u8::try_from(n).ok()?);
            return Some(rest);
        }
        _ => return None,
    };
    value.push(simple);
    Some(rest)
}

fn scalar<'a>(input: &'a [u8], digits: usize, value: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (n, rest) = number(input, digits, 16)?;
    value.extend(char::from_u32(n)?.encode_utf8(&mut [0; 4]).bytes());
    Some(rest)
}

fn number(input: &[u8], digits: usize, base: u32) -> Option<(u32, &[u8])> {
    let text = std::str::from_utf8(input.get(..digits)?).ok()?;
    if !text.chars().all(|c| c.is_digit(base)) {
        return None;
    }
    Some((u32::from_str_radix(text, base).ok()?, &input[digits..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_is_gos_and_reads_back() {
        for (bytes, text) in [
            (&b"plain"[..], r#""plain""#),
            (b"weird\t\"key", r#""weird\t\"key""#),
            (b"\x01\x02nonutf8 \xff\xfe", r#""\x01\x02nonutf8 \xff\xfe""#),
            ("é\u{a0}\u{7f}".as_bytes(), r#""é\u00a0\x7f""#),
            (b"", r#""""#),
        ] {
            assert_eq!(quote(bytes), text);
            assert_eq!(unquote(text.as_bytes()).unwrap(), bytes);
        }
    }

    #[test]
    fn escapes_are_gos_and_wrong_ones_are_refused() {
        assert_eq!(unquote(br#""\x41\u00e9\101\n""#).unwrap(), "Aé\u{41}\n".as_bytes());
        assert_eq!(unquote(b"`raw\\n`").unwrap(), b"raw\\n");
        for wrong in [&br#""\q""#[..], br#""open"#, br#""a"b"#, b"bare", b"'single'", b"", br#""\x4""#] {
            assert_eq!(unquote(wrong), None, "{}", quote(wrong));
        }
        assert_eq!(unquote_prefix(br#""a") > "1""#).unwrap(), (b"a".to_vec(), &br#") > "1""#[..]));
    }
}
