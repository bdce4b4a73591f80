//! The directory on a real file system: what is made, what is kept, and what is refused with which words.

use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;
use crate::wal::{Options, Wal};

fn open(volume: &TempDir) -> Result<Directory, Error> {
    Directory::open(&volume.path().join("data"), None)
}

fn refusal(volume: &TempDir) -> String {
    open(volume).expect_err("it must be refused").to_string()
}

fn identity(cluster_id: u64) -> Identity {
    Identity { cluster_id, member_id: 0x00ff_0000_0000_0001, name: "m0".to_owned() }
}

fn admission() -> Admission {
    let seed = Seed {
        id: 0x00ff_0000_0000_0001,
        name: "m0".to_owned(),
        peer_urls: vec!["http://127.0.0.1:2380".to_owned()],
        learner: false,
        disk_id: String::new(),
    };
    Admission { origin: Origin::Founded, members: vec![seed] }
}

fn owner() -> Option<Owner> {
    Some(Owner { uid: "uid-1".to_owned(), name: "default/sample".to_owned() })
}

#[test]
fn a_new_directory_is_private_and_keeps_its_disk_id_while_boots_rise() {
    let volume = TempDir::new().unwrap();
    let first = open(&volume).unwrap().member();
    assert_eq!((first.boot, first.identity.is_none(), first.disk_id.len()), (1, true, 32));
    let directory = open(&volume).unwrap();
    let second = directory.member();
    assert_eq!((second.boot, &second.disk_id), (2, &first.disk_id));
    assert_eq!(hex::encode(directory.disk_id().unwrap()), first.disk_id);
    let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(directory.path().to_owned()), 0o700);
    assert_eq!(mode(directory.databases()), 0o700);
    for file in [FORMAT_FILE, LOCK_FILE, MEMBER_FILE] {
        assert_eq!(mode(directory.path().join(file)), 0o600, "{file}");
    }
    let other = TempDir::new().unwrap();
    assert_ne!(open(&other).unwrap().member().disk_id, first.disk_id);
}

#[test]
fn a_directory_that_others_may_enter_is_closed() {
    let volume = TempDir::new().unwrap();
    let path = volume.path().join("data");
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    open(&volume).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_second_process_is_refused_and_told_who_holds_the_directory() {
    let volume = TempDir::new().unwrap();
    let directory = open(&volume).unwrap();
    let clone = directory.clone();
    drop(directory);
    let words = refusal(&volume);
    assert!(words.contains(&format!("(pid {})", std::process::id())), "{words}");
    drop(clone);
    open(&volume).unwrap();
}

#[test]
fn two_directories_cannot_share_a_log_directory() {
    let volume = TempDir::new().unwrap();
    let log = volume.path().join("log");
    let first = Directory::open(&volume.path().join("a"), Some(&log)).unwrap();
    assert_eq!(first.log(), log);
    let error = Directory::open(&volume.path().join("b"), Some(&log)).expect_err("the log is in use");
    assert!(matches!(&error, Error::Locked { path, .. } if *path == log), "{error}");
}

#[test]
fn a_layout_of_a_later_version_is_refused_unread() {
    let volume = TempDir::new().unwrap();
    drop(open(&volume).unwrap());
    let file = volume.path().join("data").join(FORMAT_FILE);
    std::fs::write(&file, "quorate-data 2\n").unwrap();
    assert!(refusal(&volume).contains("written by a later version (format 2"));
    std::fs::write(&file, "nonsense").unwrap();
    assert!(refusal(&volume).contains("FORMAT is malformed"));
}

#[test]
fn foreign_content_is_refused_by_name_and_left_alone() {
    let volume = TempDir::new().unwrap();
    let path = volume.path().join("data");
    std::fs::create_dir_all(path.join("member/snap")).unwrap();
    assert!(refusal(&volume).contains("holds an etcd data directory"));
    std::fs::remove_dir_all(path.join("member")).unwrap();
    std::fs::write(path.join("notes.txt"), "mine").unwrap();
    assert!(refusal(&volume).contains("\"notes.txt\""));
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1);
    std::fs::remove_file(path.join("notes.txt")).unwrap();
    std::fs::create_dir(path.join(LOST_AND_FOUND)).unwrap();
    open(&volume).unwrap();
}

