//! A processor of a follower's own: what it does itself must not be measured with the leader, as it is not on machines of a real cluster.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::Error;

/// Sets one processor aside: the calling thread, and whatever it starts from now on, uses the others. Returns its number.
///
/// # Errors
/// There is only one, or a system call failed.
pub fn set_one_aside() -> Result<usize, Error> {
    let this = Pid::from_raw(0);
    let mut rest = sched_getaffinity(this).map_err(|source| Error::System { call: "sched_getaffinity", source })?;
    let usable: Vec<usize> = (0..CpuSet::count()).filter(|one| rest.is_set(*one) == Ok(true)).collect();
    let [_, .., last] = usable[..] else { return Err(Error::Processors(usable.len())) };
    rest.unset(last).map_err(|source| Error::System { call: "CPU_CLR", source })?;
    sched_setaffinity(this, &rest).map_err(|source| Error::System { call: "sched_setaffinity", source })?;
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_aside_is_not_used_by_who_did_it() {
        let usable = || {
            let set = sched_getaffinity(Pid::from_raw(0)).unwrap();
            (0..CpuSet::count()).filter(|one| set.is_set(*one).unwrap()).collect::<Vec<_>>()
        };
        let before = usable();
        match set_one_aside() {
            Ok(aside) => {
                assert!(before.contains(&aside) && !usable().contains(&aside));
                assert_eq!(usable().len() + 1, before.len());
            }
            Err(error) => assert!(matches!(error, Error::Processors(1)) && before.len() == 1, "{error}"),
        }
    }
}
