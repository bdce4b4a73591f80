//! One question to one DNS server: by UDP, and by TCP when the answer is too long for that.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use simple_dns::rdata::OPT;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// What a datagram may hold without being cut into pieces on the way: the recommendation of DNS Flag Day 2020.
const DATAGRAM_BYTES_MAX: u16 = 1232;

/// A question for a name's SRV records, with the bytes that carry it.
pub struct Question {
    id: u16,
    name: String,
    bytes: Vec<u8>,
}

impl Question {
    /// Nothing for a name that DNS cannot carry.
    pub fn new(name: &str) -> Option<Question> {
        // Drawn, as the port is, so that nobody who does not see the question can answer it.
        let id = rand::random();
        let mut packet = Packet::new_query(id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        packet.questions.push(simple_dns::Question::new(Name::new(name).ok()?, srv(), internet(), false));
        *packet.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: DATAGRAM_BYTES_MAX, version: 0 });
        Some(Question { id, name: name.to_owned(), bytes: packet.build_bytes_vec().ok()? })
    }

    /// Whether these bytes answer it, and whether they are only the beginning of the answer.
    fn is_answered_by(&self, bytes: &[u8]) -> Option<Answered> {
        let packet = Packet::parse(bytes).ok()?;
        let question = packet.questions.first()?;
        let same = packet.id() == self.id
            && packet.has_flags(PacketFlag::RESPONSE)
            && question.qtype == srv()
            && question.qclass == internet()
            && question.qname == Name::new(&self.name).ok()?;
        same.then(|| if packet.has_flags(PacketFlag::TRUNCATION) { Answered::InPart } else { Answered::Whole })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    Whole,
    InPart,
}

const fn srv() -> QTYPE {
    QTYPE::TYPE(TYPE::SRV)
}

const fn internet() -> QCLASS {
    QCLASS::CLASS(CLASS::IN)
}

/// The answer's bytes. Each of UDP and TCP may take `limit`.
pub async fn exchange(server: SocketAddr, question: &Question, limit: Duration, tcp_only: bool) -> io::Result<Vec<u8>> {
    if !tcp_only {
        let (answer, answered) = timeout(limit, by_udp(server, question)).await??;
        if answered == Answered::Whole {
            return Ok(answer);
        }
    }
    timeout(limit, by_tcp(server, question)).await?
}

async fn by_udp(server: SocketAddr, question: &Question) -> io::Result<(Vec<u8>, Answered)> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(&question.bytes).await?;
    let mut answer = vec![0; DATAGRAM_BYTES_MAX.into()];
    // Bounded by the caller's limit; what does not answer the question may be forged and ends nothing.
    loop {
        let length = socket.recv(&mut answer).await?;
        if let Some(answered) = question.is_answered_by(&answer[..length]) {
            answer.truncate(length);
            return Ok((answer, answered));
        }
    }
}

async fn by_tcp(server: SocketAddr, question: &Question) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.bytes.len()).expect("a question holds one name, of 255 bytes at most");
    stream.write_all(&[&length.to_be_bytes(), question.bytes.as_slice()].concat()).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    match question.is_answered_by(&answer) {
        Some(_) => Ok(answer),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    /// The question's bytes turned into an answer to `name`.
    fn reply(question: &[u8], name: &str, truncated: bool) -> Vec<u8> {
        let mut packet = Packet::parse(question).unwrap().into_reply();
        packet.questions[0].qname = Name::new(name).unwrap();
        if truncated {
            packet.set_flags(PacketFlag::TRUNCATION);
        }
        packet.build_bytes_vec().unwrap()
    }

    #[tokio::test]
    async fn what_answers_another_question_is_not_taken() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let answering = tokio::spawn(async move {
            let mut question = [0; 512];
            let (length, client) = server.recv_from(&mut question).await.unwrap();
            let question = &question[..length];
            let mut foreign = reply(question, "_a._tcp.d", false);
            foreign[0] ^= 1;
            for bytes in [question, b"noise", &foreign, &reply(question, "_b._tcp.d", false)] {
                server.send_to(bytes, client).await.unwrap();
            }
            let right = reply(question, "_A._tcp.D", false);
            server.send_to(&right, client).await.unwrap();
            right
        });
        let question = Question::new("_a._tcp.d.").unwrap();
        let answer = exchange(address, &question, LIMIT, false).await.unwrap();
        assert_eq!(answer, answering.await.unwrap());
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_off_is_asked_for_again_by_tcp() {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).await.unwrap();
        let answering = tokio::spawn(async move {
            let mut question = [0; 512];
            let (length, client) = udp.recv_from(&mut question).await.unwrap();
            udp.send_to(&reply(&question[..length], "_a._tcp.d", true), client).await.unwrap();
            let (mut stream, _) = tcp.accept().await.unwrap();
            let mut question = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut question).await.unwrap();
            let answer = reply(&question, "_a._tcp.d", false);
            stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
            answer
        });
        let question = Question::new("_a._tcp.d.").unwrap();
        let answer = exchange(address, &question, LIMIT, false).await.unwrap();
        assert_eq!(answer, answering.await.unwrap());
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_given_up() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let question = Question::new("_a._tcp.d.").unwrap();
        let limit = Duration::from_millis(10);
        let error = exchange(server.local_addr().unwrap(), &question, limit, false).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
