//! The program `quoratectl`.

use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use bytes::Bytes;
use quoratectl::program;

fn main() -> ExitCode {
    let args: Vec<Bytes> = std::env::args_os().skip(1).map(|arg| Bytes::from(arg.into_vec())).collect();
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    match program::run(&args, environment.collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is_silent() {
                eprintln!("Error: {error}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}
