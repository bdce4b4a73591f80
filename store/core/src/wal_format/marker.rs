//! The synced point of no return of a snapshot installation (`store/README.md`, "Snapshots").

use super::record::{number_at, u32_at, u64_at};
use crate::log::{ConfState, SnapshotMeta};

/// A received snapshot replaces the log: it discards every earlier entry, also those above its index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotMarker {
    pub meta: SnapshotMeta,
    /// Name of the verified database directory that holds the snapshot's state.
    pub directory: String,
}

impl SnapshotMarker {
    pub(super) fn bytes(&self) -> usize {
        let ConfState { voters, learners, outgoing, learners_next, auto_leave: _ } = &self.meta.conf_state;
        let ids = voters.len() + learners.len() + outgoing.len() + learners_next.len();
        16 + 4 * 4 + ids * 8 + 1 + 4 + self.directory.len()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let SnapshotMarker { meta: SnapshotMeta { index, term, conf_state }, directory } = self;
        out.extend_from_slice(&index.to_le_bytes());
        out.extend_from_slice(&term.to_le_bytes());
        let ConfState { voters, learners, outgoing, learners_next, auto_leave } = conf_state;
        for ids in [voters, learners, outgoing, learners_next] {
            let count = u32::try_from(ids.len()).expect("a cluster has a handful of members");
            out.extend_from_slice(&count.to_le_bytes());
            ids.iter().for_each(|id| out.extend_from_slice(&id.to_le_bytes()));
        }
        out.push(u8::from(*auto_leave));
        let length = u32::try_from(directory.len()).expect("a file name is short");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(directory.as_bytes());
    }

    /// Reads a marker that fills `bytes`; `None` when it is malformed.
    pub(super) fn decode(bytes: &[u8]) -> Option<SnapshotMarker> {
        let mut input = Input(bytes);
        let (index, term) = (input.number()?, input.number()?);
        let conf_state = ConfState {
            voters: input.ids()?,
            learners: input.ids()?,
            outgoing: input.ids()?,
            learners_next: input.ids()?,
            auto_leave: input.take(1)?[0] != 0,
        };
        let length = input.u32()? as usize;
        let directory = String::from_utf8(input.take(length)?.to_vec()).ok()?;
        input.0.is_empty().then_some(SnapshotMarker { meta: SnapshotMeta { index, term, conf_state }, directory })
    }
}

/// Bytes not read yet.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        self.take(8).and_then(|bytes| number_at(bytes, 0).ok())
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4).map(|bytes| u32_at(bytes, 0))
    }

    fn ids(&mut self) -> Option<Vec<u64>> {
        let count = self.u32()? as usize;
        let bytes = self.take(count.checked_mul(8)?)?;
        Some(bytes.chunks_exact(8).map(|id| u64_at(id, 0)).collect())
    }
}
