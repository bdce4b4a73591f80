//! When a member that found damage in its own rows raises its CORRUPT alarm: until the cluster knows.

/// Between two tries, in milliseconds: twice as long after each, up to the second.
const AGAIN_MS: u64 = 2_000;
/// A member that applies nothing any more never sees its own alarm.
const AGAIN_MS_MAX: u64 = 60_000;

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Confession {
    /// When it was tried last, and how long the pause after that is.
    tried: Option<(u64, u64)>,
}

impl Confession {
    /// Whether the alarm has to be proposed now: `damaged` = damage was found and not repaired yet, `corrupt` = the alarm is raised.
    pub fn is_due(&mut self, now_ms: u64, damaged: bool, corrupt: bool) -> bool {
        if !damaged || corrupt {
            self.tried = None;
            return false;
        }
        let pause_ms = match self.tried {
            Some((at, pause_ms)) if now_ms < at + pause_ms => return false,
            Some((_, pause_ms)) => (2 * pause_ms).min(AGAIN_MS_MAX),
            None => AGAIN_MS,
        };
        self.tried = Some((now_ms, pause_ms));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_tried_again_more_and_more_slowly_until_the_alarm_is_raised() {
        let mut confession = Confession::default();
        assert!(!confession.is_due(0, false, false));
        let due: Vec<u64> = (0..300).filter(|second| confession.is_due(second * 1_000, true, false)).collect();
        assert_eq!(due, [0, 2, 6, 14, 30, 62, 122, 182, 242]);
        assert!(!confession.is_due(301_000, true, true), "the cluster knows");
        assert!(confession.is_due(302_000, true, false), "somebody lowered it, and nothing was repaired");
    }
}
