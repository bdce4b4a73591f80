//! `--discovery-srv` of `quoratectl` with a real DNS server: it finds what etcd's own `etcdctl` finds, and says the same where
//! there is nothing to find. DNS, members and clients have a network of their own, with a resolver's settings of its own.
#![allow(clippy::unwrap_used)] // clippy's allow-unwrap-in-tests does not reach files in tests/

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use quorate_e2e::authority::Authority;
use quorate_e2e::crash::namespace::Namespace;
use quorate_e2e::kubernetes::{Tools, run, workspace_program};
use quorate_harness::tie;

/// A start takes well under a second; a machine that is busy with other tests may need longer.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// The first of two members is dead; `blue` is another cluster of the same domain.
const ZONE: &str = "
$ORIGIN example.test.
@                             60 IN SOA ns admin 1 7200 3600 1209600 60
@                             60 IN NS  ns
ns                            60 IN A   127.0.0.1
m1                            60 IN A   127.0.0.1
m2                            60 IN A   127.0.0.1
_etcd-client._tcp             60 IN SRV 1 0 1    m1
_etcd-client._tcp             60 IN SRV 2 0 2379 m2
_etcd-client-blue._tcp        60 IN SRV 1 0 2479 m1
_etcd-client-ssl._tcp.secure  60 IN SRV 1 0 3379 m1
_etcd-client._tcp.secure      60 IN SRV 1 0 2379 m2
_etcd-client-ssl._tcp.other   60 IN SRV 1 0 3379 m2
_etcd-client._tcp.short       60 IN SRV 1 0 2379 m2
";

/// A domain without a dot at its end is also tried below this one.
const RESOLVER: &str = "nameserver 127.0.0.1\nsearch example.test\noptions timeout:1\n";

/// A process that ends with this value, and with the test when that is killed.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Running {
        Running(tie(command).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Site {
    /// Goes first: what runs in the namespace holds its mounts.
    running: Vec<Running>,
    /// Held open: the DNS server would end with a reader of its output.
    dns_output: Option<BufReader<ChildStdout>>,
    namespace: Namespace,
    folder: tempfile::TempDir,
    etcdctl: PathBuf,
    quoratectl: PathBuf,
}

/// What a command said, where both clients are to agree.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn said(code: i32, out: &str, err: &str) -> Said {
    Said { code: Some(code), out: out.into(), err: err.into() }
}

