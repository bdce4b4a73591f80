//! Runs a seed and takes a failed assertion of the core for what it is: a violation, reported like any other.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

static HOOK: Once = Once::new();

/// What a panic on this thread says goes into `SAID` while it is guarded, and to the hook before it otherwise.
fn install_hook() {
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if GUARDED.get() {
                SAID.with_borrow_mut(|said| *said = text(panic));
            } else {
                before(panic);
            }
        }));
    });
}

fn text(panic: &PanicHookInfo<'_>) -> String {
    let message = panic.payload_as_str().unwrap_or("a panic without text");
    let place = panic.location().map_or(String::new(), |at| format!(" ({}:{})", at.file(), at.line()));
    format!("{message}{place}")
}

/// What `act` returns, or what its panic said.
pub fn catch<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    install_hook();
    let before = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(act));
    GUARDED.set(before);
    result.map_err(|_| SAID.take())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_returned_as_text_with_its_place() {
        let said = catch(|| assert_eq!(1, 2, "one is not two")).unwrap_err();
        assert!(said.contains("one is not two") && said.contains("guard.rs"), "{said}");
        assert_eq!(catch(|| 3), Ok(3));
    }
}
