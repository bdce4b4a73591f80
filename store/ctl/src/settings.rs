//! The flags that every command takes, with their environment: `QUORATECTL_X`, and `ETCDCTL_X` where that is not set.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::discovery::Discovery;
use crate::client::{self, Credentials, tls};
use crate::flags::{Flag, Kind, Parsed, flag};
use crate::render::Format;
use crate::{Error, go};

/// The process's environment, as a value.
pub type Environment = BTreeMap<String, String>;

/// Ours first: it is the more specific.
pub const PREFIXES: [&str; 2] = ["QUORATECTL_", "ETCDCTL_"];
/// Variables that are no flags.
const OTHER_VARIABLES: [&str; 3] = ["API", "WATCH_KEY", "WATCH_RANGE_END"];

const ENDPOINTS: Flag = flag("endpoints", Kind::List("127.0.0.1:2379"), "gRPC endpoints");
const DEBUG: Flag = flag("debug", Kind::Bool(false), "print the settings in use to standard error");
const WRITE_OUT: Flag = Flag {
    name: "write-out",
    short: Some('w'),
    kind: Kind::Text("simple"),
    help: "set the output format (fields, json, protobuf, simple, table)",
};
const HEX: Flag = flag("hex", Kind::Bool(false), "print byte strings as hex encoded strings");
const DIAL_TIMEOUT: Flag = flag("dial-timeout", Kind::Duration(2), "time for connecting to one endpoint");
const COMMAND_TIMEOUT: Flag =
    flag("command-timeout", Kind::Duration(5), "time for a short running command, with connecting");
const KEEPALIVE_TIME: Flag = flag("keepalive-time", Kind::Duration(2), "idle time before a connection is probed");
const KEEPALIVE_TIMEOUT: Flag =
    flag("keepalive-timeout", Kind::Duration(6), "silence after a probe that ends a connection");
const MAX_REQUEST_BYTES: Flag =
    flag("max-request-bytes", Kind::Int, "client-side request send limit in bytes (0 = 2 MiB)");
const MAX_RECV_BYTES: Flag =
    flag("max-recv-bytes", Kind::Int, "client-side response receive limit in bytes (0 = no limit)");
const INSECURE_TRANSPORT: Flag =
    flag("insecure-transport", Kind::Bool(true), "no TLS unless certificates or https endpoints are given");
const INSECURE_DISCOVERY: Flag =
    flag("insecure-discovery", Kind::Bool(true), "accept insecure SRV records describing cluster endpoints");
const SKIP_VERIFY: Flag = flag(
    "insecure-skip-tls-verify",
    Kind::Bool(false),
    "skip server certificate verification (CAUTION: only for testing purposes)",
);
const CERT: Flag = flag("cert", Kind::Text(""), "identify this client using this TLS certificate file");
const KEY: Flag = flag("key", Kind::Text(""), "identify this client using this TLS key file");
const CACERT: Flag = flag("cacert", Kind::Text(""), "verify the servers' certificates using this CA bundle");
const USER: Flag = flag("user", Kind::Text(""), "username[:password] for authentication");
const PASSWORD: Flag = flag("password", Kind::Text(""), "password for authentication (--user then has none)");
const AUTH_JWT_TOKEN: Flag =
    flag("auth-jwt-token", Kind::Text(""), "JWT token used for authentication (excludes --user and --password)");
const DISCOVERY_SRV: Flag = Flag {
    name: "discovery-srv",
    short: Some('d'),
    kind: Kind::Text(""),
    help: "domain name to query for SRV records describing cluster endpoints",
};
const DISCOVERY_SRV_NAME: Flag =
    flag("discovery-srv-name", Kind::Text(""), "service name to query when using DNS discovery");

/// Every global flag.
pub const GLOBAL: &[Flag] = &[
    ENDPOINTS,
    DEBUG,
    WRITE_OUT,
    HEX,
    DIAL_TIMEOUT,
    COMMAND_TIMEOUT,
    KEEPALIVE_TIME,
    KEEPALIVE_TIMEOUT,
    MAX_REQUEST_BYTES,
    MAX_RECV_BYTES,
    INSECURE_TRANSPORT,
    INSECURE_DISCOVERY,
    SKIP_VERIFY,
    CERT,
    KEY,
    CACERT,
    USER,
    PASSWORD,
    AUTH_JWT_TOKEN,
    DISCOVERY_SRV,
    DISCOVERY_SRV_NAME,
];

