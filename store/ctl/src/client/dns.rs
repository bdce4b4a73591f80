//! SRV records from DNS in the way of Go's resolver, because etcd's tools use it and scripts know its words: which names and
//! servers are asked in which order, what is made of the answers, and what an error says. The machine's `/etc/resolv.conf`
//! says whom to ask.

mod exchange;

use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use resolv_conf::Config;
use simple_dns::rdata::RData;
use simple_dns::{Packet, PacketFlag, RCODE};

use exchange::Question;

const SETTINGS: &str = "/etc/resolv.conf";
const PORT: u16 = 53;
/// Servers behind the third are not asked, by the C library neither.
const SERVERS_MAX: usize = 3;
/// More dots are not waited for before a name is tried as it stands.
const NDOTS_MAX: usize = 15;
/// Characters of a name with its last dot, by RFC 1035.
const NAME_LENGTH_MAX: usize = 254;
const LABEL_LENGTH_MAX: usize = 63;

/// One SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub priority: u16,
    pub weight: u16,
    /// With the dot at the end.
    pub target: String,
    pub port: u16,
}

/// Why a name has no records, in the words of Go's resolver.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    #[error("no such host")]
    NoSuchHost,
    #[error("server misbehaving")]
    Misbehaving,
    #[error("lame referral")]
    LameReferral,
    #[error("cannot unmarshal DNS message")]
    Malformed,
    #[error("DNS response contained records which contain invalid names")]
    InvalidTarget,
    #[error("i/o timeout")]
    Timeout,
    #[error("{}", .0.kind())]
    Io(io::Error),
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Reason {
        match error.kind() {
            io::ErrorKind::TimedOut => Reason::Timeout,
            io::ErrorKind::InvalidData => Reason::Malformed,
            _ => Reason::Io(error),
        }
    }
}

/// A name that DNS gave no records for.
#[derive(Debug, thiserror::Error)]
#[error("lookup {name}{}: {reason}", .server.map(|server| format!(" on {server}")).unwrap_or_default())]
pub struct LookupError {
    name: String,
    /// Who was asked last, if anyone was.
    server: Option<SocketAddr>,
    reason: Reason,
}

/// Whom to ask, and how.
#[derive(Debug, Clone)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    /// Domains behind a name that is not found as it stands; with the dot at the end.
    search: Vec<String>,
    /// A name with fewer dots is tried behind the others.
    ndots: usize,
    /// For one server's answer.
    timeout: Duration,
    /// Rounds over all servers; at least one.
    attempts: u32,
    tcp_only: bool,
}

impl Resolver {
    /// By the machine's settings. A line that means nothing is ignored, and without the file this machine itself is asked.
    pub fn of_this_machine() -> Resolver {
        Resolver::new(&fs::read(SETTINGS).unwrap_or_default())
    }

    fn new(settings: &[u8]) -> Resolver {
        let (config, _) = Config::parse_with_errors(settings);
        let servers = config.get_nameservers_or_local();
        let addresses = servers.iter().take(SERVERS_MAX).filter_map(|server| {
            // The text, since an address may name its interface.
            (server.to_string().as_str(), PORT).to_socket_addrs().ok()?.next()
        });
        let mut search: Vec<String> = config.get_last_search_or_domain().map(|domain| rooted(domain)).collect();
        if search.is_empty() {
            search.extend(config.get_system_domain().map(|domain| rooted(&domain)));
        }
        search.retain(|domain| domain != ".");
        Resolver {
            servers: addresses.collect(),
            search,
            ndots: (config.ndots as usize).min(NDOTS_MAX),
            timeout: Duration::from_secs(config.timeout.max(1).into()),
            attempts: config.attempts.max(1),
            tcp_only: config.use_vc,
        }
    }

