//! What a crash, a failing disk and a stale backup make of the log.

use quorate_core::wal_format::{Location, SegmentName, Tail};

use super::{Log, Segment};
use crate::chance::Chance;
use crate::disk::{File, Loss};

/// Where the process dies in the creation of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tear {
    /// The start is written; it is synced or not, and the file is still a spare.
    BeforeName,
    /// The file has its name; the directory is not synced.
    BeforeDirectorySync,
}

/// Bits that were turned over, so that they can be turned back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flip {
    pub seq: u64,
    pub offset: usize,
    pub mask: u8,
}

impl Flip {
    /// Whether it lies before the end of the log.
    pub fn is_before(&self, tail: &Tail) -> bool {
        (self.seq, self.offset as u64) < (tail.seq, tail.offset)
    }
}

impl Log {
    /// A copy of what is durable, as a stale backup of the disk holds it.
    pub fn backup(&self) -> Vec<(SegmentName, u64, File)> {
        self.segments.iter().map(|s| (s.name, s.id, File::new(s.file.bytes().to_vec()))).collect()
    }

    pub fn restore(&mut self, backup: Vec<(SegmentName, u64, File)>) {
        self.segments = backup.into_iter().map(|(name, id, file)| Segment { name, id, file, named: true }).collect();
    }

    /// The process died; with `power` the unsynced writes and names are torn or lost too.
    pub fn crash(&mut self, power: bool) -> Loss {
        let mut loss = Loss::Nothing;
        for segment in &mut self.segments {
            if !power {
                segment.file.kill(&mut self.chance);
            } else if segment.file.power_cut(&mut self.chance) == Loss::Some {
                loss = Loss::Some;
            }
        }
        if power && self.segments.back().is_some_and(|newest| !newest.named) && self.chance.percent(50) {
            self.segments.pop_back();
            loss = Loss::Some;
        }
        self.written = None;
        self.tear = None;
        loss
    }

    /// The process dies in the next creation of a segment.
    pub fn arm_tear(&mut self, tear: Tear) {
        self.tear = Some(tear);
    }

    /// The sync of what was written fails, and the process must end.
    pub fn fail_sync(&mut self) {
        if let Some(newest) = self.segments.back_mut() {
            newest.file.fail_sync(&mut self.chance);
        }
    }

    /// The disk is full: so many segments may still begin.
    pub fn fill(&mut self, segments_left: u8) {
        self.segments_left = Some(segments_left);
    }

    pub fn is_full(&self) -> bool {
        self.segments_left.is_some()
    }

    /// Whether it was full.
    pub fn make_room(&mut self) -> bool {
        self.segments_left.take().is_some()
    }

    /// Entries before the last durable group, which is damaged apart (`last_group`).
    fn places(&self) -> Vec<Location> {
        let (seq, end) = self.last_group;
        let before = |location: &Location| location.seq < seq || (location.seq == seq && location.offset < end);
        let entries = (self.index.first()..=self.index.last()).filter_map(|index| self.index.location(index));
        entries.filter(before).collect()
    }

    /// Turns over a bit of an entry.
    pub fn flip(&mut self, chance: &mut Chance) -> bool {
        let places = self.places();
        if places.is_empty() {
            return false;
        }
        let Location { seq, offset, bytes, .. } = chance.pick(&places);
        let offset = offset as usize + chance.between(0, u64::from(bytes)) as usize;
        self.damage(Flip { seq, offset, mask: 1 << chance.between(0, 8) });
        true
    }

    /// From now on reads of one entry's place give what stands at another's.
    pub fn misdirect(&mut self, chance: &mut Chance) -> bool {
        let places = self.places();
        let (wanted, given) = match places[..] {
            [] | [_] => return false,
            _ => (chance.pick(&places), chance.pick(&places)),
        };
        self.overlay(&wanted, &given)
    }

    /// Puts what stands at one place at another; false when that changes nothing.
    pub(super) fn overlay(&mut self, wanted: &Location, given: &Location) -> bool {
        let bytes = wanted.bytes.min(given.bytes) as usize;
        let (at, from) = (wanted.offset as usize, given.offset as usize);
        let read = |place: &Location, from: usize| {
            let segment = self.segments.iter().find(|segment| segment.name.seq == place.seq)?;
            Some(segment.file.bytes().get(from..from + bytes)?.to_vec())
        };
        let (Some(right), Some(wrong)) = (read(wanted, at), read(given, from)) else { return false };
        let masks = right.iter().zip(&wrong).map(|(right, wrong)| right ^ wrong).enumerate();
        let flips: Vec<Flip> = masks
            .filter(|(_, mask)| *mask != 0)
            .map(|(place, mask)| Flip { seq: wanted.seq, offset: at + place, mask })
            .collect();
        let differ = !flips.is_empty();
        flips.into_iter().for_each(|flip| self.damage(flip));
        differ
    }

    pub(super) fn damage(&mut self, flip: Flip) {
        self.apply(flip);
        self.flips.push(flip);
    }

    fn apply(&mut self, flip: Flip) -> bool {
        let segment = self.segments.iter_mut().find(|segment| segment.name.seq == flip.seq);
        segment.map(|segment| segment.file.flip(flip.offset, flip.mask)).is_some()
    }

    /// Whether bits are turned over in a segment that is still there.
    pub fn is_damaged(&self) -> bool {
        self.flips.iter().any(|flip| self.segments.iter().any(|segment| segment.name.seq == flip.seq))
    }

    /// Turns all bits back; nothing is torn any more.
    pub fn repair(&mut self) {
        self.tear = None;
        for flip in std::mem::take(&mut self.flips) {
            self.apply(flip);
        }
    }
}
