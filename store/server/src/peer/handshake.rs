//! The first bytes of a peer connection: who speaks, to whom, in which versions, about which cluster. A mismatch is refused by name,
//! so that a wrong address or an old binary says so in the log instead of corrupting anything.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_core::log::MemberId;
use quorate_core::membership::Membership;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Versions of the frames that this binary speaks.
pub const PROTOCOL_MIN: u16 = 1;
/// 2 added the call `Integrity`, 3 the frame `Reachable`.
pub const PROTOCOL_MAX: u16 = 3;
/// From this version on a peer can be asked for its hashes.
pub const PROTOCOL_INTEGRITY: u16 = 2;
/// From this version on a peer wants to hear where its caller is reached.
pub const PROTOCOL_REACHABLE: u16 = 3;
/// What an acceptor speaks at most that does not say it: only those of version 3 do.
const PROTOCOL_UNSAID: u16 = 2;
/// Highest feature level that this binary can apply.
pub const FEATURE_LEVEL: u32 = quorate_core::feature::KNOWN;

const MAGIC: u32 = 0x5152_5450;
const HELLO_BYTES_MAX: u32 = 4096;

/// What the connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    Frames,
    Snapshot,
    /// A member that was added by etcd's own call asks which configuration it belongs to; it knows no ids yet.
    Discover,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    pub channel: Channel,
    pub protocol_min: u16,
    pub protocol_max: u16,
    pub feature_level: u32,
    pub cluster_id: u64,
    pub from: MemberId,
    pub to: MemberId,
    pub boot: u64,
    /// Of the sender's directory; empty when it was founded by flags.
    pub disk_id: String,
}

/// Why the acceptor wants no such connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("cluster ID mismatch: this member is of cluster {ours:x}, the caller of {theirs:x}")]
    Cluster { ours: u64, theirs: u64 },
    #[error("member ID mismatch: this is member {ours:x}, the caller wanted {wanted:x}; check the peer URLs")]
    Member { ours: u64, wanted: u64 },
    #[error("no protocol in common: this member speaks {PROTOCOL_MIN} to {PROTOCOL_MAX}, the caller {min} to {max}")]
    Protocol { min: u16, max: u16 },
    #[error("feature level {required} is in force, the caller knows up to {theirs}: upgrade it")]
    FeatureLevel { required: u32, theirs: u32 },
    #[error("member {0:x} was removed from the cluster")]
    Removed(u64),
    #[error("member {0:x} is not in the configuration")]
    Unknown(u64),
    #[error(
        "member {member:x} comes with disk {theirs}, it was added with disk {expected}: its disk was lost or copied"
    )]
    Disk { member: u64, expected: String, theirs: String },
}

const ACCEPTED: u8 = 0;
const REFUSED: u8 = 1;
const REFUSED_REMOVED: u8 = 2;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the other side is no Quorate peer: {0}")]
    Malformed(&'static str),
    /// The peer says that this member was removed.
    #[error("refused by the peer: {0}")]
    Removed(String),
    #[error("refused by the peer: {0}")]
    Refused(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Hello {
    fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(96);
        out.put_u8(match self.channel {
            Channel::Frames => 1,
            Channel::Snapshot => 2,
            Channel::Discover => 3,
        });
        out.put_u16(self.protocol_min);
        out.put_u16(self.protocol_max);
        out.put_u32(self.feature_level);
        out.put_u64(self.cluster_id);
        out.put_u64(self.from);
        out.put_u64(self.to);
        out.put_u64(self.boot);
        out.put_slice(self.disk_id.as_bytes());
        out.freeze()
    }

    fn decode(mut data: Bytes) -> Result<Hello, Error> {
        if data.len() < 41 {
            return Err(Error::Malformed("its hello is too short"));
        }
        let channel = match data.get_u8() {
            1 => Channel::Frames,
            2 => Channel::Snapshot,
            3 => Channel::Discover,
            _ => return Err(Error::Malformed("it wants an unknown kind of channel")),
        };
        Ok(Hello {
            channel,
            protocol_min: data.get_u16(),
            protocol_max: data.get_u16(),
            feature_level: data.get_u32(),
            cluster_id: data.get_u64(),
            from: data.get_u64(),
            to: data.get_u64(),
            boot: data.get_u64(),
            disk_id: String::from_utf8(data.to_vec()).map_err(|_| Error::Malformed("its disk id is no text"))?,
        })
    }

    /// Whether the acceptor, itself `member` of `cluster_id`, takes the connection. A member that was just admitted knows no
    /// configuration yet and takes any member of its cluster.
    ///
    /// # Errors
    /// The first mismatch, by name.
    pub fn check(&self, cluster_id: u64, member: MemberId, level: u32, membership: &Membership) -> Result<(), Refusal> {
        if self.protocol_min > PROTOCOL_MAX || self.protocol_max < PROTOCOL_MIN {
            return Err(Refusal::Protocol { min: self.protocol_min, max: self.protocol_max });
        }
        if self.channel == Channel::Discover {
            return Ok(());
        }
        if self.cluster_id != cluster_id {
            return Err(Refusal::Cluster { ours: cluster_id, theirs: self.cluster_id });
        }
        if self.to != member {
            return Err(Refusal::Member { ours: member, wanted: self.to });
        }
        if self.feature_level < level {
            return Err(Refusal::FeatureLevel { required: level, theirs: self.feature_level });
        }
        if membership.is_removed(self.from) {
            return Err(Refusal::Removed(self.from));
        }
        match membership.get(self.from) {
            Some(known) if known.disk_id != self.disk_id && !known.disk_id.is_empty() => {
                Err(Refusal::Disk { member: self.from, expected: known.disk_id.clone(), theirs: self.disk_id.clone() })
            }
            // A joiner or a member that lags does not know everybody yet; raft itself ignores strangers.
            Some(_) | None => Ok(()),
        }
    }
}

/// The caller's side: says hello and waits for the answer. Returns the highest protocol that the acceptor speaks.
///
/// # Errors
/// The connection's, or the peer's refusal.
pub async fn call(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), hello: &Hello) -> Result<u16, Error> {
    let body = hello.encode();
    stream.write_u32(MAGIC).await?;
    stream.write_u32(u32::try_from(body.len()).map_err(|_| Error::Malformed("hello too long"))?).await?;
    stream.write_all(&body).await?;
    stream.flush().await?;
    if stream.read_u32().await? != MAGIC {
        return Err(Error::Malformed("its answer has another magic number"));
    }
    let status = stream.read_u8().await?;
    let text = read_short(stream).await?;
    let text = String::from_utf8_lossy(&text).into_owned();
    match status {
        ACCEPTED => Ok(text.parse().unwrap_or(PROTOCOL_UNSAID)),
        REFUSED_REMOVED => Err(Error::Removed(text)),
        _ => Err(Error::Refused(text)),
    }
}