    /// The records of `_service._tcp.domain`, in the order of the answer; at least one.
    pub async fn services(&self, service: &str, domain: &str) -> Result<Vec<Service>, LookupError> {
        let name = format!("_{service}._tcp.{domain}");
        let failed = |(server, reason)| LookupError { name: name.clone(), server, reason };
        if !is_domain_name(&name) {
            return Err(failed((None, Reason::NoSuchHost)));
        }
        let mut result = Err((None, Reason::NoSuchHost));
        for candidate in self.candidates(&name) {
            result = self.ask(&candidate).await;
            if result.is_ok() {
                break;
            }
        }
        let services = result.map_err(failed)?;
        if services.iter().all(|service| is_domain_name(&service.target)) {
            Ok(services)
        } else {
            Err(LookupError { name: domain.to_owned(), server: None, reason: Reason::InvalidTarget })
        }
    }

    /// The names to ask for, one after the other; each ends with a dot.
    fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let mut names: Vec<String> = self.search.iter().map(|suffix| format!("{name}.{suffix}")).collect();
        let first = name.matches('.').count() >= self.ndots;
        names.insert(if first { 0 } else { names.len() }, format!("{name}."));
        names.retain(|name| name.len() <= NAME_LENGTH_MAX);
        names
    }

    /// Asks one server after the other until one of them knows whether the name has records.
    async fn ask(&self, name: &str) -> Result<Vec<Service>, (Option<SocketAddr>, Reason)> {
        let question = Question::new(name).ok_or((None, Reason::NoSuchHost))?;
        let mut last = (None, Reason::NoSuchHost);
        for server in (0..self.attempts).flat_map(|_| &self.servers) {
            let answer = exchange::exchange(*server, &question, self.timeout, self.tcp_only).await;
            match answer.map_err(Reason::from).and_then(|answer| judge(&answer)) {
                Ok(services) => return Ok(services),
                Err(Reason::NoSuchHost) => return Err((Some(*server), Reason::NoSuchHost)),
                Err(reason) => last = (Some(*server), reason),
            }
        }
        Err(last)
    }
}

/// The records in an answer.
fn judge(answer: &[u8]) -> Result<Vec<Service>, Reason> {
    let answer = Packet::parse(answer).map_err(|_| Reason::Malformed)?;
    let knows = PacketFlag::AUTHORITATIVE_ANSWER | PacketFlag::RECURSION_AVAILABLE;
    match answer.rcode() {
        RCODE::NameError => return Err(Reason::NoSuchHost),
        RCODE::NoError => {}
        _ => return Err(Reason::Misbehaving),
    }
    let additional = answer.opt().is_some() || !answer.additional_records.is_empty();
    let services = answer.answers.iter().filter_map(|record| match &record.rdata {
        RData::SRV(record) => Some(Service {
            priority: record.priority,
            weight: record.weight,
            target: rooted(&record.target.to_string()),
            port: record.port,
        }),
        // An alias that led to the records.
        _ => None,
    });
    match services.collect::<Vec<_>>() {
        found if !found.is_empty() => Ok(found),
        _ if answer.answers.is_empty() && !additional && !has_any(&answer, knows) => Err(Reason::LameReferral),
        _ => Err(Reason::NoSuchHost),
    }
}

fn has_any(packet: &Packet<'_>, flags: PacketFlag) -> bool {
    flags.iter().any(|flag| packet.has_flags(flag))
}

fn rooted(domain: &str) -> String {
    if domain.ends_with('.') { domain.to_owned() } else { format!("{domain}.") }
}

/// What Go takes for one: labels of letters, digits, hyphens inside, and underscores; not only digits.
fn is_domain_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LABEL_LENGTH_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let inner = name.strip_suffix('.').unwrap_or(name);
    name == "."
        || inner.len() < NAME_LENGTH_MAX
            && inner.split('.').all(is_label)
            && inner.bytes().any(|byte| !byte.is_ascii_digit() && byte != b'.')
}

#[cfg(test)]
mod tests {
    use simple_dns::rdata::SRV;
    use simple_dns::{CLASS, Name, ResourceRecord};

    use super::*;

