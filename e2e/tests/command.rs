//! What `quorate-local` says where there is nothing to do or something is missing.

use std::fs;
use std::process::{Command, Output};

fn local(folder: &std::path::Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-local"));
    command.args(arguments).arg("--state-dir").arg(folder).output().expect("the program was built for this test")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn missing_programs_are_named_with_the_command_that_builds_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-local"));
    command.env("QUORATE_CACHE", folder.path()).arg("up").arg("--state-dir").arg(folder.path().join("cluster"));
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let said = said(&output);
    assert!(said.contains("kube-apiserver is not in") && said.contains("run `make setup`"), "{said}");
    assert!(!folder.path().join("cluster").exists(), "nothing was begun");
}

#[test]
fn a_folder_without_a_cluster_has_no_status_and_nothing_to_take_down() {
    let folder = tempfile::tempdir().unwrap();
    let status = local(folder.path(), &["status"]);
    assert!(!status.status.success());
    assert!(said(&status).contains("quorate-local up"), "{}", said(&status));
    let down = local(folder.path(), &["down"]);
    assert!(down.status.success());
    assert!(said(&down).contains("no cluster"), "{}", said(&down));
    let kubectl = local(folder.path(), &["kubeconfig"]);
    assert!(!kubectl.status.success());
    assert!(said(&kubectl).contains("start one"), "{}", said(&kubectl));
}

#[test]
fn somebodys_files_are_neither_used_nor_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("thesis.tex");
    fs::write(&file, "42").unwrap();
    let up = local(folder.path(), &["up"]);
    assert!(!up.status.success());
    assert!(said(&up).contains("choose an empty folder"), "{}", said(&up));
    assert!(local(folder.path(), &["down"]).status.success());
    assert_eq!(fs::read_to_string(&file).unwrap(), "42");
}