/// The acceptor's side, first half: reads the hello.
///
/// # Errors
/// The connection's, or something that is no peer.
pub async fn receive(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<Hello, Error> {
    if stream.read_u32().await? != MAGIC {
        return Err(Error::Malformed("its hello has another magic number"));
    }
    Hello::decode(read_short(stream).await?.into())
}

/// The acceptor's side, second half. An acceptance says which protocol the acceptor speaks at most, which callers before version 3
/// do not read.
///
/// # Errors
/// The connection's.
pub async fn answer(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    refusal: Option<&Refusal>,
) -> Result<(), std::io::Error> {
    let (status, text) = match refusal {
        None => (ACCEPTED, PROTOCOL_MAX.to_string()),
        Some(removed @ Refusal::Removed(_)) => (REFUSED_REMOVED, removed.to_string()),
        Some(other) => (REFUSED, other.to_string()),
    };
    stream.write_u32(MAGIC).await?;
    stream.write_u8(status).await?;
    stream.write_u32(u32::try_from(text.len()).unwrap_or(0)).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await
}

async fn read_short(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Error> {
    let length = stream.read_u32().await?;
    if length > HELLO_BYTES_MAX {
        return Err(Error::Malformed("its first message is too long"));
    }
    let mut data = vec![0; length as usize];
    stream.read_exact(&mut data).await?;
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::membership::{Change, Member};

    fn hello() -> Hello {
        Hello {
            channel: Channel::Frames,
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL_MAX,
            feature_level: FEATURE_LEVEL,
            cluster_id: 7,
            from: 2,
            to: 1,
            boot: 5,
            disk_id: "d2".into(),
        }
    }

    fn membership() -> Membership {
        let member =
            |id| Member { id, peer_urls: vec![format!("p{id}")], disk_id: format!("d{id}"), ..Default::default() };
        let mut membership = Membership::seeded((1..=3).map(member));
        membership.apply(4, Change::Remove(3));
        membership
    }

    #[test]
    fn every_mismatch_is_refused_by_name() {
        for (changed, expected) in [
            (hello(), Ok(())),
            (Hello { cluster_id: 8, ..hello() }, Err(Refusal::Cluster { ours: 7, theirs: 8 })),
            (Hello { to: 9, ..hello() }, Err(Refusal::Member { ours: 1, wanted: 9 })),
            (Hello { protocol_min: 4, protocol_max: 5, ..hello() }, Err(Refusal::Protocol { min: 4, max: 5 })),
            (Hello { feature_level: 0, ..hello() }, Err(Refusal::FeatureLevel { required: 1, theirs: 0 })),
            (Hello { from: 3, ..hello() }, Err(Refusal::Removed(3))),
            (
                Hello { disk_id: "empty".into(), ..hello() },
                Err(Refusal::Disk { member: 2, expected: "d2".into(), theirs: "empty".into() }),
            ),
        ] {
            assert_eq!(changed.check(7, 1, 1, &membership()), expected, "{changed:?}");
        }
    }

    #[tokio::test]
    async fn both_sides_understand_each_other() {
        let (mut caller, mut acceptor) = tokio::io::duplex(1024);
        let said = hello();
        let calling = tokio::spawn(async move { call(&mut caller, &said).await });
        assert_eq!(receive(&mut acceptor).await.unwrap(), hello());
        answer(&mut acceptor, Some(&Refusal::Removed(2))).await.unwrap();
        let error = calling.await.unwrap().unwrap_err();
        assert!(matches!(&error, Error::Removed(text) if text == "member 2 was removed from the cluster"), "{error}");
    }

    #[tokio::test]
    async fn a_caller_learns_what_its_peer_speaks_also_from_one_that_does_not_say_it() {
        for (text, expected) in [(PROTOCOL_MAX.to_string(), PROTOCOL_MAX), (String::new(), PROTOCOL_UNSAID)] {
            let (mut caller, mut acceptor) = tokio::io::duplex(1024);
            let calling = tokio::spawn(async move { call(&mut caller, &hello()).await });
            receive(&mut acceptor).await.unwrap();
            if text.is_empty() {
                acceptor.write_u32(MAGIC).await.unwrap();
                acceptor.write_u8(ACCEPTED).await.unwrap();
                acceptor.write_u32(0).await.unwrap();
            } else {
                answer(&mut acceptor, None).await.unwrap();
            }
            assert_eq!(calling.await.unwrap().unwrap(), expected);
        }
    }
}
