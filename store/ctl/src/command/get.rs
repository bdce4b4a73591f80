//! `get`: one key or a range of keys.

use bytes::Bytes;
use quorate_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use quorate_api::etcdserverpb::{RangeRequest, RangeResponse};
use tonic::Status;

use super::{Context, write};
use crate::Error;
use crate::client::{Client, repeat_read};
use crate::flags::{Flag, Kind, Parsed, flag};
use crate::render::{Format, Style, render};

const CONSISTENCY: Flag = flag("consistency", Kind::Text("l"), "Linearizable(l) or Serializable(s)");
const ORDER: Flag = flag("order", Kind::Text(""), "order of results; ASCEND or DESCEND (ASCEND by default)");
const SORT_BY: Flag = flag("sort-by", Kind::Text(""), "sort target; CREATE, KEY, MODIFY, VALUE, or VERSION");
const LIMIT: Flag = flag("limit", Kind::Int, "results at most (0 = no limit)");
const PREFIX: Flag = flag("prefix", Kind::Bool(false), "get every key that begins with the given one");
const FROM_KEY: Flag = flag("from-key", Kind::Bool(false), "get every key from the given one on");
const REV: Flag = flag("rev", Kind::Int, "read at this revision (0 = the newest)");
const KEYS_ONLY: Flag = flag("keys-only", Kind::Bool(false), "get only the keys");
const COUNT_ONLY: Flag = flag("count-only", Kind::Bool(false), "get only the count");
const PRINT_VALUE_ONLY: Flag =
    flag("print-value-only", Kind::Bool(false), "write only values when using the \"simple\" output format");
const MIN_CREATE_REV: Flag = flag("min-create-rev", Kind::Int, "least create revision");
const MAX_CREATE_REV: Flag = flag("max-create-rev", Kind::Int, "greatest create revision");
const MIN_MOD_REV: Flag = flag("min-mod-rev", Kind::Int, "least modification revision");
const MAX_MOD_REV: Flag = flag("max-mod-rev", Kind::Int, "greatest modification revision");
const STREAM: Flag = flag("stream", Kind::Bool(false), "use the RPC RangeStream");

pub const FLAGS: &[Flag] = &[
    CONSISTENCY,
    ORDER,
    SORT_BY,
    LIMIT,
    PREFIX,
    FROM_KEY,
    REV,
    KEYS_ONLY,
    COUNT_ONLY,
    PRINT_VALUE_ONLY,
    MIN_CREATE_REV,
    MAX_CREATE_REV,
    MIN_MOD_REV,
    MAX_MOD_REV,
    STREAM,
];

pub async fn run(context: &Context) -> Result<(), Error> {
    let Context { parsed, settings, .. } = context;
    let request = request(parsed)?;
    if parsed.bool(&COUNT_ONLY) && settings.format != Format::Fields {
        return Err(Error::Arguments("--count-only is only for `--write-out=fields`"));
    }
    let values_only = parsed.bool(&PRINT_VALUE_ONLY);
    if values_only && settings.format != Format::Simple {
        return Err(Error::Arguments("print-value-only is only for `--write-out=simple`"));
    }
    settings.format.refuse_table()?;
    let stream = parsed.bool(&STREAM);
    let response = context
        .call(async |client| {
            repeat_read(async || match stream {
                true => streamed(&client, request.clone()).await,
                false => Ok(client.kv().range(request.clone()).await?.into_inner()),
            })
            .await
        })
        .await?;
    Ok(write(&render(&response, settings.format, Style { values_only, ..context.style() })?)?)
}

/// Puts the pieces of a streamed answer together, as protobuf merges messages: lists are joined, numbers replaced.
async fn streamed(client: &Client, request: RangeRequest) -> Result<RangeResponse, Status> {
    let mut stream = client.kv().range_stream(request).await?.into_inner();
    let mut whole = RangeResponse::default();
    while let Some(piece) = stream.message().await? {
        let Some(RangeResponse { header, kvs, more, count }) = piece.range_response else { continue };
        whole.header = header.or(whole.header);
        whole.kvs.extend(kvs);
        whole.more |= more;
        whole.count = if count == 0 { whole.count } else { count };
    }
    Ok(whole)
}

/// The request that the arguments describe; for `get` lines of a transaction as well.
pub fn request(parsed: &Parsed) -> Result<RangeRequest, Error> {
    let Some(key) = parsed.args.first() else {
        return Err(Error::Arguments("get command needs one argument as key and an optional argument as range_end"));
    };
    if parsed.bool(&KEYS_ONLY) && parsed.bool(&COUNT_ONLY) {
        return Err(Error::Arguments("`--keys-only` and `--count-only` cannot be set at the same time, choose one"));
    }
    let (key, range_end) = range(key, parsed.args.get(1), parsed.bool(&PREFIX), parsed.bool(&FROM_KEY))?;
    let bounds = |which, min: &Flag, max: &Flag| match (parsed.int(min), parsed.int(max)) {
        (min, max) if max != 0 && min > max => Err(Error::RevisionBounds { which, min, max }),
        bounds => Ok(bounds),
    };
    let (min_create_revision, max_create_revision) = bounds("MinCreateRev", &MIN_CREATE_REV, &MAX_CREATE_REV)?;
    let (min_mod_revision, max_mod_revision) = bounds("MinModRev", &MIN_MOD_REV, &MAX_MOD_REV)?;
    Ok(RangeRequest {
        key,
        range_end,
        limit: parsed.int(&LIMIT),
        revision: parsed.int(&REV),
        sort_order: sort_order(parsed.text(&ORDER))?.into(),
        sort_target: sort_target(parsed.text(&SORT_BY))?.into(),
        serializable: serializable(parsed.text(&CONSISTENCY))?,
        keys_only: parsed.bool(&KEYS_ONLY),
        count_only: parsed.bool(&COUNT_ONLY),
        min_mod_revision,
        max_mod_revision,
        min_create_revision,
        max_create_revision,
    })
}

