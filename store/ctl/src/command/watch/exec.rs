//! The command that runs for each event of a watch.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use bytes::Bytes;
use quorate_api::mvccpb::Event;
use tokio::process::Command;

use crate::Error;
use crate::go::quote::quote;

/// Runs `command` to its end, with the event in its environment, quoted as in Go. A failure ends the watch.
pub async fn run(command: &[Bytes], revision: i64, event: &Event) -> Result<(), Error> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let kv = event.kv.clone().unwrap_or_default();
    let status = Command::new(OsStr::from_bytes(program))
        .args(arguments.iter().map(|argument| OsStr::from_bytes(argument)))
        .env("ETCD_WATCH_REVISION", revision.to_string())
        .env("ETCD_WATCH_EVENT_TYPE", quote(event.r#type().as_str_name().as_bytes()))
        .env("ETCD_WATCH_KEY", quote(&kv.key))
        .env("ETCD_WATCH_VALUE", quote(&kv.value))
        .status()
        .await;
    let reason = match status {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => ended(status),
        Err(error) => unstarted(program, &error),
    };
    let words: Vec<String> = command.iter().map(|word| quote(word)).collect();
    eprintln!("command [{}] error ({reason})", words.join(" "));
    Err(Error::Reported)
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal: {signal}"),
        (None, None) => status.to_string(),
    }
}

fn unstarted(program: &[u8], error: &std::io::Error) -> String {
    let name = String::from_utf8_lossy(program);
    match error.kind() {
        std::io::ErrorKind::NotFound if !name.contains('/') => {
            format!("exec: {}: executable file not found in $PATH", quote(program))
        }
        std::io::ErrorKind::NotFound => format!("fork/exec {name}: no such file or directory"),
        std::io::ErrorKind::PermissionDenied => format!("fork/exec {name}: permission denied"),
        _ => format!("fork/exec {name}: {error}"),
    }
}
