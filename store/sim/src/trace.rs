//! What happened, in order: hashed whole, so that two runs can be compared bit by bit, and its tail kept for people.
//!
//! The trace stands in the thread, so that a panic in the core can still show it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write;

/// Lines kept for people.
const TAIL_LINES: usize = 120;

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
    seed: u64,
    hash: u64,
    tail: VecDeque<Line>,
}

thread_local! {
    static TRACE: RefCell<Trace> = RefCell::default();
}

/// Begins a new trace on this thread.
pub fn begin(seed: u64) {
    TRACE.with_borrow_mut(|trace| *trace = Trace { seed, hash: 0xcbf2_9ce4_8422_2325, tail: VecDeque::new() });
}

/// The member is 0 for what concerns none.
pub fn note(at_micros: u64, member: u64, what: &'static str, numbers: [u64; 3]) {
    TRACE.with_borrow_mut(|trace| {
        let words = [at_micros, member, numbers[0], numbers[1], numbers[2]];
        let bytes = words.iter().flat_map(|word| word.to_le_bytes()).chain(what.bytes());
        trace.hash = bytes.fold(trace.hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        if trace.tail.len() == TAIL_LINES {
            trace.tail.pop_front();
        }
        trace.tail.push_back(Line { at_micros, member, what, numbers });
    });
}

/// Over everything noted since `begin`.
pub fn hash() -> u64 {
    TRACE.with_borrow(|trace| trace.hash)
}

/// The seed of the run on this thread, and the last lines of its trace as text.
pub fn tail() -> (u64, String) {
    TRACE.with_borrow(|trace| {
        let mut text = String::new();
        for line in &trace.tail {
            let mut parts = line.what.split("{}");
            let mut said = parts.next().unwrap_or_default().to_owned();
            for (part, number) in parts.zip(line.numbers) {
                // Writing to a string does not fail.
                let _ = write!(said, "{number}{part}");
            }
            let who = if line.member == 0 { "cluster ".to_owned() } else { format!("member {}", line.member) };
            let _ = writeln!(text, "{:>12.6} s  {who}  {said}", line.at_micros as f64 / 1e6);
        }
        (trace.seed, text)
    })
}
