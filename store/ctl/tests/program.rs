//! The program itself, where no server is needed: exit codes, what goes to which stream, and the environment.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn run(args: &[&str], environment: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quoratectl"));
    // The developer's own settings must not reach the tests.
    for (name, _) in
        std::env::vars().filter(|(name, _)| name.starts_with("ETCDCTL_") || name.starts_with("QUORATECTL_"))
    {
        command.env_remove(name);
    }
    let output = command.args(args).envs(environment.iter().copied()).stdin(Stdio::null()).output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// An address that refuses connections: it was free a moment ago.
fn dead_endpoint() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn mistakes_exit_with_etcdctls_codes_and_say_so_on_standard_error() {
    for (args, code, message) in [
        (&["put"][..], 128, "Error: put command needs 1 argument and input from stdin or 2 arguments\n"),
        (&["put", "a"], 128, "Error: put command needs 1 argument and input from stdin or 2 arguments\n"),
        (&["get", "a", "-w", "bogus"], 4, "Error: unsupported output format\n"),
        (&["put", "a", "1", "-w", "table"], 4, "Error: table not supported as output format\n"),
        (&["get", "a", "--count-only"], 128, "Error: --count-only is only for `--write-out=fields`\n"),
        (&["txn"], 3, "Error: EOF\n"),
        (&["watch"], 128, "Error: bad number of arguments\n"),
        (&["get", "a", "--endpoints", ""], 2, "Error: etcdclient: no available endpoints\n"),
        (&["lease", "grant", "abc"], 128, "Error: bad TTL (strconv.ParseInt: parsing \"abc\": invalid syntax)\n"),
        (&["compaction", "abc"], 1, "Error: strconv.ParseInt: parsing \"abc\": invalid syntax\n"),
        (&["get", "a", "--cacert", "/nonexistent"], 128, "Error: open /nonexistent: no such file or directory\n"),
        (&["bogus"], 1, "Error: unknown command \"bogus\" for \"quoratectl\"\nRun 'quoratectl --help' for usage.\n"),
    ] {
        let ran = run(args, &[]);
        assert_eq!((ran.code, ran.err.as_str(), ran.out.as_str()), (code, message, ""), "{args:?}");
    }
}

#[test]
fn an_endpoint_that_refuses_is_named_before_the_time_is_up() {
    let endpoint = dead_endpoint();
    for (args, code, out, err) in [
        (&["get", "a"][..], 1, "", "Error: context deadline exceeded\n"),
        (&["lease", "grant", "5"], 1, "", "Error: failed to grant lease (context deadline exceeded)\n"),
        (&["endpoint", "status"], 1, "", "(context deadline exceeded)\n"),
        (&["endpoint", "health"], 1, "", "Error: unhealthy cluster\n"),
    ] {
        let ran = run(args, &[("QUORATECTL_ENDPOINTS", &endpoint), ("ETCDCTL_COMMAND_TIMEOUT", "100ms")]);
        assert_eq!((ran.code, ran.out.as_str()), (code, out), "{args:?}");
        assert!(ran.err.ends_with(err) && ran.err.contains(&endpoint), "{}", ran.err);
    }
}

#[test]
fn help_and_version_need_no_server_and_go_to_standard_output() {
    let help = run(&["help", "get"], &[]);
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    assert!(help.out.contains("quoratectl get [options] <key> [range_end]"), "{}", help.out);
    let version = run(&["version"], &[]);
    assert!(version.out.starts_with("quoratectl version: ") && version.out.ends_with("API version: 3.7\n"));
    let options = run(&["options"], &[]);
    assert!(options.out.contains("  -w, --write-out string "), "{}", options.out);
}
