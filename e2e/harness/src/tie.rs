//! Servers that end with the harness that starts them, also when it is killed.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

/// Has the kernel send SIGKILL to the child that this command starts when **the thread that starts it** ends (PR_SET_PDEATHSIG, prctl(2)):
/// call `spawn` from a thread that lives as long as the child should, such as the main thread or the one that blocks on a run, and not from
/// a task of a runtime, whose threads come and go. The tie outlives `exec`; what the child starts itself is not tied.
///
/// The child also leads a process group of its own: Ctrl-C in a terminal reaches the harness, which ends its servers in order.
pub fn tie(command: &mut Command) -> &mut Command {
    let harness = getpid();
    let tie = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // A harness that ended before the call above sends nothing any more.
        if getppid() == harness { Ok(()) } else { Err(io::Error::from(Errno::ESRCH)) }
    };
    command.process_group(0);
    // SAFETY: between fork and exec it makes two system calls; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(tie) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::sync::mpsc;

    use nix::unistd::{Pid, getpgid};

    use super::*;

    #[test]
    fn a_tied_child_lives_as_long_as_the_thread_that_started_it() {
        let (started, children) = mpsc::sync_channel(1);
        let (end, asked_to_end) = mpsc::sync_channel::<()>(1);
        let thread = std::thread::spawn(move || {
            started.send(tie(Command::new("sleep").arg("1000")).spawn().unwrap()).unwrap();
            asked_to_end.recv().unwrap();
        });
        let mut child = children.recv().unwrap();
        assert!(child.try_wait().unwrap().is_none(), "its thread lives");
        let id = Pid::from_raw(child.id().try_into().unwrap());
        assert_eq!(getpgid(Some(id)).unwrap(), id, "it leads a group of its own");
        end.send(()).unwrap();
        thread.join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
    }

    #[test]
    fn the_tie_outlives_the_programs_that_become_the_child() {
        let start = || tie(Command::new("sh").args(["-c", "exec env sleep 1000"])).spawn().unwrap();
        let mut child = std::thread::spawn(start).join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
    }
}
