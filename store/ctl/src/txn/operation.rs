//! Splitting a line into arguments: words, or strings in quotes. Double quotes have Go's escapes, single quotes none.

use bytes::Bytes;

use super::Error;
use crate::go::quote::unquote;

/// The arguments of a line. A quote that is never closed is passed over; one inside a word belongs to the word.
pub fn arguments(line: &str) -> Result<Vec<Bytes>, Error> {
    let mut arguments = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let closing = match first {
            '"' => closing_double(rest),
            '\'' => rest[1..].find('\'').map(|position| position + 1),
            _ => None,
        };
        let end = match (first, closing) {
            ('"', Some(end)) => {
                arguments.push(unquote(&rest.as_bytes()[..=end]).ok_or(Error::Escape)?.into());
                end + 1
            }
            (_, Some(end)) => {
                arguments.push(Bytes::copy_from_slice(&rest.as_bytes()[1..end]));
                end + 1
            }
            ('"' | '\'', None) => 1,
            (_, None) => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                arguments.push(Bytes::copy_from_slice(&rest.as_bytes()[..end]));
                end
            }
        };
        rest = rest[end..].trim_start();
    }
    Ok(arguments)
}

/// Where the double quote that begins `text` is closed.
fn closing_double(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (position, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(position),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_split_as_etcdctl_splits_them() {
        for (line, expected) in [
            ("put a 1", &["put", "a", "1"][..]),
            ("  put   a\t 8  ", &["put", "a", "8"]),
            (r#"put "sp ace" "q\"uote""#, &["put", "sp ace", "q\"uote"]),
            (r#"put q a"b"#, &["put", "q", "a\"b"]),
            (r#"put q "a"b"#, &["put", "q", "a", "b"]),
            (r#"put q "x y"#, &["put", "q", "x", "y"]),
            ("put q 'a\"b' a'b", &["put", "q", "a\"b", "a'b"]),
            (r#"put q "\x41\u00e9\n" a\nb 'a\tb'"#, &["put", "q", "Aé\n", "a\\nb", "a\\tb"]),
            (r#"put q "" ''"#, &["put", "q", "", ""]),
            (r#"put q "a\"#, &["put", "q", "a\\"]),
            (r#"put q ""#, &["put", "q"]),
            ("", &[]),
        ] {
            let arguments = arguments(line).unwrap();
            assert_eq!(arguments, expected.iter().map(|arg| Bytes::from(*arg)).collect::<Vec<_>>(), "{line}");
        }
        assert_eq!(arguments(r#"put q "\q""#), Err(Error::Escape));
    }
}
