//! Logs: JSON on standard error, or lines for people.

use tracing_subscriber::EnvFilter;

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Json,
    Console,
}

/// Starts logging; `filter` is a level or a list of `target=level`.
pub fn start(filter: &str, format: Format) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::try_new(filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        Format::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
        Format::Console => builder.init(),
    }
    Ok(())
}
