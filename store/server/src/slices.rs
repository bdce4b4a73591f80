//! How long a thread of this process keeps a processor while others wait for it.
//!
//! The kernel lets a thread run for about 3 ms before it looks at who else wants the processor, a flush or a compaction of the database
//! too, and meanwhile requests wait. From Linux 6.12 on a thread may ask for shorter slices (`sched_setattr(2)`, `sched_runtime` of
//! an ordinary thread): its share stays the same, and it takes turns sooner. Older kernels ignore it.

use std::time::Duration;

use nix::errno::Errno;
use nix::libc;

/// Long against the 5 µs that a change of threads takes, short against a request.
pub const SLICE: Duration = Duration::from_micros(500);

/// Asks for [`SLICE`] for the calling thread and all that it starts. A policy that somebody gave the process stays, and so does its nice
/// value.
///
/// # Errors
/// A system call failed; nothing is changed.
pub fn shorten() -> Result<(), Errno> {
    let mut attributes = attributes(CALLING_THREAD)?;
    if attributes.sched_policy != libc::SCHED_OTHER.cast_unsigned() {
        return Ok(());
    }
    attributes.sched_flags = 0;
    attributes.sched_runtime = SLICE.as_nanos() as u64;
    // SAFETY: the kernel reads `attributes.size` bytes, which the value has, and keeps none.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, CALLING_THREAD, &raw const attributes, NO_FLAGS) };
    Errno::result(done).map(|_| ())
}

/// The slice of a process's first thread; zero where the kernel has none of its own for each thread.
///
/// # Errors
/// There is no such process.
pub fn of(process: u32) -> Result<Duration, Errno> {
    Ok(Duration::from_nanos(attributes(process.into())?.sched_runtime))
}

const CALLING_THREAD: libc::c_long = 0;
const NO_FLAGS: libc::c_long = 0;

fn attributes(thread: libc::c_long) -> Result<libc::sched_attr, Errno> {
    let size = u32::try_from(size_of::<libc::sched_attr>()).expect("it is 48 bytes");
    // SAFETY: all of its fields are integers.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most `size` bytes, which the value has.
    let done = unsafe {
        let (size, to) = (libc::c_long::from(size), &raw mut attributes);
        libc::syscall(libc::SYS_sched_getattr, thread, to, size, NO_FLAGS)
    };
    Errno::result(done).map(|_| attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_and_what_it_starts_take_turns_sooner_and_keep_their_nice_value() {
        let own = || attributes(CALLING_THREAD).unwrap();
        let seen = std::thread::spawn(move || {
            let before = own();
            shorten().unwrap();
            let started = std::thread::spawn(own).join().unwrap();
            (before, own(), started)
        });
        let (before, after, started) = seen.join().unwrap();
        for changed in [after, started] {
            // A kernel before 6.12 has no slice of a thread's own.
            let asked = if before.sched_runtime == 0 { 0 } else { SLICE.as_nanos() as u64 };
            assert_eq!(changed.sched_runtime, asked);
            assert_eq!((changed.sched_policy, changed.sched_nice), (before.sched_policy, before.sched_nice));
        }
    }
}
