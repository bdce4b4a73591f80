//! Words for numbers that are known only while a sequence runs: `now`, `now-3`, `compacted+1`, `lease2` (the second lease whose
//! id the server chose), `self` (the member), `member1` (the first member that was added).
//!
//! In a step's message such a word is a number of a range that nothing else uses; it is replaced just before the step is
//! sent, to each server by its own, and the other way round in the answers.

/// The distance from `now` and `compacted` that a word can say.
const REACH: i64 = 1_000_000;
const NOW: i64 = 5_000_000_000_000_000_000;
const COMPACTED: i64 = 6_000_000_000_000_000_000;
const LEASE: i64 = 7_000_000_000_000_000_000;
const MEMBER: i64 = 8_000_000_000_000_000_000;
/// More leases or members than any sequence names.
const COUNT_MAX: i64 = 1_000;

/// What a number in a step stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The newest revision, and an offset.
    Now(i64),
    /// The last compacted revision, and an offset.
    Compacted(i64),
    /// The n-th lease whose id the server chose, from 1.
    Lease(usize),
    /// The answering member (0), or the n-th that was added.
    Member(usize),
}

impl Word {
    pub fn of(number: i64) -> Option<Word> {
        let count = |base: i64| usize::try_from(number - base).ok();
        if (NOW - REACH..=NOW + REACH).contains(&number) {
            Some(Word::Now(number - NOW))
        } else if (COMPACTED - REACH..=COMPACTED + REACH).contains(&number) {
            Some(Word::Compacted(number - COMPACTED))
        } else if (LEASE..LEASE + COUNT_MAX).contains(&number) {
            count(LEASE).map(Word::Lease)
        } else if (MEMBER..MEMBER + COUNT_MAX).contains(&number) {
            count(MEMBER).map(Word::Member)
        } else {
            None
        }
    }

    pub fn number(self) -> i64 {
        let count = |count: usize| i64::try_from(count).map_or(COUNT_MAX - 1, |count| count.min(COUNT_MAX - 1));
        match self {
            Word::Now(offset) => NOW + offset,
            Word::Compacted(offset) => COMPACTED + offset,
            Word::Lease(n) => LEASE + count(n),
            Word::Member(n) => MEMBER + count(n),
        }
    }

    fn parse(text: &str) -> Option<Word> {
        let offset = |rest: &str| if rest.is_empty() { Some(0) } else { rest.parse::<i64>().ok() };
        if text == "self" {
            return Some(Word::Member(0));
        }
        if let Some(rest) = text.strip_prefix("now") {
            return offset(rest).filter(|offset| offset.abs() <= REACH).map(Word::Now);
        }
        if let Some(rest) = text.strip_prefix("compacted") {
            return offset(rest).filter(|offset| offset.abs() <= REACH).map(Word::Compacted);
        }
        if let Some(rest) = text.strip_prefix("lease") {
            return rest.parse().ok().map(Word::Lease);
        }
        text.strip_prefix("member").and_then(|rest| rest.parse().ok()).map(Word::Member)
    }

    fn text(self) -> String {
        let with = |name: &str, offset: i64| if offset == 0 { name.to_owned() } else { format!("{name}{offset:+}") };
        match self {
            Word::Now(offset) => with("now", offset),
            Word::Compacted(offset) => with("compacted", offset),
            Word::Lease(n) => format!("lease{n}"),
            Word::Member(0) => "self".to_owned(),
            Word::Member(n) => format!("member{n}"),
        }
    }
}

/// A message's text with numbers in the place of words, as the text format's parser wants it.
pub fn to_numbers(text: &str) -> String {
    outside_quotes(text, |word| Word::parse(word).map(|word| word.number().to_string()))
}

/// The inverse of [`to_numbers`].
pub fn to_words(text: &str) -> String {
    outside_quotes(text, |number| Word::of(number.parse().ok()?).map(Word::text))
}

/// Replaces runs of letters, digits and signs that stand outside quotes, where `with` knows something for them.
fn outside_quotes(text: &str, with: impl Fn(&str) -> Option<String>) -> String {
    let (mut out, mut word) = (String::with_capacity(text.len()), String::new());
    let (mut quoted, mut escaped) = (false, false);
    for character in text.chars().chain(std::iter::once('\n')) {
        if !quoted && (character.is_ascii_alphanumeric() || "+-_".contains(character)) {
            word.push(character);
            continue;
        }
        // A name of a field is never a word.
        out.push_str(&with(&word).filter(|_| character != ':').unwrap_or_else(|| word.clone()));
        word.clear();
        out.push(character);
        quoted ^= character == '"' && !escaped;
        escaped = quoted && character == '\\' && !escaped;
    }
    out.pop();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_numbers_and_numbers_words() {
        for text in [
            "key: \"now\" revision: now",
            "revision: now-12 lease: lease3",
            "start_revision: compacted+1, memberID: self",
            "ID: member2 key: \"a\\\"self\"",
            "limit: 5 lease: 7",
        ] {
            let numbers = to_numbers(text);
            assert_eq!(to_words(&numbers), text);
            assert_eq!(numbers == text, text.starts_with("limit"), "{numbers}");
        }
    }
}
