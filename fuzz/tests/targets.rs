//! The short run that belongs to every test run: each target over its seeds, a fixed set of mutations of them, and every input
//! that a fuzzer once found to break something (`findings/TARGET/*`).
#![allow(clippy::unwrap_used)] // clippy's allow-unwrap-in-tests does not reach files in tests/

use std::path::Path;

use quorate_fuzz::TARGETS;

/// Mutations of each seed.
const MUTATIONS: u64 = 400;

/// xorshift64: the same mutations in every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

fn mutated(seed: &[u8], other: &[u8], draw: &mut Draw) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..=draw.below(3) {
        let at = draw.below(data.len());
        match draw.below(6) {
            0 if !data.is_empty() => data[at] ^= 1 << draw.below(8),
            1 if !data.is_empty() => data[at] = [0, 1, 0x7f, 0x80, 0xff][draw.below(5)],
            2 => data.truncate(at),
            3 => {
                let from = draw.below(other.len());
                data.splice(at..at, other[from..].iter().copied().take(64));
            }
            4 => {
                let end = (at + 4).min(data.len());
                data[at..end].fill(0xff);
            }
            _ => {
                let end = (at + draw.below(16)).min(data.len());
                data.drain(at..end);
            }
        }
    }
    data
}

#[test]
fn every_target_takes_what_the_encoders_make() {
    for target in &TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        seeds.iter().for_each(|seed| (target.run)(seed));
    }
}

#[test]
fn no_mutation_of_a_seed_breaks_a_target() {
    for target in &TARGETS {
        let seeds = (target.seeds)();
        for (number, seed) in seeds.iter().enumerate() {
            let mut draw = Draw(0x9e37_79b9_7f4a_7c15 ^ number as u64);
            for _ in 0..MUTATIONS {
                let data = mutated(seed, &seeds[draw.below(seeds.len())], &mut draw);
                if let Err(panic) = std::panic::catch_unwind(|| (target.run)(&data)) {
                    eprintln!("{} breaks on {data:02x?}", target.name);
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
}

#[test]
fn no_finding_of_the_past_breaks_its_target_again() {
    let findings = Path::new(env!("CARGO_MANIFEST_DIR")).join("findings");
    for target in &TARGETS {
        let Ok(files) = std::fs::read_dir(findings.join(target.name)) else { continue };
        for file in files {
            let path = file.unwrap().path();
            println!("{}", path.display());
            (target.run)(&std::fs::read(&path).unwrap());
        }
    }
}
