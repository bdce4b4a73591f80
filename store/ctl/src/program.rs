//! From arguments to a running command: finds the command, reads its flags and the environment, prints help.

use bytes::Bytes;

use crate::command::{self, Context};
use crate::commands::{ALL, Action, Body, Command, Group, UNSUPPORTED};
use crate::error::Error;
use crate::flags::{self, Flag, Kind, Parsed};
use crate::settings::{self, Environment, GLOBAL, Settings};

const NAME: &str = "quoratectl";
/// A name within so many edits of a command's is taken for a slip of the fingers.
const SUGGESTION_EDITS_MAX: usize = 2;

/// Runs the command that `args` (without the program's name) ask for. An error is not printed yet.
pub fn run(args: &[Bytes], environment: Environment) -> Result<(), Error> {
    let (path, rest) = locate(args)?;
    let known: Vec<&[Flag]> = std::iter::once(GLOBAL).chain(path.iter().map(|command| command.flags)).collect();
    let mut parsed = flags::parse(&known, &rest).map_err(|source| Error::Flag { source, usage: synopsis(&path) })?;
    let action = match path.last().map(|command| command.body) {
        Some(Body::Action(action)) if !parsed.help => action,
        _ if parsed.help || parsed.args.is_empty() => return Ok(command::write(help(&path).as_bytes())?),
        _ => return Err(unknown(&parsed, &path)),
    };
    match action {
        Action::Options => return Ok(command::write(options().as_bytes())?),
        Action::Version => return Ok(command::write(version().as_bytes())?),
        _ => {}
    }
    for warning in settings::apply_environment(&mut parsed, &environment)? {
        eprintln!("Warning: {warning}");
    }
    for line in settings::describe(&parsed) {
        eprintln!("{line}");
    }
    let mut settings = Settings::new(&parsed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for warning in settings.discover().await? {
            eprintln!("{warning}");
        }
        command::run(action, &Context::new(settings, parsed, environment)).await
    })
}

/// etcd's version that the API is that of, beside our own.
fn version() -> String {
    format!("{NAME} version: {}\nAPI version: 3.7\n", env!("CARGO_PKG_VERSION"))
}

/// Follows the arguments down the table of commands. Returns the commands found, outermost first, and the arguments
/// without their names; unknown names stay among the arguments.
fn locate(args: &[Bytes]) -> Result<(Vec<&'static Command>, Vec<Bytes>), Error> {
    let mut rest = args.to_vec();
    let mut path: Vec<&'static Command> = Vec::new();
    let mut below = ALL;
    while let Some(position) = first_positional(&rest, &path) {
        let name = String::from_utf8_lossy(&rest[position]).into_owned();
        if path.is_empty() && name == "help" {
            rest[position] = Bytes::from_static(b"--help");
            continue;
        }
        let Some(command) = find(below, &name) else { break };
        rest.remove(position);
        path.push(command);
        match command.body {
            Body::Commands(commands) => below = commands,
            Body::Action(_) => break,
        }
    }
    Ok((path, rest))
}

