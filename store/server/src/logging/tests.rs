//! Lines as they reach a file, and what a panic leaves behind.

use super::*;

use serde_json::Value;

/// Logs into a file with a subscriber of this thread alone; gives back what is written.
fn logged(format: LogFormat, level: LogLevel, events: impl FnOnce(&reload::Handle<Targets, Registry>)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let sinks = Sinks::open(&[LogOutput::File(path.clone())]).unwrap();
    let (filter, handle) = reload::Layer::new(targets(level));
    let layer = ZapLayer { output: Arc::new(Output { format, sinks }) };
    let subscriber = Registry::default().with(layer.with_filter(filter));
    tracing::subscriber::with_default(subscriber, || events(&handle));
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_line_has_zaps_keys_and_then_its_fields() {
    let text = logged(LogFormat::Json, LogLevel::Info, |_| {
        tracing::warn!(member_id = 7u64, took_ms = 1.5, error = %"a \"quoted\"\ncause", "slow disk");
    });
    assert_eq!(text.lines().count(), 1);
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&line["level"], &line["msg"]), (&Value::from("warn"), &Value::from("slow disk")));
    assert_eq!(line["member-id"], 7);
    assert_eq!(line["took-ms"], 1.5);
    assert_eq!(line["error"], "a \"quoted\"\ncause");
    assert!(line["caller"].as_str().unwrap().starts_with("logging/tests.rs:"), "{line}");
    assert!(text.starts_with(r#"{"level":"warn","ts":"2"#), "{text}");
    let at = ["level", "ts", "caller", "msg"].map(|key| text.find(&format!("\"{key}\":")).unwrap());
    assert!(at.is_sorted(), "{text}");
}

#[test]
fn a_console_line_has_columns() {
    let text = logged(LogFormat::Console, LogLevel::Info, |_| tracing::info!(revision = 5, "compacted"));
    let columns: Vec<&str> = text.trim_end().split('\t').collect();
    assert_eq!((columns[1], columns[3], columns[4]), ("info", "compacted", r#"{"revision":5}"#), "{text}");
}

#[test]
fn the_level_holds_and_can_be_changed_while_running() {
    let text = logged(LogFormat::Json, LogLevel::Warn, |handle| {
        tracing::info!("hidden");
        handle.reload(targets(LogLevel::Debug)).unwrap();
        tracing::debug!("shown");
        tracing::debug!(target: "h2", "hidden");
        handle.reload(targets(LogLevel::Fatal)).unwrap();
        tracing::error!("hidden");
    });
    assert!(text.contains("shown") && !text.contains("hidden"), "{text}");
}

/// Runs in a process of its own (see the test below), because its panic ends it.
#[test]
#[ignore = "started by the test of panics"]
fn panics_in_a_thread() {
    let path = std::env::var_os("QUORATE_TEST_LOG").expect("set by the parent");
    let outputs = vec![LogOutput::File(path.into())];
    install(&Log { level: LogLevel::Info, format: LogFormat::Json, outputs }).unwrap();
    let _ = std::thread::Builder::new().name("wal".to_owned()).spawn(|| panic!("bad record")).unwrap().join();
    unreachable!("the process has ended");
}

#[test]
fn a_panic_of_any_thread_is_logged_and_ends_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "logging::tests::panics_in_a_thread"])
        .env("QUORATE_TEST_LOG", &path)
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = std::fs::read_to_string(path).unwrap();
    let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(line["level"], "panic");
    assert_eq!(line["msg"], "bad record");
    assert_eq!(line["thread"], "wal");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(6), "aborted");
}