/// `l` or `s`.
pub fn serializable(consistency: &str) -> Result<bool, Error> {
    match consistency {
        "s" => Ok(true),
        "l" => Ok(false),
        other => Err(Error::Consistency(other.to_owned())),
    }
}

fn sort_order(text: &str) -> Result<SortOrder, Error> {
    match text.to_uppercase().as_str() {
        "" => Ok(SortOrder::None),
        "ASCEND" => Ok(SortOrder::Ascend),
        "DESCEND" => Ok(SortOrder::Descend),
        _ => Err(Error::SortOrder(text.to_owned())),
    }
}

fn sort_target(text: &str) -> Result<SortTarget, Error> {
    match text.to_uppercase().as_str() {
        "" | "KEY" => Ok(SortTarget::Key),
        "CREATE" => Ok(SortTarget::Create),
        "MODIFY" => Ok(SortTarget::Mod),
        "VALUE" => Ok(SortTarget::Value),
        "VERSION" => Ok(SortTarget::Version),
        _ => Err(Error::SortTarget(text.to_owned())),
    }
}

/// The range that key, range end and the two flags mean.
pub fn range(key: &Bytes, end: Option<&Bytes>, prefix: bool, from_key: bool) -> Result<(Bytes, Bytes), Error> {
    /// As a key the first one there can be, as an end no end.
    const ZERO: Bytes = Bytes::from_static(&[0]);
    match (prefix, from_key, end) {
        (true, true, _) => {
            Err(Error::Arguments("`--prefix` and `--from-key` cannot be set at the same time, choose one"))
        }
        (true, _, Some(_)) | (_, true, Some(_)) => {
            Err(Error::Arguments("too many arguments, only accept one argument when `--prefix` or `--from-key` is set"))
        }
        (true, _, None) | (_, true, None) if key.is_empty() => Ok((ZERO, ZERO)),
        (true, false, None) => Ok((key.clone(), prefix_end(key))),
        (false, true, None) => Ok((key.clone(), ZERO)),
        (false, false, end) => Ok((key.clone(), end.cloned().unwrap_or_default())),
    }
}

/// The first key behind all that begin with `prefix`; a single zero byte, which means no end, if there is none.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    match prefix.iter().rposition(|byte| *byte < 0xff) {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end.into()
        }
        None => Bytes::from_static(&[0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::parse;

    fn read(line: &str) -> Result<RangeRequest, Error> {
        let args = line.split_whitespace().map(|arg| Bytes::copy_from_slice(arg.trim_matches('"').as_bytes()));
        request(&parse(&[FLAGS], &args.collect::<Vec<_>>()).unwrap())
    }

    #[test]
    fn ranges_are_what_etcdctl_makes_of_them() {
        for (line, key, end) in [
            ("a", "a", ""),
            ("a zz", "a", "zz"),
            ("a --prefix", "a", "b"),
            ("\"\" --prefix", "\0", "\0"),
            ("a --from-key", "a", "\0"),
            ("\"\" --from-key", "\0", "\0"),
        ] {
            let request = read(line).unwrap();
            assert_eq!((request.key.as_ref(), request.range_end.as_ref()), (key.as_bytes(), end.as_bytes()), "{line}");
        }
        assert_eq!(prefix_end(b"a\xff\xff"), b"b"[..]);
        assert_eq!(prefix_end(b"\xff"), b"\0"[..]);
    }

    #[test]
    fn every_flag_reaches_the_request() {
        let line = "a --order descend --sort-by MODIFY --limit 2 --rev 3 --consistency s --keys-only \
                    --min-create-rev 4 --max-create-rev 5 --min-mod-rev 6 --max-mod-rev 7";
        let expected = RangeRequest {
            key: "a".into(),
            sort_order: SortOrder::Descend.into(),
            sort_target: SortTarget::Mod.into(),
            limit: 2,
            revision: 3,
            serializable: true,
            keys_only: true,
            min_create_revision: 4,
            max_create_revision: 5,
            min_mod_revision: 6,
            max_mod_revision: 7,
            ..RangeRequest::default()
        };
        assert_eq!(read(line).unwrap(), expected);
    }

    #[test]
    fn contradictions_are_refused_with_etcdctls_texts_and_codes() {
        for (line, text, code) in [
            ("--limit 1", "get command needs one argument as key and an optional argument as range_end", 128),
            ("a --prefix --from-key", "`--prefix` and `--from-key` cannot be set at the same time, choose one", 128),
            (
                "a b --prefix",
                "too many arguments, only accept one argument when `--prefix` or `--from-key` is set",
                128,
            ),
            (
                "a --keys-only --count-only",
                "`--keys-only` and `--count-only` cannot be set at the same time, choose one",
                128,
            ),
            ("a --order bogus", "bad sort order bogus", 4),
            ("a --sort-by bogus", "bad sort target bogus", 4),
            ("a --consistency x", "unknown consistency flag \"x\"", 4),
            ("a --min-create-rev 100 --max-create-rev 2", "getMinCreateRev(=100) > getMaxCreateRev(=2)", 4),
            ("a --min-mod-rev 3 --max-mod-rev 2", "getMinModRev(=3) > getMaxModRev(=2)", 4),
        ] {
            let error = read(line).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.exit_code()), (text, code), "{line}");
        }
    }
}