/// The command of that name, or the only one that begins with it.
fn find(commands: &'static [Command], name: &str) -> Option<&'static Command> {
    if let Some(exact) = commands.iter().find(|command| command.name == name) {
        return Some(exact);
    }
    let mut begin = commands.iter().filter(|command| command.name.starts_with(name));
    begin.next().filter(|_| begin.next().is_none())
}

/// Where the first argument stands that is neither a flag nor a flag's value.
fn first_positional(args: &[Bytes], path: &[&Command]) -> Option<usize> {
    let flags: Vec<&Flag> = GLOBAL.iter().chain(path.iter().flat_map(|command| command.flags)).collect();
    let mut position = 0;
    while position < args.len() {
        let arg = String::from_utf8_lossy(&args[position]).into_owned();
        let takes_next = |flag: Option<&&Flag>| flag.is_some_and(|flag| !matches!(flag.kind, Kind::Bool(_)));
        position += match arg.strip_prefix('-') {
            Some("-") => return None,
            None | Some("") => return Some(position),
            Some(_) if arg.contains('=') => 1,
            Some(long) if long.starts_with('-') => {
                1 + usize::from(takes_next(flags.iter().find(|flag| flag.name == &long[1..])))
            }
            Some(short) => {
                let last = short.chars().last();
                let found = flags.iter().find(|flag| flag.short == last);
                1 + usize::from(short.chars().count() == 1 && takes_next(found))
            }
        };
    }
    None
}

fn full_name(path: &[&Command]) -> String {
    std::iter::once(NAME).chain(path.iter().map(|command| command.name)).collect::<Vec<_>>().join(" ")
}

fn unknown(parsed: &Parsed, path: &[&Command]) -> Error {
    let name = String::from_utf8_lossy(&parsed.args[0]).into_owned();
    if path.is_empty() && UNSUPPORTED.contains(&name.as_str()) {
        return Error::UnsupportedCommand { name };
    }
    let below = match path.last().map(|command| command.body) {
        Some(Body::Commands(below)) => below,
        _ => ALL,
    };
    let near: Vec<&str> = below
        .iter()
        .map(|command| command.name)
        .filter(|known| known.starts_with(&name) || edits(known, &name) <= SUGGESTION_EDITS_MAX)
        .collect();
    let hint = match near.as_slice() {
        [] => String::new(),
        near => format!("\nDid you mean this?\n\t{}\n\n", near.join("\n\t")),
    };
    Error::UnknownCommand { name, parent: full_name(path), hint }
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn synopsis(path: &[&Command]) -> String {
    let name = full_name(path);
    let Some(command) = path.last() else { return format!("Usage:\n  {NAME} [command]\n") };
    let mut text = match command.body {
        Body::Commands(_) => format!("Usage:\n  {name} [command]\n"),
        Body::Action(_) => format!("Usage:\n  {}\n", format!("{name} [options] {}", command.arguments).trim_end()),
    };
    if let Body::Commands(below) = command.body {
        text.push_str("\nAvailable commands:\n");
        text.push_str(&table(below.iter()));
    }
    text.push_str(&format!("\nFlags:\n{}", flags::usage(command.flags, Some(command.name))));
    let inherited: Vec<Flag> = path[..path.len() - 1].iter().flat_map(|command| command.flags).copied().collect();
    if !inherited.is_empty() {
        text.push_str(&format!(
            "\nFlags of '{}':\n{}",
            full_name(&path[..path.len() - 1]),
            flags::usage(&inherited, None)
        ));
    }
    text.push_str(&format!("\nUse \"{NAME} options\" for the flags that every command takes.\n"));
    text
}

fn help(path: &[&Command]) -> String {
    let Some(command) = path.last() else { return overview() };
    let details = if command.details.is_empty() { String::new() } else { format!("\n{}\n", command.details.trim()) };
    format!("{}\n{details}\n{}", command.about, synopsis(path))
}

fn overview() -> String {
    let mut text =
        format!("The command line client of Quorate, with etcdctl's commands.\n\nUsage:\n  {NAME} [command]\n");
    for group in Group::ALL {
        text.push_str(&format!("\n{}\n", group.heading()));
        text.push_str(&table(ALL.iter().filter(|command| command.group == group)));
    }
    text.push_str(&format!(
        "\nUse \"{NAME} [command] --help\" for more about a command.\n\
         Use \"{NAME} options\" for the flags that every command takes.\n"
    ));
    text
}

fn table<'a>(commands: impl Iterator<Item = &'a Command> + Clone) -> String {
    let width = commands.clone().map(|command| command.name.len()).max().unwrap_or_default();
    commands.map(|command| format!("  {:width$}  {}\n", command.name, command.about)).collect()
}

fn options() -> String {
    format!(
        "Every command takes these flags. Each can come from the environment, as QUORATECTL_ENDPOINTS for --endpoints,\n\
         or ETCDCTL_ENDPOINTS where that is not set.\n\n{}",
        flags::usage(GLOBAL, None)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locate_line(line: &str) -> (String, Vec<Bytes>) {
        let args: Vec<Bytes> = line.split_whitespace().map(|arg| Bytes::copy_from_slice(arg.as_bytes())).collect();
        let (path, rest) = locate(&args).unwrap();
        (full_name(&path), rest)
    }

    #[test]
    fn commands_are_found_behind_flags_and_by_a_unique_beginning() {
        for (line, name, rest) in [
            ("get k", "quoratectl get", &["k"][..]),
            ("-w json --hex get k", "quoratectl get", &["-w", "json", "--hex", "k"]),
            ("--write-out=json ge k", "quoratectl get", &["--write-out=json", "k"]),
            ("lease keep --once 1", "quoratectl lease keep-alive", &["--once", "1"]),
            ("endpoint --cluster status", "quoratectl endpoint status", &["--cluster"]),
            ("me l", "quoratectl member list", &[]),
            ("help lease grant", "quoratectl lease grant", &["--help"]),
            ("e status", "quoratectl endpoint status", &[]),
            ("a", "quoratectl alarm", &[]),
            ("get get", "quoratectl get", &["get"]),
            ("lease bogus", "quoratectl lease", &["bogus"]),
            ("-- get", "quoratectl", &["--", "get"]),
        ] {
            let (got, args) = locate_line(line);
            assert_eq!(
                (got.as_str(), args.as_slice()),
                (name, rest.iter().map(|arg| Bytes::from(*arg)).collect::<Vec<_>>().as_slice()),
                "{line}"
            );
        }
    }

    #[test]
    fn a_slip_in_a_name_is_answered_with_the_nearest_command() {
        let error = |line: &str| {
            let args: Vec<Bytes> = line.split_whitespace().map(|arg| Bytes::copy_from_slice(arg.as_bytes())).collect();
            run(&args, Environment::new()).unwrap_err()
        };
        assert_eq!(
            error("gett a").to_string(),
            "unknown command \"gett\" for \"quoratectl\"\n\nDid you mean this?\n\tget\n\nRun 'quoratectl --help' for usage."
        );
        assert_eq!(
            error("bogus").to_string(),
            "unknown command \"bogus\" for \"quoratectl\"\nRun 'quoratectl --help' for usage."
        );
        assert!(error("lease grand 5").to_string().contains("\tgrant\n"));
        assert!(error("snapshot save x").to_string().contains("use etcdctl"));
        assert_eq!(error("get a --bogus").exit_code(), 1);
        assert!(error("get a --bogus").to_string().starts_with("unknown flag: --bogus\nUsage:\n  quoratectl get"));
    }

    #[test]
    fn every_command_shows_its_flags_in_its_help() {
        fn check(path: &mut Vec<&'static Command>, below: &'static [Command]) {
            for command in below {
                path.push(command);
                let text = help(path);
                assert!(text.contains(command.about) && text.contains("-h, --help"), "{text}");
                for flag in command.flags {
                    assert!(text.contains(&format!("--{}", flag.name)) && text.contains(flag.help), "{text}");
                }
                if let Body::Commands(below) = command.body {
                    check(path, below);
                }
                path.pop();
            }
        }
        check(&mut Vec::new(), ALL);
    }
}
