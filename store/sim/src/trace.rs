//! What happened, in order: hashed whole, so that two runs can be compared bit by bit, and kept for people: the landmarks (faults,
//! starts and deaths, leaders, membership) of the whole run, and its last lines.
//!
//! The trace stands in the thread, so that a panic in the core can still show it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write;

/// Last lines that are kept.
const TAIL_LINES: usize = 120;
/// Last landmarks that are kept.
const LANDMARKS: usize = 300;

/// What a trace keeps for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keep {
    /// Landmarks and the last lines.
    #[default]
    Some,
    All,
}

/// One happening. Each `{}` in `what` stands for the next of `numbers`.
#[derive(Debug, Clone, Copy)]
struct Line {
    at_micros: u64,
    member: u64,
    what: &'static str,
    numbers: [u64; 3],
}

#[derive(Default)]
struct Trace {
    keep: Keep,
    hash: u64,
    landmarks: VecDeque<Line>,
    tail: VecDeque<Line>,
}

thread_local! {
    static TRACE: RefCell<Trace> = RefCell::default();
}

/// Begins a new trace on this thread.
pub fn begin(keep: Keep) {
    TRACE.with_borrow_mut(|trace| *trace = Trace { keep, hash: 0xcbf2_9ce4_8422_2325, ..Trace::default() });
}

/// The member is 0 for what concerns none.
pub fn note(at_micros: u64, member: u64, what: &'static str, numbers: [u64; 3]) {
    TRACE.with_borrow_mut(|trace| trace.add(Line { at_micros, member, what, numbers }, TAIL_LINES));
}

/// As `note`, of something that a person looks for first.
pub fn landmark(at_micros: u64, member: u64, what: &'static str, numbers: [u64; 3]) {
    TRACE.with_borrow_mut(|trace| {
        let line = Line { at_micros, member, what, numbers };
        trace.add(line, TAIL_LINES);
        push(&mut trace.landmarks, line, LANDMARKS);
    });
}

impl Trace {
    fn add(&mut self, line: Line, tail_lines: usize) {
        let Line { at_micros, member, what, numbers } = line;
        for word in [at_micros, member, numbers[0], numbers[1], numbers[2], what.len() as u64] {
            self.hash = mix(self.hash, word);
        }
        for bytes in what.as_bytes().chunks(8) {
            let word = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.hash = mix(self.hash, word);
        }
        let lines_max = if self.keep == Keep::All { usize::MAX } else { tail_lines };
        push(&mut self.tail, line, lines_max);
    }
}

fn mix(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

fn push(lines: &mut VecDeque<Line>, line: Line, lines_max: usize) {
    if lines.len() >= lines_max {
        lines.pop_front();
    }
    lines.push_back(line);
}

/// Over everything noted since `begin`.
pub fn hash() -> u64 {
    TRACE.with_borrow(|trace| trace.hash)
}

/// What was kept of the run on this thread.
pub fn text() -> String {
    TRACE.with_borrow(|trace| {
        let mut text = String::new();
        if trace.keep == Keep::Some {
            text.push_str("Landmarks\n");
            trace.landmarks.iter().for_each(|line| show(line, &mut text));
            text.push_str("Last lines\n");
        }
        trace.tail.iter().for_each(|line| show(line, &mut text));
        text
    })
}

fn show(line: &Line, text: &mut String) {
    let mut parts = line.what.split("{}");
    let mut said = parts.next().unwrap_or_default().to_owned();
    for (part, number) in parts.zip(line.numbers) {
        // Writing to a string does not fail.
        let _ = write!(said, "{number}{part}");
    }
    let who = if line.member == 0 { "cluster ".to_owned() } else { format!("member {}", line.member) };
    let _ = writeln!(text, "{:>12.6} s  {who}  {said}", line.at_micros as f64 / 1e6);
}