impl Site {
    /// A DNS server that knows [`ZONE`], and three clusters of one member: one without TLS, another for `blue`, one with TLS.
    fn start() -> Site {
        let tools = Tools::find().unwrap();
        let mut site = Site {
            running: Vec::new(),
            dns_output: None,
            namespace: Namespace::create_with_network().unwrap(),
            folder: tempfile::tempdir().unwrap(),
            etcdctl: tools.program("etcdctl").unwrap(),
            quoratectl: workspace_program("quoratectl").unwrap(),
        };
        let resolver = site.write("resolv.conf", RESOLVER);
        run(site.namespace.command("mount").arg("--bind").arg(resolver).arg("/etc/resolv.conf")).unwrap();
        let zone = site.write("zone", ZONE);
        let settings =
            site.write("Corefile", &format!("example.test:53 {{\n  file {}\n  errors\n}}\n", zone.display()));
        site.start_dns(&tools.program("coredns").unwrap(), &settings);

        let authority = Authority::new("clients").unwrap();
        let names = ["m1.example.test", "other.example.test", "127.0.0.1"].map(str::to_owned);
        let issued = authority.issue("member", None, names.into()).unwrap();
        site.write("ca", &authority.certificate());
        let cert = format!("--cert-file={}", site.write("cert", &issued.certificate).display());
        let key = format!("--key-file={}", site.write("key", &issued.key).display());
        site.start_member("plain", "http://127.0.0.1:2379", &[]);
        site.start_member("blue", "http://127.0.0.1:2479", &[]);
        site.start_member("secure", "https://127.0.0.1:3379", &[&cert, &key]);
        for (name, flags) in [
            ("plain", &["--endpoints=127.0.0.1:2379"][..]),
            ("blue", &["--endpoints=127.0.0.1:2479"]),
            ("secure", &["--endpoints=https://127.0.0.1:3379", "--insecure-skip-tls-verify"]),
        ] {
            // Each cluster knows its name.
            site.await_done(&[flags, &["put", "name", name]].concat());
        }
        site
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Returns once it listens, which is when it prints its version.
    fn start_dns(&mut self, program: &Path, settings: &Path) {
        let mut command = self.namespace.command(program);
        let mut server = Running::start(command.arg("-conf").arg(settings).stdout(Stdio::piped()));
        let mut output = BufReader::new(server.0.stdout.take().unwrap());
        let listens = output.by_ref().lines().any(|line| line.unwrap().starts_with("CoreDNS-"));
        assert!(listens, "the DNS server did not start");
        self.dns_output = Some(output);
        self.running.push(server);
    }

    fn start_member(&mut self, name: &str, url: &str, flags: &[&str]) {
        let peer = "http://127.0.0.1:1";
        let mut command = self.namespace.command(workspace_program("quorate").unwrap());
        command.arg(format!("--name={name}")).arg("--data-dir").arg(self.folder.path().join(name));
        command.args(["--listen-client-urls", url, "--advertise-client-urls", url]);
        command.args(["--listen-peer-urls=http://127.0.0.1:0", "--initial-advertise-peer-urls", peer]);
        command.arg(format!("--initial-cluster={name}={peer}")).args(flags);
        self.running.push(Running::start(command.stdout(Stdio::null()).stderr(Stdio::null())));
    }

    fn await_done(&self, arguments: &[&str]) {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let said = self.client(&self.quoratectl, &[], arguments);
            if said.code == Some(0) {
                return;
            }
            assert!(Instant::now() < deadline, "{arguments:?}: {said:?}");
        }
    }