/// What the global flags say.
#[derive(Debug, Clone)]
pub struct Settings {
    /// With the endpoints to connect to.
    pub client: client::Options,
    /// What `--endpoints` names, which the commands about each endpoint ask, as etcdctl's do.
    pub endpoints: Vec<String>,
    /// Where to look for endpoints to connect to first.
    pub discovery: Option<Discovery>,
    pub format: Format,
    pub hex: bool,
    /// For one short command, connecting included.
    pub command_timeout: Duration,
}

/// Fills flags that were not given from the environment. Returns warnings about variables that mean nothing.
pub fn apply_environment(parsed: &mut Parsed, environment: &Environment) -> Result<Vec<String>, Error> {
    for flag in GLOBAL {
        let suffix = variable(flag.name);
        let names = PREFIXES.iter().map(|prefix| format!("{prefix}{suffix}"));
        let Some((name, value)) = names
            .filter_map(|name| environment.get(&name).map(|value| (name, value)))
            .find(|(_, value)| !value.is_empty())
        else {
            continue;
        };
        if parsed.given(flag) {
            return Err(Error::EnvironmentShadowed { variable: name });
        }
        parsed.set(flag, value.clone()).map_err(|source| Error::Environment { name, source })?;
    }
    Ok(environment
        .iter()
        .filter(|(name, _)| is_unknown(name))
        .map(|(name, value)| format!("unrecognized environment variable {name}={value}"))
        .collect())
}

fn variable(flag: &str) -> String {
    flag.to_uppercase().replace('-', "_")
}

fn is_unknown(name: &str) -> bool {
    let Some(suffix) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) else { return false };
    !OTHER_VARIABLES.contains(&suffix) && !GLOBAL.iter().any(|flag| variable(flag.name) == suffix)
}

/// The lines that `--debug` prints; secrets stay hidden.
pub fn describe(parsed: &Parsed) -> Vec<String> {
    if !parsed.bool(&DEBUG) {
        return Vec::new();
    }
    let mut lines: Vec<String> = GLOBAL
        .iter()
        .map(|flag| {
            let value = match flag.kind {
                Kind::Bool(_) => parsed.bool(flag).to_string(),
                Kind::Int => parsed.int(flag).to_string(),
                Kind::Duration(_) => go::duration::format(parsed.duration(flag)),
                Kind::List(_) => format!("[{}]", parsed.text(flag)),
                Kind::Text(_) if [USER, PASSWORD, AUTH_JWT_TOKEN].contains(flag) && parsed.given(flag) => "***".into(),
                Kind::Text(_) => parsed.text(flag).to_owned(),
            };
            format!("{}{}={value}", PREFIXES[0], variable(flag.name))
        })
        .collect();
    lines.sort();
    lines
}

impl Settings {
    pub fn new(parsed: &Parsed) -> Result<Settings, Error> {
        let discovery = discovery(parsed);
        let endpoints = parsed.text(&ENDPOINTS).split(',').filter(|endpoint| !endpoint.is_empty());
        let mut client = client::Options::new(endpoints);
        client.tls = tls_options(parsed, discovery.as_ref())?;
        client.dial_timeout = parsed.duration(&DIAL_TIMEOUT);
        client.keepalive_time = parsed.duration(&KEEPALIVE_TIME);
        client.keepalive_timeout = parsed.duration(&KEEPALIVE_TIMEOUT);
        client.request_bytes_max = usize::try_from(parsed.int(&MAX_REQUEST_BYTES)).unwrap_or_default();
        client.response_bytes_max = usize::try_from(parsed.int(&MAX_RECV_BYTES)).unwrap_or_default();
        client.credentials = credentials(parsed)?;
        Ok(Settings {
            endpoints: client.endpoints.clone(),
            client,
            discovery,
            format: Format::parse(parsed.text(&WRITE_OUT))?,
            hex: parsed.bool(&HEX),
            command_timeout: parsed.duration(&COMMAND_TIMEOUT),
        })
    }

