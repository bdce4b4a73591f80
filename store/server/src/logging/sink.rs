//! Where lines go: standard error, standard output, files.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, PoisonError};

use super::{Error, LogOutput};

/// The open outputs; a line goes to all of them, whole lines never mix.
pub struct Sinks(Mutex<Vec<Sink>>);

enum Sink {
    Stderr,
    Stdout,
    File(File),
}

impl Sinks {
    pub fn open(outputs: &[LogOutput]) -> Result<Sinks, Error> {
        let open = |output: &LogOutput| {
            Ok(match output {
                LogOutput::Stderr => Sink::Stderr,
                LogOutput::Stdout => Sink::Stdout,
                LogOutput::File(path) => Sink::File(
                    OpenOptions::new()
                        .append(true)
                        .create(true)
                        .mode(0o600)
                        .open(path)
                        .map_err(|source| Error::Open { path: path.display().to_string(), source })?,
                ),
            })
        };
        Ok(Sinks(Mutex::new(outputs.iter().map(open).collect::<Result<_, _>>()?)))
    }

    /// Writes a line to every output. One that cannot be written (a closed pipe, a full disk) is passed over: a server does not
    /// stop for its log.
    pub fn write(&self, line: &[u8]) {
        for sink in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            let _ = match sink {
                Sink::Stderr => io::stderr().write_all(line),
                Sink::Stdout => io::stdout().lock().write_all(line).and_then(|()| io::stdout().flush()),
                Sink::File(file) => file.write_all(line),
            };
        }
    }
}
