//! A replicated command and the batch of them that makes one raft entry.
//!
//! Everything random or timed was decided before a command was made: applying it gives the same bytes on every member.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::encoded_len_varint;
use quorate_api::etcdserverpb as pb;

/// Version of the batch encoding below; the first byte of every normal entry that is not empty.
pub const FORMAT: u8 = 1;

/// Names one command for ever: at most one execution, and the waiter that gets its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CommandId {
    /// The member that proposed it.
    pub member: u64,
    /// That member's boot, rising with each start.
    pub boot: u64,
    /// Rising per (member, boot).
    pub counter: u64,
}

/// Proof that an expiry was proposed for exactly the lease that expired (`store.md` section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// Raft index of the grant; a lease granted again under the same id has another one.
    pub grant_index: u64,
    /// Term of the leader that saw it expire; of no effect in any later term.
    pub term: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    Put(pb::PutRequest),
    DeleteRange(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(pb::CompactionRequest),
    /// The id is never 0 here: it was drawn before proposing.
    LeaseGrant(pb::LeaseGrantRequest),
    LeaseRevoke {
        id: i64,
        expiry: Option<Expiry>,
    },
    Alarm(pb::AlarmRequest),
    /// A member publishes its name and client URLs once it has a leader.
    MemberAttributes {
        member: u64,
        name: String,
        client_urls: Vec<String>,
    },
    /// Raises what may be proposed; never lowers.
    FeatureLevel(u32),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    pub id: CommandId,
    /// The caller; empty with auth off.
    pub user: String,
    /// The auth revision under which the caller was authenticated; 0 with auth off.
    pub auth_revision: u64,
    pub request: Request,
}

/// Why an entry cannot be read. It was committed, so the member stops: skipping a command would fork the state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("command batch has format {found}, this version reads up to {FORMAT}: upgrade this member before it joins")]
    Format { found: u8 },
    #[error(
        "command of kind {kind} is unknown to this version: upgrade this member before the feature level is raised"
    )]
    Kind { kind: u8 },
    #[error("command batch ends {missing} bytes early")]
    Truncated { missing: usize },
    #[error("command of kind {kind} does not decode: {reason}")]
    Payload { kind: u8, reason: String },
}

const KIND_PUT: u8 = 1;
const KIND_DELETE_RANGE: u8 = 2;
const KIND_TXN: u8 = 3;
const KIND_COMPACT: u8 = 4;
const KIND_LEASE_GRANT: u8 = 5;
const KIND_LEASE_REVOKE: u8 = 6;
const KIND_ALARM: u8 = 7;
const KIND_MEMBER_ATTRIBUTES: u8 = 8;
const KIND_FEATURE_LEVEL: u8 = 9;

/// Bytes before a command's payload: id (24), auth revision (8), kind (1), user length (2), payload length (4).
const HEAD_BYTES: usize = 39;

/// The size of an encoded command as etcd counts it against its limit: the request in its raft message, whose header holds the
/// request's id, which begins with the last 16 bits of the member's.
pub fn counted_bytes(encoded: &[u8], member: u64) -> usize {
    let request = encoded.len().saturating_sub(HEAD_BYTES);
    let id = encoded_len_varint((member & 0xffff) << 48 | 1);
    // Tag and length of the header, tag of the id; tag of the request.
    let header = 2 + 1 + 1 + id;
    header + 1 + encoded_len_varint(request as u64) + request
}

/// Collects commands into the data of one entry. Shape: `FORMAT`, then each command as head, user, payload; integers big-endian.
#[derive(Debug)]
pub struct BatchBuilder {
    data: BytesMut,
    count: usize,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        let mut data = BytesMut::with_capacity(4096);
        data.put_u8(FORMAT);
        BatchBuilder { data, count: 0 }
    }
}

impl BatchBuilder {
    pub fn push(&mut self, command: &Command) {
        encode_command(command, &mut self.data);
        self.count += 1;
    }

