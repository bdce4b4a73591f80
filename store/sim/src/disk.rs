//! A file on a simulated disk: what the process sees, what is durable, and what a power cut makes of the difference.

use crate::chance::Chance;

/// What a disk writes at once; a page that is being written may be torn at this grain.
const SECTOR_BYTES: usize = 512;
/// What the kernel writes back at once, in any order.
const PAGE_BYTES: usize = 4096;

#[derive(Debug, Clone)]
pub struct File {
    /// As the process sees it.
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Written and not synced, oldest first.
    unsynced: Vec<(usize, Vec<u8>)>,
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
        File { durable: bytes.clone(), bytes, unsynced: Vec::new() }
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

    /// The process dies, the kernel lives: everything written stays.
    pub fn kill(&mut self) {
        self.sync();
    }

    /// The power fails: of each page or sector that was written since the last sync, any version may be there.
    pub fn power_cut(&mut self, chance: &mut Chance) -> Loss {
        if self.unsynced.is_empty() {
            return Loss::Nothing;
        }
        let mode = chance.between(0, 4);
        let grain = if mode == 3 { SECTOR_BYTES } else { PAGE_BYTES };
        let mut versions = vec![self.durable.clone()];
        for (offset, data) in self.unsynced.drain(..) {
            let mut version = versions.last().expect("it begins with one").clone();
            version[offset..offset + data.len()].copy_from_slice(&data);
            versions.push(version);
        }
        let newest = versions.len() as u64 - 1;
        let mut start = 0;
        while start < self.durable.len() {
            let end = (start + grain).min(self.durable.len());
            let chosen = match mode {
                0 => 0,
                1 => newest,
                _ => chance.between(0, newest + 1),
            };
            self.durable[start..end].copy_from_slice(&versions[chosen as usize][start..end]);
            start = end;
        }
        let lost = if self.durable == self.bytes { Loss::Nothing } else { Loss::Some };
        self.bytes.clone_from(&self.durable);
        lost
    }
}