    fn addresses(resolver: &Resolver) -> Vec<String> {
        resolver.servers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn settings_are_read_as_far_as_they_mean_anything() {
        let text = "nameserver 192.0.2.1\nbogus line\nnameserver 2001:db8::1\nnameserver xyz\nnameserver 192.0.2.3\n\
                    nameserver 192.0.2.4\nsearch a.test . b.test.\noptions ndots:40 timeout:0 attempts:0 use-vc bogus:1\n";
        let resolver = Resolver::new(text.as_bytes());
        assert_eq!(addresses(&resolver), ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.3:53"]);
        assert_eq!(resolver.search, ["a.test.", "b.test."]);
        assert_eq!((resolver.ndots, resolver.timeout, resolver.attempts), (15, Duration::from_secs(1), 1));
        assert!(resolver.tcp_only);
        let resolver = Resolver::new(b"");
        assert_eq!(addresses(&resolver), ["127.0.0.1:53", "[::1]:53"]);
        assert_eq!((resolver.ndots, resolver.timeout, resolver.attempts), (1, Duration::from_secs(5), 2));
    }

    #[test]
    fn a_name_with_enough_dots_is_tried_as_it_stands_first() {
        let resolver = |ndots| Resolver::new(format!("search s.test\noptions ndots:{ndots}\n").as_bytes());
        assert_eq!(resolver(1).candidates("_a._tcp.d"), ["_a._tcp.d.", "_a._tcp.d.s.test."]);
        assert_eq!(resolver(3).candidates("_a._tcp.d"), ["_a._tcp.d.s.test.", "_a._tcp.d."]);
        assert_eq!(resolver(3).candidates("_a._tcp.d."), ["_a._tcp.d."]);
        let long = ["x".repeat(62).as_str(); 4].join(".");
        assert_eq!(resolver(1).candidates(&long), [format!("{long}.")]);
    }

    #[test]
    fn names_are_what_go_takes_for_one() {
        for name in [".", "a", "_x._tcp.example.test.", "1.a", "a-b", &["x".repeat(63).as_str(); 3].join(".")] {
            assert!(is_domain_name(name), "{name}");
        }
        for name in
            ["", "a..b", "-a", "a-.b", "a b", "ä", "1.2", &"x".repeat(64), &["x".repeat(63).as_str(); 4].join(".")]
        {
            assert!(!is_domain_name(name), "{name}");
        }
    }

    fn answer(rcode: RCODE, flags: PacketFlag, targets: &[&str]) -> Result<Vec<Service>, Reason> {
        let mut packet = Packet::new_reply(1);
        *packet.rcode_mut() = rcode;
        packet.set_flags(flags);
        packet.answers = targets
            .iter()
            .map(|target| {
                let record = SRV { priority: 1, weight: 2, port: 2379, target: Name::new(target).unwrap() };
                ResourceRecord::new(Name::new("_a._tcp.d").unwrap(), CLASS::IN, 60, RData::SRV(record))
            })
            .collect();
        judge(&packet.build_bytes_vec().unwrap())
    }

    #[test]
    fn answers_are_told_apart() {
        let own = PacketFlag::AUTHORITATIVE_ANSWER;
        let service = |target: &str| Service { priority: 1, weight: 2, target: target.into(), port: 2379 };
        assert_eq!(answer(RCODE::NoError, own, &["m1.d", "m2.d"]).unwrap(), [service("m1.d."), service("m2.d.")]);
        assert!(matches!(answer(RCODE::NameError, own, &[]), Err(Reason::NoSuchHost)));
        assert!(matches!(answer(RCODE::NoError, own, &[]), Err(Reason::NoSuchHost)));
        assert!(matches!(answer(RCODE::NoError, PacketFlag::RECURSION_AVAILABLE, &[]), Err(Reason::NoSuchHost)));
        assert!(matches!(answer(RCODE::NoError, PacketFlag::empty(), &[]), Err(Reason::LameReferral)));
        assert!(matches!(answer(RCODE::ServerFailure, own, &[]), Err(Reason::Misbehaving)));
        assert!(matches!(answer(RCODE::Refused, own, &["m1.d"]), Err(Reason::Misbehaving)));
        assert!(matches!(judge(b"short"), Err(Reason::Malformed)));
    }
}