#[test]
fn a_lost_or_damaged_member_file_is_never_replaced_by_a_new_identity() {
    let volume = TempDir::new().unwrap();
    drop(open(&volume).unwrap());
    let file = volume.path().join("data").join(MEMBER_FILE);
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, good.replace("\"format\": 1", "\"format\": 7")).unwrap();
    assert!(refusal(&volume).contains("later version (format 7"));
    std::fs::write(&file, &good[..good.len() / 2]).unwrap();
    assert!(refusal(&volume).contains("member.json is malformed"));
    std::fs::remove_file(&file).unwrap();
    assert!(refusal(&volume).contains("no member.json"));
}

#[test]
fn a_creation_that_was_interrupted_goes_on() {
    let volume = TempDir::new().unwrap();
    let path = volume.path().join("data");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join(LOCK_FILE), "").unwrap();
    std::fs::write(path.join("FORMAT.tmp"), "quor").unwrap();
    drop(open(&volume).unwrap());
    // Later: the member file was half written, nothing else was there.
    std::fs::remove_dir(path.join(DATABASES)).unwrap();
    std::fs::rename(path.join(MEMBER_FILE), path.join("member.json.tmp")).unwrap();
    assert_eq!(open(&volume).unwrap().member().boot, 1);
}

#[test]
fn the_directory_of_another_cluster_or_member_is_refused_by_name() {
    let volume = TempDir::new().unwrap();
    let directory = open(&volume).unwrap();
    directory.check_cluster(5).unwrap();
    directory.bind(&identity(5), admission(), owner()).unwrap();
    directory.bind(&identity(5), admission(), owner()).unwrap();
    drop(directory);
    let directory = open(&volume).unwrap();
    let member = directory.member();
    assert_eq!((member.identity, member.admission, member.owner), (Some(identity(5)), Some(admission()), owner()));
    directory.check_cluster(5).unwrap();
    let words = directory.check_cluster(0xab).expect_err("another cluster").to_string();
    assert!(words.contains("belongs to cluster 5, not to ab"), "{words}");
    let other = Identity { member_id: 9, ..identity(5) };
    assert!(matches!(directory.bind(&other, admission(), None), Err(Error::OtherMember { expected: 9, .. })));
}

#[test]
fn a_removed_member_stays_removed_and_can_be_set_aside_by_its_owner() {
    let volume = TempDir::new().unwrap();
    let log = volume.path().join("log");
    let path = volume.path().join("data");
    let directory = Directory::open(&path, Some(&log)).unwrap();
    directory.bind(&identity(5), admission(), owner()).unwrap();
    assert!(matches!(directory.set_aside("uid-1"), Err(Error::NotRemoved { .. })));
    let tombstone = Tombstone { cluster_id: 5, member_id: 1, index: 77, unix_seconds: 3 };
    directory.bury(tombstone.clone()).unwrap();
    directory.bury(Tombstone { index: 99, ..tombstone.clone() }).unwrap();
    drop(directory);
    let directory = Directory::open(&path, Some(&log)).unwrap();
    assert_eq!(directory.member().tombstone, Some(tombstone), "the first tombstone counts");
    assert!(matches!(directory.check_cluster(5), Err(Error::Removed { .. })));
    assert!(matches!(directory.set_aside("uid-2"), Err(Error::OtherOwner { .. })));
    let disk_id = directory.member().disk_id;
    let aside = directory.set_aside("uid-1").unwrap();
    assert_eq!(aside, PathBuf::from(format!("data.set-aside-{disk_id}")));
    assert!(volume.path().join(aside).join(MEMBER_FILE).exists());
    assert!(volume.path().join(format!("log.set-aside-{disk_id}")).exists());
    assert_ne!(Directory::open(&path, Some(&log)).unwrap().member().disk_id, disk_id);
}

#[test]
fn pushed_settings_persist_and_older_generations_are_refused() {
    let volume = TempDir::new().unwrap();
    let directory = open(&volume).unwrap();
    let push = |generation, value| directory.update(|member| Setting::push(&mut member.fence, generation, value));
    push(3, true).unwrap();
    push(3, true).unwrap();
    assert!(matches!(push(3, false), Err(Error::Stale { given: 3, current: 3 })));
    assert!(matches!(push(2, true), Err(Error::Stale { given: 2, current: 3 })));
    let timers = Timers { heartbeat_milliseconds: 50, election_milliseconds: 500 };
    directory.update(|member| Setting::push(&mut member.timers, 1, timers)).unwrap();
    drop(directory);
    let member = open(&volume).unwrap().member();
    assert!(member.is_fenced());
    assert_eq!(member.timers, Some(Setting { generation: 1, value: timers }));
}

#[test]
fn a_failed_change_leaves_the_file_as_it_was() {
    let volume = TempDir::new().unwrap();
    let directory = open(&volume).unwrap();
    let before = directory.member();
    let failed = directory.update(|member| {
        member.log_begun = true;
        Err(Error::Stale { given: 0, current: 0 })
    });
    assert!(failed.is_err());
    assert_eq!(directory.member(), before);
}