    /// Looks for endpoints in DNS, if a domain is given; those of the flag stand where none is found. Returns warnings.
    pub async fn discover(&mut self) -> Result<Vec<String>, Error> {
        let Some(discovery) = &self.discovery else { return Ok(Vec::new()) };
        let found = discovery.find().await.map_err(client::Error::from)?;
        if !found.endpoints.is_empty() {
            self.client.endpoints = found.endpoints;
        }
        Ok(found.ignored.iter().map(|endpoint| format!("ignoring discovered insecure endpoint {endpoint:?}")).collect())
    }
}

/// `None` unless a domain is given.
fn discovery(parsed: &Parsed) -> Option<Discovery> {
    let domain = parsed.text(&DISCOVERY_SRV);
    (!domain.is_empty()).then(|| Discovery {
        domain: domain.to_owned(),
        service_suffix: parsed.text(&DISCOVERY_SRV_NAME).to_owned(),
        insecure: parsed.bool(&INSECURE_DISCOVERY),
    })
}

fn tls_options(parsed: &Parsed, discovery: Option<&Discovery>) -> Result<Option<tls::Options>, Error> {
    let (cert, key, ca) = (parsed.text(&CERT), parsed.text(&KEY), parsed.text(&CACERT));
    if cert.is_empty() != key.is_empty() {
        return Err(client::Error::from(tls::Error::HalfIdentity { key: key.into(), cert: cert.into() }).into());
    }
    let options = tls::Options {
        ca: (!ca.is_empty()).then(|| ca.into()),
        identity: (!cert.is_empty()).then(|| (cert.into(), key.into())),
        skip_verify: parsed.bool(&SKIP_VERIFY),
    };
    // A domain whose plain members do not count asks for TLS. Certificates name the endpoints and not the domain, as for etcdctl:
    // it sets the domain as their name, which gRPC then replaces.
    let secure_discovery = discovery.is_some_and(|discovery| !discovery.insecure);
    let wanted = options != tls::Options::default() || secure_discovery || !parsed.bool(&INSECURE_TRANSPORT);
    Ok(wanted.then_some(options))
}

