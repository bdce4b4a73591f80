//! `--help`, the usage after an error, and `docs/flags.md`, all made from the table.

use std::fmt::Write;

use super::table::{Flag, GROUPS, Standing};

/// Width of a help line.
const WIDTH: usize = 120;
const INDENT: usize = 6;

/// What is printed after an error of syntax.
pub const USAGE: &str = "\
Usage:

  quorate [flags]
    Start a server. Without flags it is a working single member on localhost:2379.

  quorate --version
    Show the version.

  quorate -h | --help
    Show all flags.

Every flag can be set by QUORATE_X or etcd's ETCD_X in the environment instead (--data-dir is QUORATE_DATA_DIR).
";

/// The text of `--help`.
pub fn help() -> String {
    let mut out = USAGE.to_owned();
    for group in GROUPS {
        let _ = write!(out, "\n{}:\n", group.title);
        for flag in group.flags.iter().filter(|flag| !is_aside(flag)) {
            let _ = writeln!(out, "  {}", head(flag));
            wrap(&mut out, flag.help);
        }
    }
    let aside = |wanted: fn(&Standing) -> bool| {
        let names: Vec<&str> = GROUPS
            .iter()
            .flat_map(|group| group.flags)
            .filter(|flag| wanted(&flag.standing))
            .map(|flag| flag.name)
            .collect();
        names.join(", ")
    };
    out.push_str("\nFlags of etcd that have no meaning here and are accepted with a warning:\n");
    wrap(&mut out, &aside(|standing| matches!(standing, Standing::Inert(_))));
    out.push_str("\nFlags of etcd that are not supported yet and are refused unless set to their defaults:\n");
    wrap(&mut out, &aside(|standing| matches!(standing, Standing::NotBuilt)));
    out
}

fn is_aside(flag: &Flag) -> bool {
    matches!(flag.standing, Standing::Inert(_) | Standing::NotBuilt)
}

fn head(flag: &Flag) -> String {
    let placeholder = flag.kind.placeholder();
    let mut head = format!("--{}", flag.name);
    if !placeholder.is_empty() {
        let _ = write!(head, " {placeholder}");
    }
    if !flag.default.is_empty() {
        let _ = write!(head, " (default {})", flag.default);
    }
    head
}

fn wrap(out: &mut String, text: &str) {
    let mut column = WIDTH;
    for word in text.split_whitespace() {
        if column + 1 + word.chars().count() > WIDTH {
            if !out.ends_with('\n') {
                out.push('\n');
            }
            out.push_str(&" ".repeat(INDENT));
            column = INDENT;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.chars().count();
    }
    out.push('\n');
}

/// The text of `docs/flags.md`.
pub fn flags_doc() -> String {
    let mut out = String::from(
        "# Flags of `quorate`\n\n\
         This page is generated: `quorate --print-flags-doc > docs/flags.md`.\n\n\
         Flags are written as etcd's (`--x=v`, `--x v`, `-x v`; a boolean stands bare; of a flag given twice the last wins). Each can be set \
         in the environment instead, as `QUORATE_X` or, for etcd's flags, as `ETCD_X`; setting a flag and its variable, or both variables, is \
         an error. An unknown variable with these prefixes is logged.\n\n\
         *etcd*: works as in etcd. *ours*: etcd does not have it. *no meaning*: accepted with a warning, for the reason given. \
         *not yet*: refused unless set to its default.\n",
    );
    for group in GROUPS {
        let _ = write!(
            out,
            "\n## {}\n\n| Flag | Variables | Default | Standing | Meaning | Since |\n|---|---|---|---|---|---|\n",
            group.title
        );
        for flag in group.flags {
            let variables: Vec<String> = flag.variables().iter().map(|name| format!("`{name}`")).collect();
            let default = if flag.default.is_empty() { String::new() } else { format!("`{}`", flag.default) };
            let (standing, meaning) = match flag.standing {
                Standing::Etcd => ("etcd", flag.help.to_owned()),
                Standing::Ours => ("ours", flag.help.to_owned()),
                Standing::Inert(reason) | Standing::Replaced(reason) => {
                    ("no meaning", format!("{} Here {reason}.", flag.help))
                }
                Standing::NotBuilt => ("not yet", flag.help.to_owned()),
            };
            let _ = writeln!(
                out,
                "| `--{}` | {} | {default} | {standing} | {meaning} | {} |",
                flag.name,
                variables.join(" "),
                flag.since
            );
        }
    }
    out
}
