//! One fuzz target under libFuzzer: which, says the variable QUORATE_FUZZ_TARGET. Run by `quorate-fuzz`.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use quorate_fuzz::Target;

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fn chosen() -> &'static Target {
    let name = std::env::var("QUORATE_FUZZ_TARGET").unwrap_or_default();
    quorate_fuzz::target(&name).unwrap_or_else(|| {
        eprintln!("QUORATE_FUZZ_TARGET={name:?} names no target: run this through quorate-fuzz");
        std::process::exit(2)
    })
}

fuzz_target!(|data: &[u8]| {
    (TARGET.get_or_init(chosen).run)(data);
});
