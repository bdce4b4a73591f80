//! The log: lines as etcd's (zap's) on standard error, so that tools which read etcd's log read ours.
//!
//! Every line has `level`, `ts`, `caller` and `msg`, then the event's fields. What must never be in it — a value, a password, a
//! token — is never handed to an event. Lines are written whole and at once: nothing is buffered that a crash could lose.

mod format;
mod sink;

use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{Log, LogFormat, LogLevel, LogOutput};
use format::Line;
use sink::Sinks;

/// Crates whose events appear from the configured level on; those of others only from `warn`, or all of them at `debug`.
const OWN_CRATES: [&str; 2] = ["quorate", "quorate_core"];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("--log-outputs: cannot open {path} for appending: {source}")]
    Open { path: String, source: std::io::Error },
    #[error("a log is already installed in this process")]
    Installed,
}

/// The running log.
#[derive(Clone)]
pub struct Handle {
    level: reload::Handle<Targets, Registry>,
    output: Arc<Output>,
}

struct Output {
    format: LogFormat,
    sinks: Sinks,
}

impl Output {
    fn write(&self, line: &Line) {
        self.sinks.write(line.render(self.format).as_bytes());
    }
}

/// Starts the log of this process, and makes every panic end the process after logging it: a thread that is gone would leave a
/// member that looks alive.
///
/// # Errors
/// A file that cannot be opened, or a second call.
pub fn install(settings: &Log) -> Result<Handle, Error> {
    let output = Arc::new(Output { format: settings.format, sinks: Sinks::open(&settings.outputs)? });
    let (filter, level) = reload::Layer::new(targets(settings.level));
    let layer = ZapLayer { output: output.clone() };
    tracing::subscriber::set_global_default(Registry::default().with(layer.with_filter(filter)))
        .map_err(|_| Error::Installed)?;
    let handle = Handle { level, output };
    abort_on_panic(handle.clone());
    Ok(handle)
}

impl Handle {
    /// Changes the level of everything logged from now on.
    pub fn set_level(&self, level: LogLevel) {
        self.level.reload(targets(level)).expect("the subscriber lives as long as the process");
    }

    /// Writes a line of level `fatal`, whatever the level is; the caller ends the process with it.
    pub fn fatal(&self, message: &str, error: &dyn std::error::Error) {
        let mut line = Line::new("fatal", "main", message);
        line.field("error", error.to_string().into());
        self.output.write(&line);
    }
}

fn targets(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Panic | LogLevel::Fatal => LevelFilter::OFF,
    };
    let foreign = if level == LogLevel::Debug { LevelFilter::INFO } else { own.min(LevelFilter::WARN) };
    Targets::new().with_default(foreign).with_targets(OWN_CRATES.map(|name| (name, own)))
}

/// Installs a hook that logs a panic of any thread and aborts the process.
fn abort_on_panic(handle: Handle) {
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload_as_str().unwrap_or("panic without a text");
        let caller = panic.location().map_or_else(String::new, |at| format::caller(at.file(), at.line()));
        let mut line = Line::new("panic", &caller, message);
        line.field("thread", std::thread::current().name().unwrap_or("unnamed").into());
        line.field("stacktrace", std::backtrace::Backtrace::force_capture().to_string().into());
        handle.output.write(&line);
        std::process::abort();
    }));
}

/// Turns events into lines.
struct ZapLayer {
    output: Arc<Output>,
}

impl<S: Subscriber> Layer<S> for ZapLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.output.write(&Line::of(event));
    }
}

#[cfg(test)]
mod tests;