    /// Appends a command that `encode` made, as a forward carries it.
    pub fn push_encoded(&mut self, encoded: &[u8]) {
        self.data.put_slice(encoded);
        self.count += 1;
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    pub fn finish(self) -> Bytes {
        self.data.freeze()
    }
}

/// One command as it stands in a batch, without the format byte.
pub fn encode(command: &Command) -> Bytes {
    let mut data = BytesMut::with_capacity(256);
    encode_command(command, &mut data);
    data.freeze()
}

fn encode_command(command: &Command, data: &mut BytesMut) {
    let Command { id, user, auth_revision, request } = command;
    data.put_u64(id.member);
    data.put_u64(id.boot);
    data.put_u64(id.counter);
    data.put_u64(*auth_revision);
    let (kind, length) = kind_and_length(request);
    data.put_u8(kind);
    let user_length = u16::try_from(user.len()).expect("validation limits user names to 64 KiB");
    data.put_u16(user_length);
    data.put_u32(u32::try_from(length).expect("validation limits requests far below 4 GiB"));
    data.put_slice(user.as_bytes());
    let start = data.len();
    encode_payload(request, data);
    assert_eq!(data.len() - start, length, "the payload has the length that its head says");
}

fn kind_and_length(request: &Request) -> (u8, usize) {
    match request {
        Request::Put(r) => (KIND_PUT, r.encoded_len()),
        Request::DeleteRange(r) => (KIND_DELETE_RANGE, r.encoded_len()),
        Request::Txn(r) => (KIND_TXN, r.encoded_len()),
        Request::Compact(r) => (KIND_COMPACT, r.encoded_len()),
        Request::LeaseGrant(r) => (KIND_LEASE_GRANT, r.encoded_len()),
        Request::LeaseRevoke { expiry, .. } => (KIND_LEASE_REVOKE, if expiry.is_some() { 24 } else { 8 }),
        Request::Alarm(r) => (KIND_ALARM, r.encoded_len()),
        Request::MemberAttributes { member, name, client_urls } => {
            (KIND_MEMBER_ATTRIBUTES, attributes(*member, name, client_urls).encoded_len())
        }
        Request::FeatureLevel(_) => (KIND_FEATURE_LEVEL, 4),
    }
}

/// A member's published attributes travel as etcd's Member message.
fn attributes(id: u64, name: &str, client_urls: &[String]) -> pb::Member {
    pb::Member { id, name: name.to_owned(), client_ur_ls: client_urls.to_vec(), ..Default::default() }
}

fn encode_payload(request: &Request, data: &mut BytesMut) {
    const GROWS: &str = "a BytesMut grows as needed";
    match request {
        Request::Put(r) => r.encode(data).expect(GROWS),
        Request::DeleteRange(r) => r.encode(data).expect(GROWS),
        Request::Txn(r) => r.encode(data).expect(GROWS),
        Request::Compact(r) => r.encode(data).expect(GROWS),
        Request::LeaseGrant(r) => r.encode(data).expect(GROWS),
        Request::LeaseRevoke { id, expiry } => {
            data.put_i64(*id);
            if let Some(Expiry { grant_index, term }) = expiry {
                data.put_u64(*grant_index);
                data.put_u64(*term);
            }
        }
        Request::Alarm(r) => r.encode(data).expect(GROWS),
        Request::MemberAttributes { member, name, client_urls } => {
            attributes(*member, name, client_urls).encode(data).expect(GROWS);
        }
        Request::FeatureLevel(level) => data.put_u32(*level),
    }
}

/// Reads the data of a normal entry; an empty entry is an empty batch.
///
/// # Errors
/// Anything that this version does not fully understand.
pub fn decode(mut data: Bytes) -> Result<Vec<Command>, Error> {
    if data.is_empty() {
        return Ok(Vec::new());
    }
    let format = data.get_u8();
    if format != FORMAT {
        return Err(Error::Format { found: format });
    }
    let mut commands = Vec::new();
    while !data.is_empty() {
        commands.push(decode_command(&mut data)?);
    }
    Ok(commands)
}

fn take(data: &mut Bytes, length: usize) -> Result<Bytes, Error> {
    if data.len() < length {
        return Err(Error::Truncated { missing: length - data.len() });
    }
    Ok(data.split_to(length))
}

fn decode_command(data: &mut Bytes) -> Result<Command, Error> {
    let mut head = take(data, HEAD_BYTES)?;
    let id = CommandId { member: head.get_u64(), boot: head.get_u64(), counter: head.get_u64() };
    let auth_revision = head.get_u64();
    let kind = head.get_u8();
    let user_length = usize::from(head.get_u16());
    let length = head.get_u32() as usize;
    let user = take(data, user_length)?;
    let user = String::from_utf8(user.to_vec()).map_err(|error| Error::Payload { kind, reason: error.to_string() })?;
    let request = decode_payload(kind, take(data, length)?)?;
    Ok(Command { id, user, auth_revision, request })
}

fn decode_payload(kind: u8, mut payload: Bytes) -> Result<Request, Error> {
    fn message<M: Message + Default>(kind: u8, payload: Bytes) -> Result<M, Error> {
        M::decode(payload).map_err(|error| Error::Payload { kind, reason: error.to_string() })
    }
    Ok(match kind {
        KIND_PUT => Request::Put(message(kind, payload)?),
        KIND_DELETE_RANGE => Request::DeleteRange(message(kind, payload)?),
        KIND_TXN => Request::Txn(message(kind, payload)?),
        KIND_COMPACT => Request::Compact(message(kind, payload)?),
        KIND_LEASE_GRANT => Request::LeaseGrant(message(kind, payload)?),
        KIND_LEASE_REVOKE => match payload.len() {
            8 => Request::LeaseRevoke { id: payload.get_i64(), expiry: None },
            24 => Request::LeaseRevoke {
                id: payload.get_i64(),
                expiry: Some(Expiry { grant_index: payload.get_u64(), term: payload.get_u64() }),
            },
            length => return Err(Error::Payload { kind, reason: format!("{length} bytes, not 8 or 24") }),
        },
        KIND_ALARM => Request::Alarm(message(kind, payload)?),
        KIND_MEMBER_ATTRIBUTES => {
            let member: pb::Member = message(kind, payload)?;
            Request::MemberAttributes { member: member.id, name: member.name, client_urls: member.client_ur_ls }
        }
        KIND_FEATURE_LEVEL if payload.len() == 4 => Request::FeatureLevel(payload.get_u32()),
        KIND_FEATURE_LEVEL => {
            return Err(Error::Payload { kind, reason: format!("{} bytes, not 4", payload.len()) });
        }
        kind => return Err(Error::Kind { kind }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(counter: u64, request: Request) -> Command {
        Command { id: CommandId { member: 7, boot: 2, counter }, user: "alice".to_owned(), auth_revision: 3, request }
    }

    #[test]
    fn a_batch_reads_back_as_the_commands_it_was_made_of() {
        let commands = vec![
            command(1, Request::Put(pb::PutRequest { key: "k".into(), value: "v".into(), ..Default::default() })),
            command(2, Request::LeaseRevoke { id: -5, expiry: Some(Expiry { grant_index: 9, term: 4 }) }),
            command(3, Request::LeaseRevoke { id: 6, expiry: None }),
            command(4, Request::FeatureLevel(2)),
            command(5, Request::MemberAttributes { member: 1, name: "m".into(), client_urls: vec!["http://a".into()] }),
        ];
        let mut batch = BatchBuilder::default();
        batch.push(&commands[0]);
        for command in &commands[1..] {
            batch.push_encoded(&encode(command));
        }
        assert_eq!(decode(batch.finish()), Ok(commands));
    }

    #[test]
    fn an_unknown_format_kind_or_a_cut_batch_is_refused() {
        let mut batch = BatchBuilder::default();
        batch.push(&command(1, Request::FeatureLevel(2)));
        let good = batch.finish();
        let mut future = good.to_vec();
        future[0] = FORMAT + 1;
        assert_eq!(decode(future.into()), Err(Error::Format { found: FORMAT + 1 }));
        let mut unknown = good.to_vec();
        unknown[1 + 32] = 200;
        assert_eq!(decode(unknown.into()), Err(Error::Kind { kind: 200 }));
        assert_eq!(decode(good.slice(..good.len() - 1)), Err(Error::Truncated { missing: 1 }));
    }
}