fn credentials(parsed: &Parsed) -> Result<Option<Credentials>, Error> {
    let (user, password, token) = (parsed.text(&USER), parsed.text(&PASSWORD), parsed.text(&AUTH_JWT_TOKEN));
    match (user.is_empty(), token.is_empty()) {
        (true, true) => Ok(None),
        (false, false) => Err(Error::Arguments("--auth-jwt-token excludes --user and --password: give one of them")),
        (true, false) => Ok(Some(Credentials::Token(token.to_owned()))),
        (false, true) => {
            let (user, password) = match user.split_once(':') {
                Some((user, password)) => (user, password),
                None if !password.is_empty() => (user, password),
                None => return Err(Error::Arguments("no password: give --user name:password or --password")),
            };
            Ok(Some(Credentials::Password { user: user.to_owned(), password: password.to_owned() }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::parse;

    fn read(args: &[&str], environment: &[(&str, &str)]) -> Result<(Settings, Vec<String>), Error> {
        let args: Vec<_> = args.iter().map(|arg| bytes::Bytes::copy_from_slice(arg.as_bytes())).collect();
        let mut parsed = parse(&[GLOBAL], &args).unwrap();
        let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let warnings = apply_environment(&mut parsed, &environment)?;
        Ok((Settings::new(&parsed)?, warnings))
    }

    #[test]
    fn the_environment_fills_in_and_ours_goes_before_etcds() {
        let (settings, warnings) = read(
            &["--endpoints", "a:1,b:2"],
            &[("ETCDCTL_WRITE_OUT", "json"), ("QUORATECTL_WRITE_OUT", "fields"), ("ETCDCTL_COMMAND_TIMEOUT", "300ms")],
        )
        .unwrap();
        assert_eq!(settings.client.endpoints, ["a:1", "b:2"]);
        assert_eq!((settings.format, settings.command_timeout), (Format::Fields, Duration::from_millis(300)));
        assert!(warnings.is_empty());
        let (settings, _) = read(&[], &[("ETCDCTL_ENDPOINTS", ""), ("QUORATECTL_HEX", "true")]).unwrap();
        assert_eq!((settings.client.endpoints, settings.hex), (vec!["127.0.0.1:2379".to_owned()], true));
    }

    #[test]
    fn a_variable_beside_its_flag_and_a_wrong_value_are_refused_by_name() {
        for (args, variable, error) in [
            (
                &["-w", "json"][..],
                ("ETCDCTL_WRITE_OUT", "simple"),
                "conflicting environment variable \"ETCDCTL_WRITE_OUT\" is shadowed by corresponding command-line flag \
                 (either unset environment variable or disable flag)",
            ),
            (
                &[],
                ("QUORATECTL_DIAL_TIMEOUT", "xx"),
                "environment variable QUORATECTL_DIAL_TIMEOUT: invalid argument \"xx\" for \"--dial-timeout\" flag: time: invalid duration \"xx\"",
            ),
        ] {
            assert_eq!(read(args, &[variable]).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn unknown_variables_are_warned_of() {
        let (_, warnings) =
            read(&[], &[("ETCDCTL_API", "3"), ("ETCDCTL_WATCH_KEY", "k"), ("QUORATECTL_BOGUS", "1"), ("HOME", "/")])
                .unwrap();
        assert_eq!(warnings, ["unrecognized environment variable QUORATECTL_BOGUS=1"]);
    }

    #[test]
    fn a_certificate_without_key_is_an_argument_error() {
        let error = read(&["--cert", "x"], &[]).unwrap_err();
        assert_eq!(error.to_string(), "KeyFile and CertFile must both be present[key: , cert: x]");
        assert_eq!(error.exit_code(), 128);
    }

    #[test]
    fn tls_is_asked_for_by_any_of_its_flags() {
        let tls = |args: &[&str]| read(args, &[]).unwrap().0.client.tls;
        assert_eq!(tls(&[]), None);
        assert_eq!(tls(&["--insecure-transport=false"]), Some(tls::Options::default()));
        assert!(tls(&["--insecure-skip-tls-verify"]).unwrap().skip_verify);
        assert_eq!(tls(&["--cacert", "ca"]).unwrap().ca, Some("ca".into()));
    }

    #[test]
    fn a_domain_whose_plain_members_do_not_count_asks_for_tls() {
        let flags = ["-d", "example.org", "--discovery-srv-name", "blue", "--endpoints", "a:1"];
        let (settings, _) = read(&flags, &[("ETCDCTL_INSECURE_DISCOVERY", "true")]).unwrap();
        let blue = Discovery { domain: "example.org".into(), service_suffix: "blue".into(), insecure: true };
        assert_eq!((settings.discovery, settings.client.tls), (Some(blue), None));
        assert_eq!(settings.endpoints, ["a:1"]);
        let environment = [("ETCDCTL_DISCOVERY_SRV", "example.org"), ("QUORATECTL_INSECURE_DISCOVERY", "false")];
        let (settings, _) = read(&[], &environment).unwrap();
        assert!(!settings.discovery.unwrap().insecure);
        assert_eq!(settings.client.tls, Some(tls::Options::default()));
        let (settings, _) = read(&["--insecure-discovery=false", "--discovery-srv-name=blue"], &[]).unwrap();
        assert_eq!((settings.discovery, settings.client.tls), (None, None));
    }

    #[test]
    fn debug_lines_hide_secrets() {
        let args = ["--debug", "--user", "root:secret"].map(|arg| bytes::Bytes::from_static(arg.as_bytes()));
        let lines = describe(&parse(&[GLOBAL], &args).unwrap());
        assert!(lines.contains(&"QUORATECTL_USER=***".to_owned()), "{lines:?}");
        assert!(lines.contains(&"QUORATECTL_COMMAND_TIMEOUT=5s".to_owned()));
        assert!(!lines.iter().any(|line| line.contains("secret")));
    }
}
