//! `compaction`: forget what keys were before a revision.

use quorate_api::etcdserverpb::CompactionRequest;

use super::{Context, text, write};
use crate::Error;
use crate::flags::{Flag, Kind, flag};
use crate::go::number;

const PHYSICAL: Flag = flag("physical", Kind::Bool(false), "wait until the old revisions are gone from the backend");

pub const FLAGS: &[Flag] = &[PHYSICAL];

pub async fn run(context: &Context) -> Result<(), Error> {
    let [revision] = context.args() else { return Err(Error::Arguments("compaction command needs 1 argument")) };
    let revision = number::parse_int(&text(revision), 10).map_err(Error::Number)?;
    let request = CompactionRequest { revision, physical: context.parsed.bool(&PHYSICAL) };
    context.call(async |client| client.kv().compact(request).await).await?;
    Ok(write(format!("compacted revision {revision}\n").as_bytes())?)
}
