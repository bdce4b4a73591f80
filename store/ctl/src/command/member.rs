//! `member add|remove|update|promote|list`.

use bytes::Bytes;
use quorate_api::admin::RebuildRequest;
use quorate_api::etcdserverpb::{
    MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest, MemberUpdateRequest,
};
use tokio::time::Instant;

use super::{Context, connect, get, text};
use crate::Error;
use crate::client::repeat_read;
use crate::flags::{Flag, Kind, flag};
use crate::go::number;
use crate::go::quote::quote;
use crate::render::member::{Added, Changed, Rebuilt};

const PEER_URLS: Flag = flag("peer-urls", Kind::Text(""), "comma separated peer URLs of the member");
const LEARNER: Flag = flag("learner", Kind::Bool(false), "add the member as a learner, without a vote");
const CONSISTENCY: Flag = flag("consistency", Kind::Text("l"), "Linearizable(l) or Serializable(s)");

pub const ADD: &[Flag] = &[PEER_URLS, LEARNER];
pub const UPDATE: &[Flag] = &[PEER_URLS];
pub const LIST: &[Flag] = &[CONSISTENCY];

pub async fn add(context: &Context) -> Result<(), Error> {
    let name = match context.args() {
        [] => return Err(Error::Arguments("member name not provided")),
        [name] => text(name),
        _ => return Err(Error::Arguments("too many arguments")),
    };
    let given = context.parsed.text(&PEER_URLS).to_owned();
    let peer_ur_ls = peer_urls(&given)?;
    context.settings.format.refuse_table()?;
    let request = MemberAddRequest { peer_ur_ls, is_learner: context.parsed.bool(&LEARNER) };
    let response = context.call(async |client| client.cluster().member_add(request).await).await?.into_inner();
    context.print(&Added { name, peer_urls: given, response })
}

pub async fn remove(context: &Context) -> Result<(), Error> {
    let id = parse_id(context.args())?;
    context.settings.format.refuse_table()?;
    let request = MemberRemoveRequest { id };
    let response = context.call(async |client| client.cluster().member_remove(request).await).await?.into_inner();
    context.print(&Changed { id, what: "removed from", response })
}

pub async fn update(context: &Context) -> Result<(), Error> {
    let id = parse_id(context.args())?;
    let peer_ur_ls = peer_urls(context.parsed.text(&PEER_URLS))?;
    context.settings.format.refuse_table()?;
    let request = MemberUpdateRequest { id, peer_ur_ls };
    let response = context.call(async |client| client.cluster().member_update(request).await).await?.into_inner();
    context.print(&Changed { id, what: "updated in", response })
}

pub async fn promote(context: &Context) -> Result<(), Error> {
    let id = parse_id(context.args())?;
    context.settings.format.refuse_table()?;
    let request = MemberPromoteRequest { id };
    let response = context.call(async |client| client.cluster().member_promote(request).await).await?.into_inner();
    context.print(&Changed { id, what: "promoted in", response })
}

/// Not etcd's: waits until the member has another state, as long as it takes, because what was begun goes on anyhow.
pub async fn rebuild(context: &Context) -> Result<(), Error> {
    if !context.args().is_empty() {
        return Err(Error::Arguments("too many arguments"));
    }
    let [_] = context.settings.client.endpoints[..] else {
        return Err(Error::Arguments("give --endpoints one member, the one to rebuild"));
    };
    let client = connect(&context.settings.client, Instant::now() + context.settings.command_timeout).await?;
    let response = client.recovery().rebuild(RebuildRequest {}).await?.into_inner();
    context.print(&Rebuilt { response })
}

pub async fn list(context: &Context) -> Result<(), Error> {
    let request = MemberListRequest { linearizable: !get::serializable(context.parsed.text(&CONSISTENCY))? };
    let response =
        context.call(async |client| repeat_read(async || client.cluster().member_list(request).await).await).await?;
    context.print(response.get_ref())
}

fn parse_id(args: &[Bytes]) -> Result<u64, Error> {
    let [id] = args else { return Err(Error::Arguments("member ID is not provided")) };
    number::parse_uint(&text(id), 16).map_err(|source| Error::BadId { what: "member ID arg", source })
}

/// Checks the URLs as etcd does: a scheme, host and port, and nothing behind them.
fn peer_urls(given: &str) -> Result<Vec<String>, Error> {
    if given.is_empty() {
        return Err(Error::Arguments("member peer urls not provided"));
    }
    given.split(',').map(|url| peer_url(url.trim())).collect()
}

fn peer_url(url: &str) -> Result<String, Error> {
    let refused = |text: String| Err(Error::PeerUrl(text));
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    match scheme {
        "unix" | "unixs" => return Ok(url.to_owned()),
        "http" | "https" => {}
        _ => return refused(format!("URL scheme must be http, https, unix, or unixs: {url}")),
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let port = authority.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
    match port {
        None => refused(format!("URL address does not have the form \"host:port\": {url}")),
        Some(port) if !port.bytes().all(|byte| byte.is_ascii_digit()) => {
            let port = format!(":{port}");
            refused(format!("parse {}: invalid port {} after host", quote(url.as_bytes()), quote(port.as_bytes())))
        }
        Some(_) if !path.is_empty() => refused(format!("URL must not contain a path: {url}")),
        Some(_) => Ok(url.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_urls_are_checked_with_etcds_texts() {
        assert_eq!(peer_urls("http://a:1, https://[::1]:2").unwrap(), ["http://a:1", "https://[::1]:2"]);
        for (given, text, code) in [
            ("", "member peer urls not provided", 128),
            ("bogus", "URL scheme must be http, https, unix, or unixs: bogus", 1),
            ("http://127.0.0.1", "URL address does not have the form \"host:port\": http://127.0.0.1", 1),
            ("http://127.0.0.1:1/path", "URL must not contain a path: http://127.0.0.1:1/path", 1),
            ("http://a:abc", "parse \"http://a:abc\": invalid port \":abc\" after host", 1),
        ] {
            let error = peer_urls(given).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.exit_code()), (text, code));
        }
    }

    #[test]
    fn ids_are_unsigned_and_hexadecimal() {
        assert_eq!(parse_id(&["8e9e05c52164694d".into()]).unwrap(), 0x8e9e_05c5_2164_694d);
        assert_eq!(
            parse_id(&["xyz".into()]).unwrap_err().to_string(),
            "bad member ID arg (strconv.ParseUint: parsing \"xyz\": invalid syntax), expecting ID in Hex"
        );
        for args in [&[][..], &["1".into(), "2".into()]] {
            assert_eq!(parse_id(args).unwrap_err().to_string(), "member ID is not provided");
        }
    }
}
