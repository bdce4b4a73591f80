//! `put`: one key.

use std::io::Read;

use bytes::Bytes;
use quorate_api::etcdserverpb::PutRequest;

use super::Context;
use crate::Error;
use crate::flags::{Flag, Kind, Parsed, flag};
use crate::go::number;

const LEASE: Flag = flag("lease", Kind::Text("0"), "lease ID (in hexadecimal) to attach to the key");
const PREV_KV: Flag = flag("prev-kv", Kind::Bool(false), "return the key and value that were there before");
const IGNORE_VALUE: Flag = flag("ignore-value", Kind::Bool(false), "keep the key's present value");
const IGNORE_LEASE: Flag = flag("ignore-lease", Kind::Bool(false), "keep the key's present lease");

pub const FLAGS: &[Flag] = &[LEASE, PREV_KV, IGNORE_VALUE, IGNORE_LEASE];

pub const DETAILS: &str = "\
Without <value> (and without --ignore-value) the value is read from standard input:
  $ cat file | quoratectl put <key>
A value that begins with '-' is taken for a flag unless '--' stands before it:
  $ quoratectl put <key> -- <value>";

const NO_VALUE: Error = Error::Arguments("put command needs 1 argument and input from stdin or 2 arguments");

pub async fn run(context: &Context) -> Result<(), Error> {
    let request = request(&context.parsed, || {
        let mut value = Vec::new();
        std::io::stdin().lock().read_to_end(&mut value)?;
        Ok(value.into())
    })?;
    context.settings.format.refuse_table()?;
    let response = context.call(async |client| client.kv().put(request).await).await?;
    context.print(response.get_ref())
}

/// The request that the arguments describe; `input` supplies a value that is not among them.
pub fn request(parsed: &Parsed, input: impl FnOnce() -> Result<Bytes, Error>) -> Result<PutRequest, Error> {
    let Some(key) = parsed.args.first() else { return Err(NO_VALUE) };
    let ignore_value = parsed.bool(&IGNORE_VALUE);
    let value = match parsed.args.get(1) {
        Some(_) if ignore_value => {
            return Err(Error::Arguments("put command needs only 1 argument when 'ignore-value' is set"));
        }
        Some(value) => value.clone(),
        None if ignore_value => Bytes::new(),
        None => match input()? {
            // An argument may be empty; input that is empty was most likely forgotten.
            value if value.is_empty() => return Err(NO_VALUE),
            value => value,
        },
    };
    let lease =
        number::parse_int(parsed.text(&LEASE), 16).map_err(|source| Error::BadId { what: "lease ID", source })?;
    Ok(PutRequest {
        key: key.clone(),
        value,
        lease,
        prev_kv: parsed.bool(&PREV_KV),
        ignore_value,
        ignore_lease: parsed.bool(&IGNORE_LEASE),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::parse;

    fn read(args: &[&str], input: &'static str) -> Result<PutRequest, Error> {
        let args: Vec<Bytes> = args.iter().map(|arg| Bytes::copy_from_slice(arg.as_bytes())).collect();
        request(&parse(&[FLAGS], &args).unwrap(), || Ok(input.into()))
    }

    #[test]
    fn the_value_comes_from_the_arguments_or_from_standard_input() {
        assert_eq!(read(&["k", "v", "ignored"], "no").unwrap().value, "v");
        assert_eq!(read(&["k"], "typed").unwrap().value, "typed");
        assert_eq!(read(&["k", ""], "no").unwrap().value, "");
        assert_eq!(read(&["k", "--", "-v"], "no").unwrap().value, "-v");
        assert_eq!(read(&["k", "--ignore-value"], "no").unwrap().value, "");
    }

    #[test]
    fn leases_are_hexadecimal() {
        let request = read(&["k", "v", "--lease=1f", "--prev-kv", "--ignore-lease"], "").unwrap();
        assert_eq!((request.lease, request.prev_kv, request.ignore_lease), (31, true, true));
        assert_eq!(
            read(&["k", "v", "--lease=xyz"], "").unwrap_err().to_string(),
            "bad lease ID (strconv.ParseInt: parsing \"xyz\": invalid syntax), expecting ID in Hex"
        );
    }

    #[test]
    fn missing_and_contradictory_arguments_are_refused() {
        for (args, text) in [
            (&[][..], "put command needs 1 argument and input from stdin or 2 arguments"),
            (&["k"], "put command needs 1 argument and input from stdin or 2 arguments"),
            (&["k", "v", "--ignore-value"], "put command needs only 1 argument when 'ignore-value' is set"),
        ] {
            let error = read(args, "").unwrap_err();
            assert_eq!((error.to_string().as_str(), error.exit_code()), (text, 128));
        }
    }
}
