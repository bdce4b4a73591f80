//! Flags, environment and errors by table; every error text is etcd's where etcd has one.

use super::*;

fn serve(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Config, Error> {
    let arguments = arguments.iter().map(|text| (*text).to_owned());
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    match read(arguments, environment)? {
        Request::Serve(config) => Ok(*config),
        Request::Print(text) => panic!("prints {text}"),
    }
}

fn urls(text: &str) -> Vec<Url> {
    url::parse_list(text).unwrap()
}

#[test]
fn without_flags_a_single_member_serves_on_etcds_ports() {
    let config = serve(&[], &[]).unwrap();
    assert_eq!(config.name, "default");
    assert_eq!(config.data_dir, PathBuf::from("default.etcd"));
    assert_eq!(config.listen_client_urls, urls("http://localhost:2379"));
    assert_eq!(config.listen_peer_urls, urls("http://localhost:2380"));
    assert_eq!(config.quota_bytes, Some(2 << 30));
    assert_eq!((config.heartbeat, config.election), (Duration::from_millis(100), Duration::from_secs(1)));
    assert_eq!(config.max_concurrent_streams, u32::MAX);
    assert_eq!(config.watch_progress_interval, Duration::from_secs(600));
    assert_eq!(config.log, Log { level: LogLevel::Info, format: LogFormat::Json, outputs: vec![LogOutput::Stderr] });
    let members = vec![InitialMember { name: "default".to_owned(), peer_urls: urls("http://localhost:2380") }];
    assert_eq!(config.founding, Founding::New { members, token: "etcd-cluster".to_owned() });
    assert_eq!(config.check_founding(), Ok(()));
    assert_eq!(config.warnings, [Warning::DefaultName]);
}

#[test]
fn every_default_of_the_table_is_of_its_kind_and_every_name_is_there_once() {
    let mut names = std::collections::BTreeSet::new();
    for flag in table::all() {
        assert!(flag.kind.parse(flag.default).is_ok(), "--{} {:?}", flag.name, flag.default);
        assert!(names.insert(flag.name), "--{} stands twice", flag.name);
    }
}

#[test]
fn flags_are_written_in_every_way_of_go_and_the_last_wins() {
    let config = serve(
        &[
            "--name",
            "a",
            "-data-dir=/d",
            "--initial-cluster-token=x",
            "--initial-cluster-token=new",
            "--unsafe-no-fsync",
            "--force-new-cluster",
            "-pre-vote=false",
        ],
        &[],
    )
    .unwrap();
    assert_eq!(config.name, "a");
    assert_eq!(config.data_dir, PathBuf::from("/d"));
    assert!(config.unsafe_no_fsync && config.force_new_cluster);
    assert!(!config.pre_vote);
    assert!(matches!(config.founding, Founding::New { token, .. } if token == "new"));
    assert_eq!(serve(&["--quota-backend-bytes=-1"], &[]).unwrap().quota_bytes, None);
    assert_eq!(serve(&["--name=b"], &[]).unwrap().data_dir, PathBuf::from("b.etcd"));
}

#[test]
fn the_environment_sets_flags_under_both_prefixes() {
    let config = serve(
        &[],
        &[
            ("ETCD_NAME", "a"),
            ("QUORATE_HEARTBEAT_INTERVAL", "50"),
            ("ETCD_NAMEX", "1"),
            ("ETCD_WAL_DIR", ""),
            ("HOME", "/"),
        ],
    )
    .unwrap();
    assert_eq!((config.name.as_str(), config.heartbeat), ("a", Duration::from_millis(50)));
    assert_eq!(config.warnings, [Warning::UnknownVariable { variable: "ETCD_NAMEX".to_owned() }]);
    assert_eq!(config.variables, ["QUORATE_HEARTBEAT_INTERVAL", "ETCD_NAME"]);
}

#[test]
fn an_initial_cluster_gathers_the_urls_of_each_name() {
    let config = serve(
        &[
            "--name=b",
            "--initial-advertise-peer-urls=http://h:3,http://h:2",
            "--initial-cluster=b=http://h:3,a=http://h:1,b=http://h:2",
            "--initial-cluster-state=existing",
        ],
        &[],
    )
    .unwrap();
    let members = vec![
        InitialMember { name: "a".to_owned(), peer_urls: urls("http://h:1") },
        InitialMember { name: "b".to_owned(), peer_urls: urls("http://h:2,http://h:3") },
    ];
    assert_eq!(config.founding, Founding::Existing { members, token: "etcd-cluster".to_owned() });
    assert_eq!(config.check_founding(), Ok(()));
}

#[test]
fn founding_is_refused_unless_the_cluster_holds_this_member_as_advertised() {
    for (arguments, text) in [
        (
            ["--name=x", "--initial-cluster=b=http://localhost:2380"],
            r#"couldn't find local name "x" in the initial cluster configuration"#,
        ),
        (
            ["--name=default", "--initial-cluster=default=http://localhost:2388"],
            "--initial-cluster has default=http://localhost:2388 but missing from --initial-advertise-peer-urls=http://localhost:2380",
        ),
    ] {
        assert_eq!(serve(&arguments, &[]).unwrap().check_founding().unwrap_err().to_string(), text);
    }
}

#[test]
fn wrong_command_lines_are_refused_with_etcds_texts_and_codes() {
    for (arguments, code, text) in [
        (&["--foo"][..], 2, "flag provided but not defined: -foo"),
        (&["--data-dri=x"], 2, "flag provided but not defined: -data-dri (did you mean --data-dir?)"),
        (
            &["--experimental-corrupt-check-time=0s"],
            2,
            "flag provided but not defined: -experimental-corrupt-check-time (did you mean --corrupt-check-time?)",
        ),
        (&["---x"], 2, "bad flag syntax: ---x"),
        (&["--"], 2, "bad flag syntax: --"),
        (&["--name"], 2, "flag needs an argument: -name"),
        (&["stray"], 1, r#""stray" is not a valid flag"#),
        (&["--heartbeat-interval=x"], 2, r#"invalid value "x" for flag -heartbeat-interval: parse error"#),
        (&["--grpc-keepalive-interval=5"], 2, r#"invalid value "5" for flag -grpc-keepalive-interval: parse error"#),
        (&["--strict-reconfig-check=foo"], 2, r#"invalid boolean value "foo" for -strict-reconfig-check: parse error"#),
        (
            &["--listen-client-urls=foo"],
            2,
            r#"invalid value "foo" for flag -listen-client-urls: URL scheme must be http, https, unix, or unixs: foo"#,
        ),
        (
            &["--feature-gates=foo=true"],
            2,
            r#"invalid value "foo=true" for flag -feature-gates: unrecognized feature gate: foo"#,
        ),
        (&["--listen-client-urls=http://foo.com:2379"], 1, "expected IP in URL for binding (http://foo.com:2379)"),
        (
            &["--listen-client-urls=http://127.0.0.1:1"],
            1,
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ),
        (
            &["--advertise-client-urls=http://:1"],
            1,
            r#"--advertise-client-urls "http://:1" must be in the format "host:port", "unix:/path/to/socket" or "unixs:/path/to/socket" (unexpected empty host (http://:1))"#,
        ),
        (&["--heartbeat-interval=0"], 1, "--heartbeat-interval must be >0 (set to 0ms)"),
        (
            &["--election-timeout=100"],
            1,
            "--election-timeout[100ms] should be at least as 5 times as --heartbeat-interval[100ms]",
        ),
        (
            &["--election-timeout=60000"],
            1,
            "--election-timeout[60000ms] is too long, and should be set less than 50000ms",
        ),
        (&["--log-format=foo"], 1, "unknown log format: foo, supported values json, console"),
        (&["--logger=foo"], 1, r#"unknown logger option "foo""#),
        (&["--log-outputs=default,stdout"], 1, r#"multi logoutput for "default" is not supported yet"#),
        (
            &["--listen-client-urls=https://127.0.0.1:1", "--advertise-client-urls=https://127.0.0.1:1"],
            1,
            "TLS key/cert (--cert-file, --key-file) must be provided for client url https://127.0.0.1:1 with HTTPS scheme",
        ),
        (&["--cert-file=a"], 1, "--cert-file is given but --key-file is not: set both"),
        (
            &["--client-cert-auth"],
            1,
            "--client-cert-auth is given but --trusted-ca-file is not: set it, or leave --client-cert-auth out",
        ),
        (
            &["--client-cert-auth", "--trusted-ca-file=ca"],
            1,
            "--client-cert-auth is given but --cert-file is not: set it, or leave --client-cert-auth out",
        ),
        (
            &["--client-crl-file=crl"],
            1,
            "--client-crl-file is given but --cert-file is not: set it, or leave --client-crl-file out",
        ),
        (
            &["--cert-file=c", "--key-file=k", "--client-cert-allowed-hostname=a"],
            1,
            "--client-cert-allowed-hostname is given but --trusted-ca-file is not: set it, or leave --client-cert-allowed-hostname out",
        ),
        (
            &["--peer-client-cert-auth", "--peer-trusted-ca-file=ca"],
            1,
            "--peer-client-cert-auth is given but --peer-cert-file is not: set it, or leave --peer-client-cert-auth out",
        ),
        (
            &["--peer-cert-allowed-cn=a"],
            1,
            "--peer-cert-allowed-cn is given but --peer-cert-file is not: set it, or leave --peer-cert-allowed-cn out",
        ),
        (
            &["--peer-cert-allowed-cn=a", "--peer-cert-allowed-hostname=b"],
            1,
            "--peer-cert-allowed-cn and --peer-cert-allowed-hostname exclude each other: leave one out",
        ),
        (
            &["--tls-min-version=TLS1.3", "--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
            1,
            "cipher suites cannot be configured when only TLS1.3 is enabled",
        ),
        (
            &["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
            1,
            "min version (TLS1.3) is greater than max version (TLS1.2)",
        ),
        (
            &["--initial-cluster-state=await", "--initial-cluster=a=http://h:1"],
            1,
            "--initial-cluster-state=await takes its members from the operator: leave --initial-cluster out",
        ),
        (
            &["--initial-cluster-state=await"],
            1,
            "--initial-cluster-state=await waits for the operator: set --listen-admin-urls",
        ),
        (
            &["--listen-admin-urls=http://127.0.0.1:1", "--admin-token-file=t", "--owner-uid=u"],
            1,
            "--owner-uid is given but --owner-name is not: set it, or leave --owner-uid out",
        ),
        (
            &["--listen-admin-urls=http://127.0.0.1:1"],
            1,
            "--listen-admin-urls needs either TLS (https with --admin-cert-file, --admin-key-file and --admin-trusted-ca-file) or --admin-token-file",
        ),
        (&["--initial-cluster=foo"], 1, r#"error setting up initial cluster: empty URL given for "foo""#),
        (
            &["--initial-cluster=a=foo"],
            1,
            "error setting up initial cluster: URL scheme must be http, https, unix, or unixs: foo",
        ),
    ] {
        let error = serve(arguments, &[]).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.exit_code()), (text, code), "{arguments:?}");
    }
}

#[test]
fn pings_to_clients_are_off_when_either_flag_is_zero() {
    let interval = |arguments: &[&str]| serve(arguments, &[]).unwrap().keepalive.interval;
    assert_eq!(interval(&[]), Some(Duration::from_secs(7200)));
    assert_eq!(interval(&["--grpc-keepalive-interval=1s"]), Some(Duration::from_secs(1)));
    assert_eq!(interval(&["--grpc-keepalive-interval=0"]), None);
    assert_eq!(interval(&["--grpc-keepalive-timeout=0s"]), None);
}

#[test]
fn what_is_not_built_is_refused_by_name_and_accepted_at_its_default() {
    for (argument, text) in [
        ("--enable-pprof", r#"--enable-pprof is not supported yet: leave it out, or set it to its default ("false")"#),
        ("--auth-token=jwt", r#"--auth-token is not supported yet: leave it out, or set it to its default ("simple")"#),
        (
            "--feature-gates=InitialCorruptCheck=true",
            "feature gate InitialCorruptCheck is not supported yet: leave it at its default (false)",
        ),
    ] {
        assert_eq!(serve(&[argument], &[]).unwrap_err().to_string(), text);
    }
    let config = serve(
        &[
            "--name=a",
            "--enable-pprof=false",
            "--corrupt-check-time=0s",
            "--feature-gates=FastLeaseKeepAlive=true",
            "--max-wals=5",
        ],
        &[],
    )
    .unwrap();
    assert_eq!(config.warnings, []);
}

#[test]
fn what_has_no_meaning_here_is_accepted_with_a_warning_that_says_why() {
    let config = serve(&["--name=a", "--backend-batch-limit=1", "--v=1"], &[]).unwrap();
    let texts: Vec<String> = config.warnings.iter().map(Warning::to_string).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts.iter().any(|text| text.starts_with("--backend-batch-limit does nothing: ")), "{texts:?}");
}

#[test]
fn snapshot_count_is_warned_of_whenever_it_is_set_and_the_warning_names_what_counts_instead() {
    let texts = |arguments: &[&str], environment: &[(&str, &str)]| -> Vec<String> {
        serve(arguments, environment).unwrap().warnings.iter().map(Warning::to_string).collect()
    };
    assert!(texts(&["--name=a"], &[]).is_empty());
    for found in [
        texts(&["--name=a", "--snapshot-count=10000"], &[]),
        texts(&["--name=a", "--snapshot-count=5"], &[]),
        texts(&["--name=a"], &[("ETCD_SNAPSHOT_COUNT", "10000")]),
    ] {
        let [text] = &found[..] else { panic!("{found:?}") };
        assert!(text.starts_with("--snapshot-count is accepted for etcd's sake and has no effect: "), "{text}");
        assert!(text.contains("--snapshot-catchup-entries") && text.contains("--wal-keep-bytes"), "{text}");
    }
}

#[test]
fn self_signed_pairs_are_asked_for_by_flag_and_given_files_win() {
    let secure = [
        "--name=a",
        "--data-dir=d",
        "--listen-client-urls=https://127.0.0.1:1,https://[::1]:1",
        "--advertise-client-urls=https://a:1",
    ];
    let with = |more: &[&str]| serve(&[&secure, more].concat(), &[]);
    let made = with(&["--auto-tls", "--self-signed-cert-validity=3"]).unwrap().client_tls.unwrap();
    assert_eq!(made.server.certificate, std::path::Path::new("d/fixtures/client/cert.pem"));
    assert_eq!(made.server.key, std::path::Path::new("d/fixtures/client/key.pem"));
    let wanted = made.self_signed.unwrap();
    assert_eq!((wanted.hosts, wanted.validity_years), (vec!["127.0.0.1".to_owned(), "::1".to_owned()], 3));

    let given = with(&["--auto-tls", "--cert-file=c", "--key-file=k"]).unwrap();
    assert_eq!(given.client_tls.unwrap().self_signed, None);
    let warnings: Vec<String> = given.warnings.iter().map(Warning::to_string).collect();
    assert_eq!(warnings, ["ignoring client auto TLS since certs given"]);

    let peer = [
        "--peer-auto-tls",
        "--listen-peer-urls=https://127.0.0.1:2",
        "--initial-advertise-peer-urls=https://127.0.0.1:2",
    ];
    let peer = [&peer[..], &["--initial-cluster=a=https://127.0.0.1:2", "--auto-tls"]].concat();
    let made = with(&peer).unwrap().peer_tls.unwrap();
    assert_eq!(made.server.certificate, std::path::Path::new("d/fixtures/peer/cert.pem"));
    assert!(made.self_signed.is_some() && made.trusted_ca.is_none());

    for (flags, text) in [
        (
            &["--auto-tls", "--self-signed-cert-validity=0"][..],
            "selfSignedCertValidity is invalid,it should be greater than 0",
        ),
        // etcd forgets the CA and lets everybody in.
        (
            &["--auto-tls", "--trusted-ca-file=ca", "--client-cert-auth"],
            "--client-cert-auth is given but --cert-file is not",
        ),
        (
            &["--auto-tls", "--peer-auto-tls", "--peer-trusted-ca-file=ca"],
            "--peer-trusted-ca-file is given but --peer-cert-file is not",
        ),
        (&[], "TLS key/cert (--cert-file, --key-file) must be provided for client url"),
    ] {
        let error = with(flags).unwrap_err().to_string();
        assert!(error.starts_with(text), "{flags:?}: {error}");
    }
}

#[test]
fn a_flag_and_its_variable_or_both_variables_conflict() {
    for (arguments, environment, text) in [
        (
            &["--name=b"][..],
            &[("ETCD_NAME", "a")][..],
            r#"conflicting environment variable "ETCD_NAME" is shadowed by corresponding command-line flag (either unset environment variable or disable flag)"#,
        ),
        (
            &[],
            &[("ETCD_NAME", "a"), ("QUORATE_NAME", "b")],
            r#"environment variables "QUORATE_NAME" and "ETCD_NAME" are both set: unset one of them"#,
        ),
        (&[], &[("ETCD_HEARTBEAT_INTERVAL", "x")], r#"invalid value "x" for ETCD_HEARTBEAT_INTERVAL: parse error"#),
    ] {
        let error = serve(arguments, environment).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.exit_code()), (text, 1));
    }
}

#[test]
fn tls_flags_become_planes() {
    let config = serve(
        &[
            "--name=a",
            "--listen-client-urls=https://127.0.0.1:1",
            "--advertise-client-urls=https://127.0.0.1:1",
            "--cert-file=c",
            "--key-file=k",
            "--trusted-ca-file=ca",
            "--client-cert-auth",
            "--listen-peer-urls=https://127.0.0.1:2",
            "--initial-advertise-peer-urls=https://127.0.0.1:2",
            "--peer-cert-file=pc",
            "--peer-key-file=pk",
            "--peer-trusted-ca-file=pca",
            "--peer-client-cert-auth=true",
            "--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "--listen-admin-urls=https://127.0.0.1:3",
            "--admin-cert-file=ac",
            "--admin-key-file=ak",
            "--admin-trusted-ca-file=aca",
        ],
        &[],
    )
    .unwrap();
    let client = config.client_tls.unwrap();
    assert_eq!(client.trusted_ca, Some("ca".into()));
    assert_eq!(client.protocol.cipher_suites.len(), 1);
    assert_eq!(config.peer_tls.unwrap().client.certificate, PathBuf::from("pc"));
    assert!(matches!(config.admin, Some(Admin { access: AdminAccess::MutualTls(_), .. })));
    assert_eq!(config.warnings, []);
}

#[test]
fn version_begins_as_etcds_and_help_names_every_flag_that_works() {
    let print = |argument: &str| match read([argument.to_owned()], []).unwrap() {
        Request::Print(text) => text,
        Request::Serve(_) => panic!("serves"),
    };
    let version = print("--version");
    assert_eq!(version.lines().next(), Some("etcd Version: 3.7.3"));
    assert_eq!(version.lines().count(), 4);
    let help = print("-h");
    for flag in table::all() {
        assert!(help.contains(flag.name), "--{} is not in the help", flag.name);
    }
    assert!(help.lines().all(|line| line.chars().count() <= 140), "{help}");
}

#[test]
fn the_page_of_flags_is_up_to_date() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/flags.md")).unwrap_or_default();
    assert!(page == flags_doc(), "docs/flags.md is stale: quorate --print-flags-doc > docs/flags.md");
}