#[test]
fn an_empty_log_is_refused_once_one_was_begun() {
    let volume = TempDir::new().unwrap();
    let directory = open(&volume).unwrap();
    directory.check_log(0).unwrap();
    directory.check_log_is_there().unwrap();
    directory.note_log_begun().unwrap();
    directory.check_log(1).unwrap();
    for refused in [directory.check_log(0), directory.check_log_is_there()] {
        let words = refused.expect_err("the log is gone").to_string();
        assert!(words.contains("holds no write-ahead log although one was begun: check --wal-dir"), "{words}");
    }
    assert!(!directory.log().exists(), "nothing is made in its place");
    begin_log(directory.log(), directory.disk_id().unwrap());
    directory.check_log_is_there().unwrap();
}

/// Begins a log for this disk id, as a member does once it is in a cluster.
fn begin_log(folder: &Path, disk_id: [u8; 16]) {
    drop(Wal::open(folder, Options { segment_bytes: 64 << 10, ..Options::new(disk_id) }, 0).unwrap());
}

#[test]
fn the_log_of_another_directory_is_refused_by_one_that_began_none() {
    let volume = TempDir::new().unwrap();
    let (path, log, kept) = (volume.path().join("data"), volume.path().join("log"), volume.path().join("kept"));
    let refusal = || {
        let error = Directory::open(&path, Some(&log)).expect_err("it must be refused");
        assert!(matches!(error, Error::ForeignLog { .. }) && error.is_refusal(), "{error}");
        error.to_string()
    };
    begin_log(&log, [0xab; 16]);
    for _ in 0..2 {
        let words = refusal();
        let segment = format!("(0000000000000001-0000000000000001.wal has disk id {})", "ab".repeat(16));
        for wanted in [log.to_str().unwrap(), &segment, "(which is new)", "give this member an empty --wal-dir"] {
            assert!(words.contains(wanted), "{wanted:?} is missing in {words}");
        }
        assert!(!path.join(MEMBER_FILE).exists() && !path.join(FORMAT_FILE).exists(), "nothing is made of it");
    }
    std::fs::rename(&log, &kept).unwrap();
    let disk_id = Directory::open(&path, Some(&log)).unwrap().member().disk_id;
    // It waits for its cluster, and its log's folder is taken for that of another.
    std::fs::remove_dir_all(&log).unwrap();
    std::fs::rename(&kept, &log).unwrap();
    assert!(refusal().contains(&format!("(disk id {disk_id}) has begun none")));
    // A log of etcd has segments of these names.
    std::fs::write(log.join("0000000000000001-0000000000000001.wal"), "etcd").unwrap();
    assert!(refusal().contains("does not start as a segment that this version knows"));
}

#[test]
fn a_log_that_is_left_of_a_directory_is_never_taken_for_that_of_a_new_one() {
    let volume = TempDir::new().unwrap();
    begin_log(&volume.path().join("data").join(LOG), [0xab; 16]);
    assert!(refusal(&volume).contains(&format!("has disk id {}", "ab".repeat(16))));
}

/// A member's directory and its log elsewhere, in which it has written; and both paths.
fn with_a_log_begun(volume: &TempDir) -> (PathBuf, PathBuf, Directory) {
    let (path, log) = (volume.path().join("data"), volume.path().join("log"));
    let directory = Directory::open(&path, Some(&log)).unwrap();
    directory.bind(&identity(5), admission(), owner()).unwrap();
    begin_log(&log, directory.disk_id().unwrap());
    (path, log, directory)
}

#[test]
fn a_directory_opens_again_on_the_log_that_it_began() {
    let volume = TempDir::new().unwrap();
    let (path, log, directory) = with_a_log_begun(&volume);
    drop(directory);
    // Also before it was noted.
    let directory = Directory::open(&path, Some(&log)).unwrap();
    directory.note_log_begun().unwrap();
    drop(directory);
    Directory::open(&path, Some(&log)).unwrap();
}

#[test]
fn setting_aside_goes_on_after_a_crash_between_the_log_and_the_directory() {
    let volume = TempDir::new().unwrap();
    let (path, log, directory) = with_a_log_begun(&volume);
    directory.bury(Tombstone { cluster_id: 5, member_id: 1, index: 77, unix_seconds: 3 }).unwrap();
    let disk_id = directory.member().disk_id;
    drop(directory);
    let log_aside = volume.path().join(format!("log.set-aside-{disk_id}"));
    std::fs::rename(&log, &log_aside).unwrap();
    let directory = Directory::open(&path, Some(&log)).unwrap();
    directory.set_aside("uid-1").unwrap();
    drop(directory);
    assert!(!path.exists());
    assert!(log_aside.join("0000000000000001-0000000000000001.wal").exists(), "the removed member's log is kept");
    Directory::open(&path, Some(&log)).unwrap();
}

