//! The rules of pflag that scripts rely on, case by case.

use super::*;

const PREFIX: Flag = flag("prefix", Kind::Bool(false), "keys with a prefix");
const LIMIT: Flag = flag("limit", Kind::Int, "results at most");
const TIMEOUT: Flag = flag("timeout", Kind::Duration(5), "how long");
const OUT: Flag = Flag { name: "write-out", short: Some('w'), kind: Kind::Text("simple"), help: "format" };
const INTERACTIVE: Flag = Flag { name: "interactive", short: Some('i'), kind: Kind::Bool(false), help: "ask" };
const KNOWN: &[Flag] = &[PREFIX, LIMIT, TIMEOUT, OUT, INTERACTIVE];

fn read(line: &[&str]) -> Result<Parsed, String> {
    let args: Vec<Bytes> = line.iter().map(|arg| Bytes::copy_from_slice(arg.as_bytes())).collect();
    parse(&[KNOWN], &args).map_err(|error| error.to_string())
}

#[test]
fn flags_stand_anywhere_and_take_values_in_every_form() {
    for line in [
        &["a", "--prefix", "b", "--limit", "16", "-w", "json", "-i"][..],
        &["--prefix=true", "--limit=0x10", "a", "-wjson", "b", "--interactive"],
        &["-iw=json", "a", "--prefix=1", "b", "--limit=1_6"],
    ] {
        let parsed = read(line).unwrap();
        assert_eq!(parsed.args, ["a", "b"], "{line:?}");
        assert!(parsed.bool(&PREFIX) && parsed.bool(&INTERACTIVE), "{line:?}");
        assert_eq!((parsed.int(&LIMIT), parsed.text(&OUT)), (16, "json"), "{line:?}");
    }
}

#[test]
fn absent_flags_have_their_defaults() {
    let parsed = read(&["a"]).unwrap();
    assert!(!parsed.bool(&PREFIX) && !parsed.given(&PREFIX) && !parsed.help);
    assert_eq!(
        (parsed.int(&LIMIT), parsed.text(&OUT), parsed.duration(&TIMEOUT)),
        (0, "simple", Duration::from_secs(5))
    );
}

#[test]
fn two_dashes_end_the_flags() {
    let parsed = read(&["k", "--", "-x", "--prefix"]).unwrap();
    assert_eq!((parsed.args, parsed.before_dashes), (vec!["k".into(), "-x".into(), "--prefix".into()], Some(1)));
    assert_eq!(read(&["-"]).unwrap().args, ["-"]);
}

#[test]
fn help_is_recognised_beside_other_flags() {
    assert!(read(&["a", "-h"]).unwrap().help && read(&["--help"]).unwrap().help);
}

#[test]
fn mistakes_are_named_as_pflag_names_them() {
    for (line, error) in [
        (&["--bogus"][..], "unknown flag: --bogus"),
        (&["-z"], "unknown shorthand flag: 'z' in -z"),
        (&["-iz"], "unknown shorthand flag: 'z' in -iz"),
        (&["--write-out"], "flag needs an argument: --write-out"),
        (&["-w"], "flag needs an argument: 'w' in -w"),
        (&["--=x"], "bad flag syntax: --=x"),
        (
            &["--limit", "abc"],
            r#"invalid argument "abc" for "--limit" flag: strconv.ParseInt: parsing "abc": invalid syntax"#,
        ),
        (
            &["--prefix=maybe"],
            r#"invalid argument "maybe" for "--prefix" flag: strconv.ParseBool: parsing "maybe": invalid syntax"#,
        ),
        (
            &["-i=maybe"],
            r#"invalid argument "maybe" for "-i, --interactive" flag: strconv.ParseBool: parsing "maybe": invalid syntax"#,
        ),
        (&["--timeout", "5"], r#"invalid argument "5" for "--timeout" flag: time: missing unit in duration "5""#),
    ] {
        assert_eq!(read(line), Err(error.to_owned()));
    }
}

#[test]
fn usage_is_aligned_and_sorted() {
    let expected = "\
\x20 -h, --help               help for get
  -i, --interactive        ask
      --limit int          results at most
      --prefix             keys with a prefix
      --timeout duration   how long (default 5s)
  -w, --write-out string   format (default \"simple\")
";
    assert_eq!(usage(KNOWN, Some("get")), expected);
}
