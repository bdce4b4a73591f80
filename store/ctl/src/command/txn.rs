//! `txn`: reads comparisons, operations for success and operations for failure from standard input, each block ended by an
//! empty line, and runs them as one transaction.

use std::io::BufRead;

use bytes::Bytes;
use quorate_api::etcdserverpb::request_op::Request;
use quorate_api::etcdserverpb::{RequestOp, TxnRequest};

use super::{Context, del, get, put, write};
use crate::Error;
use crate::flags::{self, Flag, Kind, Parsed};
use crate::txn::operation::arguments;
use crate::txn::{self, compare};

const INTERACTIVE: Flag =
    Flag { name: "interactive", short: Some('i'), kind: Kind::Bool(false), help: "ask for each block" };

pub const FLAGS: &[Flag] = &[INTERACTIVE];

pub const DETAILS: &str = "\
Standard input holds three blocks, each ended by an empty line:
  comparisons                        mod(\"key\") > \"0\"
  operations if all of them hold     put key \"new value\"
  operations if one does not hold    get other --prefix
Comparisons name c/create, m/mod, val/value, ver/version or lease, and =, !=, < or >.
Operations are command lines of get, put and del.";

pub async fn run(context: &Context) -> Result<(), Error> {
    if !context.args().is_empty() {
        return Err(Error::Arguments("txn command does not accept argument"));
    }
    context.settings.format.refuse_table()?;
    let request = read(std::io::stdin().lock(), context.parsed.bool(&INTERACTIVE)).await?;
    let response = context.call(async |client| client.kv().txn(request).await).await?;
    context.print(response.get_ref())
}

async fn read(mut input: impl BufRead, interactive: bool) -> Result<TxnRequest, Error> {
    let mut request = TxnRequest::default();
    prompt(interactive, "compares:\n")?;
    while let Some(line) = next_line(&mut input)? {
        request.compare.push(compare::parse(&line).map_err(Error::Txn)?);
    }
    prompt(interactive, "success requests (get, put, del):\n")?;
    while let Some(line) = next_line(&mut input)? {
        request.success.push(operation(&line).await?);
    }
    prompt(interactive, "failure requests (get, put, del):\n")?;
    while let Some(line) = next_line(&mut input)? {
        request.failure.push(operation(&line).await?);
    }
    Ok(request)
}

fn prompt(interactive: bool, text: &str) -> Result<(), Error> {
    if interactive { Ok(write(text.as_bytes())?) } else { Ok(()) }
}

/// The next line of a block without spaces around it; `None` where the block ends.
fn next_line(input: &mut impl BufRead) -> Result<Option<String>, Error> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Err(Error::Txn(txn::Error::InputEnded));
    }
    let line = line.trim();
    Ok((!line.is_empty()).then(|| line.to_owned()))
}

/// One operation, from the command line of a command.
async fn operation(line: &str) -> Result<RequestOp, Error> {
    let refused = || Error::Txn(txn::Error::UnknownOperation(line.to_owned()));
    let arguments = arguments(line).map_err(Error::Txn)?;
    let [name, arguments @ ..] = arguments.as_slice() else { return Err(refused()) };
    if arguments.is_empty() {
        return Err(Error::Txn(txn::Error::Invalid(line.to_owned())));
    }
    let parse = |known: &[Flag]| -> Result<Parsed, Error> {
        flags::parse(&[known], arguments).map_err(|error| {
            eprintln!("{error}");
            refused()
        })
    };
    let matches = |command: &str| command.as_bytes().starts_with(name);
    let request = if matches("get") {
        Request::RequestRange(get::request(&parse(get::FLAGS)?)?)
    } else if matches("put") {
        Request::RequestPut(put::request(&parse(put::FLAGS)?, || Ok(Bytes::new()))?)
    } else if matches("del") {
        let parsed = parse(del::FLAGS)?;
        let request = del::request(&parsed)?;
        del::warn(&parsed).await;
        Request::RequestDeleteRange(request)
    } else {
        return Err(refused());
    };
    Ok(RequestOp { request: Some(request) })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parse(input: &str) -> Result<TxnRequest, (String, u8)> {
        read(input.as_bytes(), false).await.map_err(|error| (error.to_string(), error.exit_code()))
    }

    #[tokio::test]
    async fn three_blocks_make_a_transaction() {
        let request = parse("mod(\"a\") > \"0\"\n  \nput a 9 --prev-kv\nge a --rev 5\n\t\n  del   a   b --range  \n\n")
            .await
            .unwrap();
        assert_eq!(request.compare, [compare::parse("mod(\"a\") > \"0\"").unwrap()]);
        let kinds: Vec<String> = request
            .success
            .iter()
            .chain(&request.failure)
            .map(|op| match op.request.as_ref().unwrap() {
                Request::RequestPut(put) => format!("put {:?} {:?} {}", put.key, put.value, put.prev_kv),
                Request::RequestRange(get) => format!("get {:?} {}", get.key, get.revision),
                Request::RequestDeleteRange(del) => format!("del {:?} {:?}", del.key, del.range_end),
                Request::RequestTxn(_) => "txn".to_owned(),
            })
            .collect();
        assert_eq!(kinds, ["put b\"a\" b\"9\" true", "get b\"a\" 5", "del b\"a\" b\"b\""]);
        assert_eq!(parse("\n\n\n").await.unwrap(), TxnRequest::default());
    }

    #[tokio::test]
    async fn mistakes_have_etcdctls_texts_and_codes() {
        for (input, text, code) in [
            ("", "EOF", 3),
            ("\n\nput a 8\n", "EOF", 3),
            ("\n\nput a 8", "EOF", 3),
            ("garbage\n\n\n\n", "malformed comparison: garbage", 3),
            ("\nbogus a\n\n\n", "invalid txn request: bogus a", 3),
            ("\nGET a\n\n\n", "invalid txn request: GET a", 3),
            ("\nget\n\n\n", "invalid txn compare request: get", 3),
            ("\nget a --bogus\n\n\n", "invalid txn request: get a --bogus", 3),
            ("\nput a -1\n\n\n", "invalid txn request: put a -1", 3),
            ("\nput a \"\\q\"\n\n\n", "invalid syntax", 3),
            ("\nput a\n\n\n", "put command needs 1 argument and input from stdin or 2 arguments", 128),
            ("\nget a --order bogus\n\n\n", "bad sort order bogus", 4),
        ] {
            assert_eq!(parse(input).await, Err((text.to_owned(), code)), "{input:?}");
        }
    }
}
