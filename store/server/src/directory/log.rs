//! Whose log lies in a folder. A data directory that is in no cluster has begun none, so a segment that is there is another's; the log
//! of a directory that is in one is compared with it, segment by segment, when it is read.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use quorate_core::wal_format::{SEGMENT_START_BYTES, SegmentName, segment_identity};

use super::{Error, Member};

/// Refuses a log that a directory in no cluster cannot have begun. `member` is `None` where the directory is new.
///
/// # Errors
/// `ForeignLog`, naming whose it is.
pub(super) fn refuse_other(path: &Path, log: &Path, member: Option<&Member>) -> Result<(), Error> {
    if member.is_some_and(|member| member.identity.is_some()) {
        return Ok(());
    }
    let Some(segment) = first_segment(log)? else { return Ok(()) };
    let found = match identity(&log.join(segment.to_string()))?.map(hex::encode) {
        Some(disk_id) if member.is_some_and(|member| member.disk_id == disk_id) => return Ok(()),
        Some(disk_id) => format!("{segment} has disk id {disk_id}"),
        None => format!("{segment} does not start as a segment that this version knows"),
    };
    let own = member.map_or_else(|| "which is new".to_owned(), |member| format!("disk id {}", member.disk_id));
    Err(Error::ForeignLog { log: log.to_owned(), segment: found, path: path.to_owned(), own })
}

/// The oldest segment in a folder, if there is one.
pub(super) fn first_segment(log: &Path) -> Result<Option<SegmentName>, Error> {
    if !log.exists() {
        return Ok(None);
    }
    let mut first = None;
    for entry in std::fs::read_dir(log).map_err(Error::writing("listing", log))? {
        let name = entry.map_err(Error::writing("listing", log))?.file_name();
        let segment = SegmentName::parse(&name.to_string_lossy());
        first = first.into_iter().chain(segment).min();
    }
    Ok(first)
}

fn identity(segment: &Path) -> Result<Option<[u8; 16]>, Error> {
    let mut start = Vec::new();
    let read = File::open(segment).and_then(|file| file.take(SEGMENT_START_BYTES as u64).read_to_end(&mut start));
    read.map_err(Error::writing("reading", segment))?;
    Ok(segment_identity(&start))
}
