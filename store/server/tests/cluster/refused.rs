//! A process that was started for an operator stays on a directory that it refuses, and tells why; any other ends.

use std::fs;
use std::path::{Path, PathBuf};

use quorate_api::admin::change_membership_request::Change;
use quorate_api::admin::{self, Phase};
use tonic::Code;

use super::admission::{change, configuration, found, founded_pair, join};
use crate::member::{Member, authorized};
use crate::ports;

/// A member that was founded, written to, and stopped in order.
async fn stopped(folder: &Path) -> Member {
    let mut member = Member::awaiting(folder, "main-0");
    member.start();
    found(&member).await;
    member.put("k", "v").await;
    assert_eq!(member.terminate(), Some(0), "{}", member.log());
    member
}

/// Starts it, awaits its refusal, which must hold these texts, and ends it in order.
async fn tells(member: &mut Member, wanted: &[&str]) -> admin::MemberStateResponse {
    member.start();
    let state = member.until_phase(Phase::Refused).await;
    // It tells before it logs.
    assert_eq!(member.terminate(), Some(0), "{}", member.log());
    for text in wanted {
        assert!(state.refusal.contains(text), "{text:?} is missing in {:?}", state.refusal);
        assert!(member.log().contains(text), "{text:?} is missing in\n{}", member.log());
    }
    state
}

fn first(folder: PathBuf, is_wanted: impl Fn(&str) -> bool) -> PathBuf {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<PathBuf> = names.filter(|path| is_wanted(path.file_name().unwrap().to_str().unwrap())).collect();
    names.sort();
    names.remove(0)
}

/// Name of the first file in a folder with this end.
fn first_name(folder: &Path, end: &str) -> String {
    let path = first(folder.to_owned(), |name| name.ends_with(end));
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Every file below a folder with what it holds.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(contents(&path)),
            false => found.push((path.clone(), fs::read(path).unwrap())),
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_directory_of_a_later_version_is_told_with_file_and_remedy_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let member = stopped(folder.path()).await;
    fs::write(member.data_dir().join("FORMAT"), "quorate-data 99\n").unwrap();
    let before = contents(&member.data_dir());
    let port = ports::free_port();
    let mut member = member.with_flag(&format!("--listen-metrics-urls=http://127.0.0.1:{port}"));
    member.start();
    let state = member.until_phase(Phase::Refused).await;
    let data = member.data_dir();
    assert_eq!(
        state.refusal,
        format!(
            "{} was written by a later version (format 99, this one reads up to 1): start that version",
            data.display()
        )
    );
    assert_eq!(
        (state.member_name.as_str(), state.member_id, state.cluster_id),
        ("main-0", 0, 0),
        "nothing else is known"
    );

    assert_eq!(Member::page(port, "/livez").0, 200, "a restart would help nobody");
    let (code, page) = Member::page(port, "/readyz?exclude=linearizable_read");
    assert_eq!(code, 503, "{page}");
    assert!(page.contains("format 99"), "{page}");
    assert!(std::net::TcpStream::connect(("127.0.0.1", member.client)).is_err(), "clients are not served");
    assert!(std::net::TcpStream::connect(("127.0.0.1", member.peer)).is_err(), "nor peers");

    let refused = [
        member.admin().found(authorized(admin::FoundRequest::default())).await.err(),
        member.admin().adopt(authorized(admin::AdoptRequest::default())).await.err(),
        member.admin().set_aside(authorized(admin::SetAsideRequest::default())).await.err(),
        member.admin().fence(authorized(admin::FenceRequest { generation: 1, fenced: true })).await.err(),
        member.admin().configuration(authorized(admin::ConfigurationRequest {})).await.err(),
        member.admin().reload_tls(authorized(admin::ReloadTlsRequest {})).await.err(),
    ];
    for status in refused.map(Option::unwrap) {
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        assert!(status.message().starts_with("the data directory is refused"), "{status}");
        assert!(status.message().contains("format 99"), "{status}");
    }
    let status = member.admin().member_state(admin::MemberStateRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "the token counts in this phase, too");
    assert!(member.is_running());
    assert_eq!(member.terminate(), Some(0), "{}", member.log());
    assert_eq!(contents(&data), before);
}

#[tokio::test]
async fn damage_is_told_and_is_over_when_it_is_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let mut member = stopped(folder.path()).await;
    let data = member.data_dir();

    let file = data.join("member.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, &text[..text.len() / 2]).unwrap();
    tells(&mut member, &["member.json is malformed", "restore the file"]).await;
    fs::remove_file(&file).unwrap();
    tells(&mut member, &["has a database but no member.json"]).await;
    fs::write(&file, &text).unwrap();

    let log = data.join("wal");
    let segment = first(log.clone(), |name| name.ends_with(".wal"));
    let good = fs::read(&segment).unwrap();
    let mut bad = good.clone();
    // In the first group, which others follow.
    bad[100] ^= 1;
    fs::write(&segment, bad).unwrap();
    let state = tells(&mut member, &["WAL segment", "rebuild"]).await;
    assert_ne!((state.member_id, state.cluster_id), (0, 0), "what the directory says of itself is known");
    assert!(!state.disk_id.is_empty());
    fs::write(&segment, good).unwrap();

    fs::rename(&log, folder.path().join("kept")).unwrap();
    tells(&mut member, &["holds no write-ahead log although one was begun", "--wal-dir"]).await;
    assert!(!log.exists(), "nothing is made in its place");
    fs::rename(folder.path().join("kept"), &log).unwrap();

    let database = first(data.join("db"), |_| true);
    let table = first(database, |name| name.ends_with(".sst"));
    let aside = folder.path().join("table");
    fs::rename(&table, &aside).unwrap();
    tells(&mut member, &["is damaged", table.file_name().unwrap().to_str().unwrap(), "rebuild this member"]).await;
    fs::rename(&aside, &table).unwrap();

    member.start();
    member.until_phase(Phase::Running).await;
    member.put("k", "w").await;
}

