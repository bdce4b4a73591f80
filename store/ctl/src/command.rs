//! What commands share: connecting, deadlines, printing. Each command stands in a file of its own.

pub mod alarm;
pub mod compaction;
pub mod defrag;
pub mod del;
pub mod endpoint;
pub mod get;
pub mod lease;
pub mod member;
pub mod put;
pub mod txn;
pub mod watch;

use std::io::Write;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::Error;
use crate::client::{Client, Options};
use crate::commands::Action;
use crate::flags::Parsed;
use crate::render::{Render, Style, render};
use crate::settings::{Environment, Settings};

/// What a command has to work with.
pub struct Context {
    pub settings: Settings,
    pub parsed: Parsed,
    pub environment: Environment,
}

/// Runs one command to its end.
pub async fn run(action: Action, context: &Context) -> Result<(), Error> {
    match action {
        Action::Get => get::run(context).await,
        Action::Put => put::run(context).await,
        Action::Del => del::run(context).await,
        Action::Txn => txn::run(context).await,
        Action::Compaction => compaction::run(context).await,
        Action::Watch => watch::run(context).await,
        Action::LeaseGrant => lease::grant(context).await,
        Action::LeaseRevoke => lease::revoke(context).await,
        Action::LeaseTimeToLive => lease::time_to_live(context).await,
        Action::LeaseList => lease::list(context).await,
        Action::LeaseKeepAlive => lease::keep_alive(context).await,
        Action::MemberAdd => member::add(context).await,
        Action::MemberRemove => member::remove(context).await,
        Action::MemberUpdate => member::update(context).await,
        Action::MemberPromote => member::promote(context).await,
        Action::MemberRebuild => member::rebuild(context).await,
        Action::MemberList => member::list(context).await,
        Action::EndpointStatus => endpoint::status(context).await,
        Action::EndpointHealth => endpoint::health(context).await,
        Action::EndpointHashKv => endpoint::hash_kv(context).await,
        Action::AlarmList => alarm::list(context).await,
        Action::AlarmDisarm => alarm::disarm(context).await,
        Action::Defrag => defrag::run(context).await,
        // Both only print what the program knows of itself, before there is a context.
        Action::Version | Action::Options => Ok(()),
    }
}

/// Writes to standard output at once, so that nothing waits in a buffer when the program ends.
pub fn write(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // A reader that has enough (`| head`) is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

impl Context {
    pub fn new(settings: Settings, parsed: Parsed, environment: Environment) -> Context {
        Context { settings, parsed, environment }
    }

    pub fn args(&self) -> &[Bytes] {
        &self.parsed.args
    }

    pub fn style(&self) -> Style {
        Style { hex: self.settings.hex, values_only: false }
    }

    /// Connects and calls, all within the command's timeout.
    pub async fn call<T>(&self, call: impl AsyncFnOnce(Client) -> Result<T, Status>) -> Result<T, Error> {
        self.call_with(&self.settings.client, call).await
    }

    /// As [`Context::call`], with other endpoints.
    pub async fn call_with<T>(
        &self,
        options: &Options,
        call: impl AsyncFnOnce(Client) -> Result<T, Status>,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + self.settings.command_timeout;
        let client = connect(options, deadline).await?;
        match timeout_at(deadline, call(client)).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(Error::DeadlineExceeded),
        }
    }

    /// Prints an answer in the format that was asked for.
    pub fn print(&self, answer: &impl Render) -> Result<(), Error> {
        Ok(write(&render(answer, self.settings.format, self.style())?)?)
    }
}

/// Connects within `deadline`; tells on standard error why it could not.
pub async fn connect(options: &Options, deadline: Instant) -> Result<Client, Error> {
    let mut reason = None;
    let result = Client::connect_until(options, deadline, |why| reason = Some(why.to_owned())).await;
    if let (Err(_), Some(reason)) = (&result, reason) {
        eprintln!("Cannot connect to {reason}: is the server up, and are --endpoints and the TLS flags right?");
    }
    Ok(result?)
}

/// An argument as text; what is not UTF-8 in it shows as such and then fails to parse.
pub fn text(arg: &Bytes) -> String {
    String::from_utf8_lossy(arg).into_owned()
}
