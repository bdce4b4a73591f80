//! What a member refuses to start on: each refusal names the file, what is wrong with it, and what to do.

use std::fs;
use std::path::{Path, PathBuf};

use crate::member::Member;

/// A member that stopped in order, with a log of several segments.
async fn stopped(folder: &Path) -> Member {
    let mut member = Member::static_cluster(folder, 1).remove(0).with_flag("--snapshot-catchup-entries=1000000");
    member.start();
    let value = "x".repeat(1 << 20);
    for i in 0..14 {
        member.put(&format!("k{i}"), &value).await;
    }
    assert_eq!(member.terminate(), Some(0), "{}", member.log());
    member
}

fn segments(member: &Member) -> Vec<PathBuf> {
    let entries = fs::read_dir(member.data_dir().join("wal")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "wal")).collect();
    found.sort();
    assert!(found.len() >= 2, "{found:?}");
    found
}

/// Starts it in vain; the last line of its log must hold all of these.
fn refused(member: &mut Member, wanted: &[&str]) {
    member.start();
    assert_ne!(member.wait(), Some(0), "it started");
    let log = member.log();
    let last = log.lines().rfind(|line| line.contains("fatal") || line.contains("error")).unwrap_or_default();
    for text in wanted {
        assert!(last.contains(text), "{text:?} is missing in\n{last}");
    }
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[tokio::test]
async fn a_log_that_is_damaged_before_its_end_is_refused_with_file_and_offset() {
    let folder = tempfile::tempdir().unwrap();
    let mut member = stopped(folder.path()).await;
    let first = segments(&member).remove(0);
    let mut bytes = fs::read(&first).unwrap();
    bytes[1_500_000] ^= 1;
    fs::write(&first, bytes).unwrap();
    refused(&mut member, &[name(&first), "offset", "rebuild"]);
}

#[tokio::test]
async fn a_log_without_one_of_its_segments_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut member = stopped(folder.path()).await;
    let segments = segments(&member);
    // The newest is not missed by the others: the database knows more than what is left.
    fs::rename(&segments[segments.len() - 1], folder.path().join("kept")).unwrap();
    refused(&mut member, &["applied", "rebuild"]);
    fs::rename(folder.path().join("kept"), &segments[segments.len() - 1]).unwrap();
    fs::remove_dir_all(member.data_dir().join("wal")).unwrap();
    refused(&mut member, &["wal", "--wal-dir"]);
}

#[tokio::test]
async fn the_log_of_another_member_is_refused_by_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let first = stopped(folder.path()).await;
    let log = first.data_dir().join("wal");
    let mut new = Member::static_cluster(&folder.path().join("new"), 1).remove(0);
    new = new.with_flag(&format!("--wal-dir={}", log.display()));
    let segment = segments(&first).remove(0);
    refused(&mut new, &[name(&segment), "another data directory", "has disk id", "an empty --wal-dir"]);
}

#[tokio::test]
async fn formats_of_a_later_version_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut member = stopped(folder.path()).await;
    let format = member.data_dir().join("FORMAT");
    let now = fs::read(&format).unwrap();
    fs::write(&format, "quorate-data 99\n").unwrap();
    refused(&mut member, &["99", "version"]);
    fs::write(&format, now).unwrap();
    let file = member.data_dir().join("member.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("\"format\": 1", "\"format\": 99", 1)).unwrap();
    refused(&mut member, &["member.json", "99", "version"]);
    fs::write(&file, text).unwrap();
    member.start();
    member.put("works", "again").await;
}

#[tokio::test]
async fn a_second_process_on_the_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = Member::static_cluster(folder.path(), 1);
    members[0].start();
    members[0].put("k", "v").await;
    let mut other = Member::static_cluster(&folder.path().join("other"), 1).remove(0);
    std::os::unix::fs::symlink(members[0].data_dir(), other.data_dir()).unwrap();
    refused(&mut other, &["is used by another process", "two members must not share a directory"]);
    members[0].put("k", "w").await;
}
