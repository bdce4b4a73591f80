//! Endpoints from DNS, as etcd's tools find them: the targets of `_etcd-client-ssl._tcp.DOMAIN` speak TLS, those of
//! `_etcd-client._tcp.DOMAIN` do not.

use super::dns::{LookupError, Resolver, Service};

const SERVICE: &str = "etcd-client";

/// Whom to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// The domain that holds the records.
    pub domain: String,
    /// What follows the service's name, for several clusters in one domain; empty = nothing.
    pub service_suffix: String,
    /// Whether endpoints without TLS count.
    pub insecure: bool,
}

/// Why no endpoint was found: neither service has records.
#[derive(Debug, thiserror::Error)]
#[error("dns lookup errors: {tls} and {plain}")]
pub struct Error {
    tls: Box<LookupError>,
    plain: Box<LookupError>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// `https://host:port`, then `http://host:port`, each in the order in which they are to be tried.
    pub endpoints: Vec<String>,
    /// Endpoints that do not count, because they are without TLS.
    pub ignored: Vec<String>,
}

impl Discovery {
    /// Asks for both services. One of them is enough.
    pub async fn find(&self) -> Result<Found, Error> {
        let resolver = Resolver::of_this_machine();
        let (tls, plain) = (self.service("-ssl"), self.service(""));
        let (tls, plain) = tokio::join!(resolver.services(&tls, &self.domain), resolver.services(&plain, &self.domain));
        let (tls, plain) = match (tls, plain) {
            (Err(tls), Err(plain)) => return Err(Error { tls: tls.into(), plain: plain.into() }),
            (tls, plain) => (tls.unwrap_or_default(), plain.unwrap_or_default()),
        };
        let mut found = Found { endpoints: urls("https", tls), ignored: Vec::new() };
        let plain = urls("http", plain);
        if self.insecure { &mut found.endpoints } else { &mut found.ignored }.extend(plain);
        Ok(found)
    }

    fn service(&self, tls: &str) -> String {
        let dash = if self.service_suffix.is_empty() { "" } else { "-" };
        format!("{SERVICE}{tls}{dash}{}", self.service_suffix)
    }
}

/// With the dot at the end of the host, as etcd's tools print it.
fn urls(scheme: &str, services: Vec<Service>) -> Vec<String> {
    let services = ordered(services, |below| rand::random_range(0..below));
    services.iter().map(|service| format!("{scheme}://{}:{}", service.target, service.port)).collect()
}

/// The order of RFC 2782: by priority, and among equals drawn by weight, so that clients spread over them. `draw` gives a
/// number below the one that it is given.
fn ordered(mut services: Vec<Service>, mut draw: impl FnMut(u32) -> u32) -> Vec<Service> {
    // Those without weight first: they are only drawn when nothing of weight is left.
    services.sort_by_key(|service| (service.priority, service.weight));
    for group in services.chunk_by_mut(|a, b| a.priority == b.priority) {
        for first in 0..group.len() {
            let rest = &mut group[first..];
            let total: u32 = rest.iter().map(|service| u32::from(service.weight)).sum();
            if total == 0 {
                break;
            }
            let mut left = draw(total);
            let drawn = rest.iter().position(|service| {
                let below = left < u32::from(service.weight);
                left = left.saturating_sub(service.weight.into());
                below
            });
            rest.swap(0, drawn.expect("what was drawn is below the sum of the weights"));
        }
    }
    services
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discovery(suffix: &str) -> Discovery {
        Discovery { domain: "example.org".into(), service_suffix: suffix.into(), insecure: true }
    }

    #[test]
    fn a_suffix_stands_behind_the_service() {
        assert_eq!(discovery("").service("-ssl"), "etcd-client-ssl");
        assert_eq!(discovery("blue").service("-ssl"), "etcd-client-ssl-blue");
        assert_eq!(discovery("blue").service(""), "etcd-client-blue");
    }

    fn order(services: &[(u16, u16, &str)], draws: &[u32]) -> Vec<String> {
        let services = services.iter().map(|(priority, weight, host)| Service {
            priority: *priority,
            weight: *weight,
            target: (*host).into(),
            port: 2379,
        });
        let mut draws = draws.iter();
        let services = ordered(services.collect(), |below| {
            let drawn = *draws.next().unwrap();
            assert!(drawn < below, "{drawn} of {below}");
            drawn
        });
        assert_eq!(draws.next(), None);
        services.into_iter().map(|service| service.target).collect()
    }

    #[test]
    fn lower_priorities_go_first_and_equal_ones_are_drawn_by_weight() {
        let services = [(2, 0, "last"), (1, 10, "light"), (1, 30, "heavy"), (1, 0, "idle")];
        assert_eq!(order(&services, &[0, 0]), ["light", "heavy", "idle", "last"]);
        assert_eq!(order(&services, &[10, 9]), ["heavy", "light", "idle", "last"]);
        assert_eq!(order(&services, &[39, 0]), ["heavy", "light", "idle", "last"]);
        assert_eq!(order(&[(1, 0, "a"), (1, 0, "b")], &[]), ["a", "b"]);
        assert_eq!(order(&[(7, u16::MAX, "alone")], &[65_534]), ["alone"]);
    }
}
