//! `del`: one key or a range of keys.

use std::time::Duration;

use quorate_api::etcdserverpb::DeleteRangeRequest;

use super::{Context, get};
use crate::Error;
use crate::flags::{Flag, Kind, Parsed, flag};
use crate::go::quote::quote;

const PREFIX: Flag = flag("prefix", Kind::Bool(false), "delete every key that begins with the given one");
const FROM_KEY: Flag = flag("from-key", Kind::Bool(false), "delete every key from the given one on");
const RANGE: Flag = flag("range", Kind::Bool(false), "delete the keys in [key, range_end) without a pause");
const PREV_KV: Flag = flag("prev-kv", Kind::Bool(false), "return the deleted keys and values");

pub const FLAGS: &[Flag] = &[PREFIX, FROM_KEY, RANGE, PREV_KV];

/// Time to think again after a range was named without `--range`.
const PAUSE: Duration = Duration::from_secs(2);

pub async fn run(context: &Context) -> Result<(), Error> {
    let request = request(&context.parsed)?;
    context.settings.format.refuse_table()?;
    warn(&context.parsed).await;
    let response = context.call(async |client| client.kv().delete_range(request).await).await?;
    context.print(response.get_ref())
}

/// The request that the arguments describe; for `del` lines of a transaction as well.
pub fn request(parsed: &Parsed) -> Result<DeleteRangeRequest, Error> {
    let (key, end) = match parsed.args.as_slice() {
        [key] => (key, None),
        [key, end] => (key, Some(end)),
        _ => {
            return Err(Error::Arguments(
                "del command needs one argument as key and an optional argument as range_end",
            ));
        }
    };
    let (key, range_end) = get::range(key, end, parsed.bool(&PREFIX), parsed.bool(&FROM_KEY))?;
    Ok(DeleteRangeRequest { key, range_end, prev_kv: parsed.bool(&PREV_KV) })
}

/// Two names in a row are often meant as two keys: says what would happen and waits, as etcdctl does.
pub async fn warn(parsed: &Parsed) {
    if let ([key, end], false) = (parsed.args.as_slice(), parsed.bool(&RANGE)) {
        eprintln!(
            "Warning: Keys between {} and {} will be deleted. Please interrupt the command within next 2 seconds to \
             cancel. You can provide `--range` flag to avoid the delay.",
            quote(key),
            quote(end)
        );
        tokio::time::sleep(PAUSE).await;
    }
}