    fn client(&self, program: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Said {
        let ca = self.folder.path().join("ca").display().to_string();
        let mut command = self.namespace.command(program);
        command.args(arguments.iter().map(|argument| argument.replace("CA", &ca)));
        // The developer's own settings must not reach the clients.
        for (name, _) in std::env::vars() {
            if name.starts_with("ETCDCTL_") || name.starts_with("QUORATECTL_") {
                command.env_remove(name);
            }
        }
        let output = command.envs(environment.iter().copied()).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| blank(&String::from_utf8(bytes).unwrap());
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// What both clients say, after they said the same.
    fn both(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Said {
        let theirs = self.client(&self.etcdctl, environment, arguments);
        let ours = self.client(&self.quoratectl, environment, arguments);
        assert_eq!(ours, theirs, "quoratectl (left) and etcdctl (right) with {environment:?} {arguments:?}");
        ours
    }

    /// Both clients give up, each with its own reasons on standard error.
    fn neither(&self, arguments: &[&str]) {
        for client in [&self.etcdctl, &self.quoratectl] {
            let said = self.client(client, &[], arguments);
            assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{}: {}", client.display(), said.err);
        }
    }
}

/// Without what differs by nature: durations and the log of etcd's client.
fn blank(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("{\"level\""));
    let lines = lines.map(|line| match line.split_once("took = ") {
        Some((before, _)) => format!("{before}took = TIME\n"),
        None => format!("{line}\n"),
    });
    lines.collect()
}

const PLAIN: &str = "name\nplain\n";
const SECURE: &str = "name\nsecure\n";

#[test]
fn endpoints_are_found_by_srv_records_as_etcdctl_finds_them() {
    let site = Site::start();

    // Behind a dead first member, and in place of what --endpoints names.
    assert_eq!(site.both(&[], &["-d", "example.test", "put", "place", "here"]), said(0, "OK\n", ""));
    let elsewhere = ["--discovery-srv=example.test", "--endpoints=127.0.0.1:1", "get", "name"];
    assert_eq!(site.both(&[], &elsewhere), said(0, PLAIN, ""));
    assert_eq!(site.both(&[("ETCDCTL_DISCOVERY_SRV", "example.test")], &["get", "name"]), said(0, PLAIN, ""));
    let blue = ["-d", "example.test", "--discovery-srv-name=blue", "get", "name"];
    assert_eq!(site.both(&[], &blue), said(0, "name\nblue\n", ""));
    // Only the domain of the resolver's settings has it.
    assert_eq!(site.both(&[], &["-d", "short", "get", "name"]), said(0, PLAIN, ""));

    // The commands about endpoints ask those of --endpoints, or the members that those of DNS know.
    let healthy = |url: &str| said(0, &format!("{url} is healthy: successfully committed proposal: took = TIME\n"), "");
    let blue = ["-d", "example.test", "--discovery-srv-name=blue", "endpoint", "health"];
    assert_eq!(site.both(&[], &blue), healthy("127.0.0.1:2379"));
    assert_eq!(site.both(&[], &[&blue[..], &["--cluster"]].concat()), healthy("http://127.0.0.1:2479"));
}

#[test]
fn tls_and_insecure_discovery_are_as_etcdctls() {
    let site = Site::start();
    let ignored = |port| format!("ignoring discovered insecure endpoint \"http://m2.example.test.:{port}\"\n");
    let get = ["--cacert=CA", "get", "name"];

    // Members without TLS do not count.
    let secure = ["--discovery-srv=secure.example.test", "--insecure-discovery=false"];
    assert_eq!(site.both(&[], &[&secure[..], &get].concat()), said(0, SECURE, &ignored(2379)));
    let environment = [("ETCDCTL_DISCOVERY_SRV", "secure.example.test"), ("ETCDCTL_INSECURE_DISCOVERY", "false")];
    assert_eq!(site.both(&environment, &get), said(0, SECURE, &ignored(2379)));
    // Where they count, those with TLS go first.
    assert_eq!(site.both(&[], &[&["-d", "secure.example.test"], &get[..]].concat()), said(0, SECURE, ""));
    // The same member by a name that its certificate has not; the domain's does not stand in for it.
    for insecure in ["--insecure-discovery", "--insecure-discovery=false"] {
        site.neither(&[&["-d", "other.example.test", insecure, "--command-timeout=1s"], &get[..]].concat());
    }

    // Nothing is left of what was found: --endpoints stands, with TLS.
    let plain = ["-d", "example.test", "--insecure-discovery=false"];
    let both = format!("ignoring discovered insecure endpoint \"http://m1.example.test.:1\"\n{}", ignored(2379));
    let fallback = [&plain[..], &["--endpoints=127.0.0.1:3379"], &get].concat();
    assert_eq!(site.both(&[], &fallback), said(0, SECURE, &both));
    site.neither(&[&plain[..], &["--command-timeout=1s"], &get].concat());
}

#[test]
fn a_domain_without_records_is_refused_in_etcdctls_words() {
    let site = Site::start();
    let refused = |domain: &str, reason: &str| {
        let lookup = |service: &str| format!("lookup _{service}._tcp.{domain}{reason}");
        said(1, "", &format!("Error: dns lookup errors: {} and {}\n", lookup("etcd-client-ssl"), lookup("etcd-client")))
    };
    for (domain, reason) in [
        ("nobody.example.test", " on 127.0.0.1:53: no such host"),
        // Exists, with other records.
        ("m1.example.test", " on 127.0.0.1:53: no such host"),
        // Nobody asked the server for another zone.
        ("elsewhere.invalid.", " on 127.0.0.1:53: server misbehaving"),
        ("elsewhere.invalid", " on 127.0.0.1:53: no such host"),
        ("no name", ": no such host"),
    ] {
        for flags in [&["get", "name"][..], &["--insecure-discovery=false", "endpoint", "status"]] {
            assert_eq!(site.both(&[], &[&["-d", domain], flags].concat()), refused(domain, reason));
        }
    }
    let red = site.both(&[], &["-d", "example.test", "--discovery-srv-name=red", "get", "name"]);
    let lookup = |service: &str| format!("lookup _{service}-red._tcp.example.test on 127.0.0.1:53: no such host");
    let both = format!("Error: dns lookup errors: {} and {}\n", lookup("etcd-client-ssl"), lookup("etcd-client"));
    assert_eq!(red, said(1, "", &both));
}
