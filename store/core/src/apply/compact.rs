//! Compaction as a command: it raises the watermark and lowers the size; `mvcc::sweep` gives the space back later.

use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb as pb;

use super::checks::Refusal;
use super::{Response, Turn};
use crate::mvcc::{Error, State};

impl Turn<'_> {
    pub(super) fn compact(&mut self, request: &pb::CompactionRequest) -> Result<Response, Refusal> {
        let State { revision, compact_revision } = self.machine.state();
        if request.revision <= compact_revision {
            return Err(ApiError::Compacted.into());
        }
        if request.revision > revision {
            return Err(ApiError::FutureRev.into());
        }
        let core = &mut self.machine.core;
        let freed = self.machine.superseded.compact(&self.rows, compact_revision, request.revision)?;
        core.logical_bytes = core.logical_bytes.checked_sub(freed).ok_or_else(|| {
            let key = crate::mvcc::rows::Core::KEY;
            Error::malformed(crate::backend::Family::Meta, key, "a compaction frees more than the database holds")
        })?;
        core.state.compact_revision = request.revision;
        Ok(Response::Compact(pb::CompactionResponse { header: self.header() }))
    }
}