#[tokio::test]
async fn a_member_that_waits_never_takes_the_log_of_another_and_starts_once_it_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let flag = format!("--wal-dir={}", log.display());
    let mut first = Member::awaiting(folder.path(), "main-0").with_flag(&flag);
    first.start();
    found(&first).await;
    first.put("k", "v").await;
    let disk_id = first.until_phase(Phase::Running).await.disk_id;
    assert_eq!(first.terminate(), Some(0), "{}", first.log());
    let segments = || contents(&log).into_iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "wal"));
    let before: Vec<_> = segments().collect();

    let mut new = Member::awaiting(folder.path(), "main-1").with_flag(&flag);
    let segment = first_name(&log, ".wal");
    let wanted = [format!("{segment} has disk id {disk_id}"), format!("{} (which is new)", new.data_dir().display())];
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).chain(["an empty --wal-dir"]).collect();
    let state = tells(&mut new, &wanted).await;
    assert!(state.disk_id.is_empty(), "it is no disk that a learner could be added for: {}", state.disk_id);
    assert!(segments().eq(before), "the log was touched");

    let kept = folder.path().join("kept");
    fs::rename(&log, &kept).unwrap();
    new.start();
    let waiting = new.until_phase(Phase::AwaitingAdmission).await.disk_id;
    assert_eq!(new.terminate(), Some(0), "{}", new.log());
    fs::remove_dir_all(&log).unwrap();
    fs::rename(&kept, &log).unwrap();
    tells(&mut new, &[&format!("has disk id {disk_id}"), &format!("(disk id {waiting}) has begun none")]).await;

    first.start();
    first.until_phase(Phase::Running).await;
    first.put("k", "w").await;
}

#[tokio::test]
async fn a_member_is_told_when_its_log_is_lost_or_that_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let log = |i: u32| folder.path().join(format!("log-{i}"));
    let mut members: Vec<Member> = (0..2)
        .map(|i| {
            Member::awaiting(folder.path(), &format!("main-{i}")).with_flag(&format!("--wal-dir={}", log(i).display()))
        })
        .collect();
    for member in &mut members {
        member.start();
        found(member).await;
        member.put("k", "v").await;
        assert_eq!(member.terminate(), Some(0), "{}", member.log());
    }
    let kept = folder.path().join("kept");
    fs::rename(log(0), &kept).unwrap();
    let state = tells(&mut members[0], &["holds no write-ahead log although one was begun", "--wal-dir"]).await;
    fs::remove_dir_all(log(0)).unwrap();
    fs::rename(log(1), log(0)).unwrap();
    let segment = first_name(&log(0), ".wal");
    let wanted = [&segment, "belongs to another data directory", &state.disk_id, "--wal-dir"];
    tells(&mut members[0], &wanted).await;
    fs::remove_dir_all(log(0)).unwrap();
    fs::rename(&kept, log(0)).unwrap();
    members[0].start();
    members[0].until_phase(Phase::Running).await;
    members[0].put("k", "w").await;
}

#[tokio::test]
async fn what_a_restart_may_cure_ends_the_process_for_an_operator_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut holder = stopped(folder.path()).await;
    holder.start();
    holder.until_phase(Phase::Running).await;
    let mut second = Member::awaiting(&folder.path().join("other"), "main-0");
    std::os::unix::fs::symlink(holder.data_dir(), second.data_dir()).unwrap();
    second.start();
    assert_eq!(second.until_exit().await, Some(1), "{}", second.log());
    assert!(second.log().contains("is used by another process"), "{}", second.log());
}

#[tokio::test]
async fn the_disk_of_a_removed_member_is_not_refused_and_can_be_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (a, mut b, id) = founded_pair(folder.path()).await;
    change(&a, Change::Remove(id)).await.unwrap();
    assert_eq!(b.until_exit().await, Some(0), "{}", b.log());
    b.start();
    let state = b.until_phase(Phase::Removed).await;
    assert!(state.refusal.is_empty(), "{}", state.refusal);
    b.admin().set_aside(authorized(admin::SetAsideRequest { owner_uid: state.owner_uid })).await.unwrap();
    b.kill();
    b.start();
    b.until_phase(Phase::AwaitingAdmission).await;
    join(&a, &b).await;
    assert_eq!(configuration(&a).await.members.len(), 2);
}