#[test]
fn the_database_pointer_is_replaced_durably_and_never_leads_elsewhere() {
    let volume = TempDir::new().unwrap();
    let directory = open(&volume).unwrap();
    assert_eq!(directory.database().unwrap(), FIRST_DATABASE);
    directory.set_database("00000000000000af").unwrap();
    drop(directory);
    let directory = open(&volume).unwrap();
    assert_eq!(directory.database().unwrap(), "00000000000000af");
    std::fs::write(directory.path().join(POINTER_FILE), "{\"directory\":\"../../../../etc\"}").unwrap();
    assert!(matches!(directory.database(), Err(Error::Malformed { .. })));
    std::fs::remove_file(directory.path().join(POINTER_FILE)).unwrap();
    assert!(matches!(directory.database(), Err(Error::Malformed { .. })));
}

#[test]
fn a_path_that_cannot_be_a_directory_is_named() {
    let volume = TempDir::new().unwrap();
    std::fs::write(volume.path().join("data"), "file").unwrap();
    assert!(refusal(&volume).contains("is not a directory"));
}

#[test]
fn a_missing_permission_names_the_uid_and_the_remedy() {
    let denied = io::Error::from(io::ErrorKind::PermissionDenied);
    let words = Error::writing("creation", Path::new("/volume/data"))(denied).to_string();
    let uid = nix::unistd::geteuid();
    assert!(words.contains(&format!("of /volume/data is not permitted for uid {uid}")), "{words}");
    assert!(words.contains("fsGroup"), "{words}");
}

/// Format 2 is format 1 with what a recovery needs, and is written only where that is there.
#[test]
fn format_2_of_the_member_file_is_read_and_written_as_it_was_released_and_only_when_it_is_needed() {
    const RELEASED: &str = include_str!("../../tests/fixtures/v2/member.json");
    let member: Member = serde_json::from_str(RELEASED).unwrap();
    assert_eq!(serde_json::to_string_pretty(&member).unwrap() + "\n", RELEASED);
    let recovery = member.recovery.clone().unwrap();
    assert_eq!((recovery.incident.as_str(), recovery.from_cluster_id, recovery.done), ("lost-1", 0x7, false));
    assert!(member.fenced_leaderless);

    let volume = TempDir::new().unwrap();
    let path = volume.path().join("data");
    drop(Directory::open(&path, None).unwrap());
    let format = || read_member(&path).unwrap().unwrap().format;
    assert_eq!(format(), 1);
    let directory = Directory::open(&path, None).unwrap();
    directory
        .update(|member| {
            member.recovery = Some(recovery);
            Ok(())
        })
        .unwrap();
    assert_eq!(format(), 2);
    drop(directory);
    let later = std::fs::read_to_string(path.join(MEMBER_FILE)).unwrap();
    let later = later.replace("\"format\": 2", "\"format\": 3").replace("\"incident\"", "\"reason\"");
    std::fs::write(path.join(MEMBER_FILE), later).unwrap();
    let error = Directory::open(&path, None).unwrap_err().to_string();
    assert!(error.contains("by a later version (format 3, this one reads up to 2)"), "{error}");
}

/// The member file of format 1, everything in it. A change of its shape needs a new format version.
#[test]
fn format_1_of_the_member_file_is_read_and_written_as_it_was_released() {
    const RELEASED: &str = include_str!("../../tests/fixtures/v1/member.json");
    let member: Member = serde_json::from_str(RELEASED).unwrap();
    assert_eq!(serde_json::to_string_pretty(&member).unwrap() + "\n", RELEASED);
    assert_eq!(member.identity, Some(identity(0xcdf8_181e_3277_8e00)));
    assert_eq!(member.admission, Some(admission()));
    assert_eq!(member.owner, owner());
    assert!(member.is_fenced());
    assert_eq!(member.tombstone.unwrap().index, 77);
    assert_eq!(member.limits.unwrap().value.quota_bytes, -1);
    let unknown = RELEASED.replace("\"boot\"", "\"shoe\"");
    assert!(
        serde_json::from_str::<Member>(&unknown).is_err(),
        "a field that this version does not know is not lost silently"
    );
}
