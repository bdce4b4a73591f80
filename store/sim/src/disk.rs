//! A file on a simulated disk: what processes see (the kernel's page cache), what is durable, and what becomes of the difference.

use crate::chance::Chance;

/// What a disk writes at once; a page that is being written may be torn at this grain.
const SECTOR_BYTES: usize = 512;
/// What the kernel writes back at once, in any order.
const PAGE_BYTES: usize = 4096;

#[derive(Debug, Clone)]
pub struct File {
    /// As processes see it.
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Written and not synced, oldest first.
    unsynced: Vec<(usize, Vec<u8>)>,
    /// A sync failed: pages may be seen that no later sync makes durable, because the kernel takes them for clean.
    stained: bool,
}

/// What became of unsynced writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    Nothing,
    Some,
}

impl File {
    /// A file whose content is durable.
    pub fn new(bytes: Vec<u8>) -> File {
        File { durable: bytes.clone(), bytes, unsynced: Vec::new(), stained: false }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn write(&mut self, offset: usize, data: &[u8]) {
        self.bytes[offset..offset + data.len()].copy_from_slice(data);
        self.unsynced.push((offset, data.to_vec()));
    }

    pub fn sync(&mut self) {
        for (offset, data) in self.unsynced.drain(..) {
            self.durable[offset..offset + data.len()].copy_from_slice(&data);
        }
    }

    /// The disk refuses: of the pages to be synced some were written. All still look written, and are clean for the kernel.
    pub fn fail_sync(&mut self, chance: &mut Chance) {
        let seen = self.bytes.clone();
        self.power_cut(chance);
        self.bytes = seen;
        self.stained = true;
    }

    /// The process dies, the kernel lives: everything written is still seen, and durable only if the kernel came to it.
    pub fn kill(&mut self, chance: &mut Chance) {
        if !self.unsynced.is_empty() && chance.percent(50) {
            self.sync();
        }
    }

    /// Turns over bits of a byte, for processes and for good.
    pub fn flip(&mut self, offset: usize, mask: u8) {
        self.bytes[offset] ^= mask;
        self.durable[offset] ^= mask;
    }

    /// The power fails: of each page or sector that was written since the last sync, any version may be there.
    pub fn power_cut(&mut self, chance: &mut Chance) -> Loss {
        if self.unsynced.is_empty() && !self.stained {
            return Loss::Nothing;
        }
        let mode = chance.between(0, 4);
        let grain = if mode == 3 { SECTOR_BYTES } else { PAGE_BYTES };
        let begin = self.unsynced.iter().map(|(offset, _)| *offset).min().unwrap_or(0) / PAGE_BYTES * PAGE_BYTES;
        let end = self.unsynced.iter().map(|(offset, data)| offset + data.len()).max().unwrap_or(0);
        let mut versions = vec![self.durable[begin..end.max(begin)].to_vec()];
        for (offset, data) in self.unsynced.drain(..) {
            let mut version = versions.last().expect("it begins with one").clone();
            version[offset - begin..offset - begin + data.len()].copy_from_slice(&data);
            versions.push(version);
        }
        let newest = versions.len() as u64 - 1;
        let mut start = begin;
        while start < end {
            let stop = (start + grain).min(end);
            let chosen = match mode {
                0 => 0,
                1 => newest,
                _ => chance.between(0, newest + 1),
            };
            self.durable[start..stop].copy_from_slice(&versions[chosen as usize][start - begin..stop - begin]);
            start = stop;
        }
        let lost = if self.durable == self.bytes { Loss::Nothing } else { Loss::Some };
        self.bytes.clone_from(&self.durable);
        self.stained = false;
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> File {
        let mut file = File::new(vec![0; 3 * PAGE_BYTES]);
        file.write(100, &[1; 2 * PAGE_BYTES]);
        file
    }

    #[test]
    fn what_is_synced_survives_everything_and_what_is_not_may_be_torn() {
        let mut chance = Chance::new(3);
        let mut synced = written();
        synced.sync();
        synced.kill(&mut chance);
        assert_eq!((synced.power_cut(&mut chance), synced.bytes()[200]), (Loss::Nothing, 1));
        let torn = |seed| {
            let mut file = written();
            file.power_cut(&mut Chance::new(seed));
            file.bytes().iter().filter(|byte| **byte == 1).count()
        };
        let counts: std::collections::BTreeSet<usize> = (0..60).map(torn).collect();
        assert!(counts.contains(&0) && counts.contains(&(2 * PAGE_BYTES)) && counts.len() > 4, "{counts:?}");
    }

    #[test]
    fn after_a_kill_what_is_seen_may_still_be_lost_with_the_power() {
        let lost = |seed| {
            let mut chance = Chance::new(seed);
            let mut file = written();
            file.kill(&mut chance);
            assert_eq!(file.bytes()[200], 1, "the kernel still has it");
            file.power_cut(&mut chance) == Loss::Some
        };
        assert!((0..20).any(lost) && !(0..20).all(lost));
    }

    #[test]
    fn after_a_failed_sync_a_later_sync_makes_durable_only_what_is_written_again() {
        let mut chance = Chance::new(1);
        let failed = |chance: &mut Chance| loop {
            let mut file = written();
            file.fail_sync(chance);
            assert_eq!(file.bytes()[200], 1);
            if file.durable[200] == 0 {
                return file;
            }
        };
        let mut trusted = failed(&mut chance);
        trusted.sync();
        assert_eq!((trusted.power_cut(&mut chance), trusted.bytes()[200]), (Loss::Some, 0));
        let mut rewritten = failed(&mut chance);
        let bytes = rewritten.bytes().to_vec();
        rewritten.write(0, &bytes);
        rewritten.sync();
        assert_eq!((rewritten.power_cut(&mut chance), rewritten.bytes()[200]), (Loss::Nothing, 1));
    }
}
