//! Whole transfers between two directories, and every crash point of an installation.

use bytes::Bytes;
use proptest::prelude::*;
use quorate_core::apply::AppliedIndex;
use quorate_core::backend::{Family, View, WriteBatch};
use quorate_core::log::{ConfState, Entry, EntryKind, HardState, Index, SnapshotMeta};
use quorate_core::membership::{Change, Member, Membership};
use quorate_core::mvcc::APPLIED_KEY;
use quorate_core::wal_format::Group;
use tempfile::TempDir;

use super::*;
use crate::directory::Directory;
use crate::wal::Wal;

const DATABASE: backend::Options =
    backend::Options { memory_bytes: 16 << 20, compaction_threads: 1, write_bytes_per_second: 1 << 30 };

const TERM: u64 = 3;

/// A member's storage without the member: every step of an installation can be the last.
struct Disk {
    // Dropped first: a database that closes after its files went waits a second for them.
    storage: Storage,
    directory: Directory,
    volume: TempDir,
}

fn log_options(directory: &Directory) -> crate::wal::Options {
    crate::wal::Options { segment_bytes: 64 << 10, ..crate::wal::Options::new(directory.disk_id().unwrap()) }
}

impl Disk {
    fn new() -> Disk {
        Disk::open(TempDir::new().unwrap()).unwrap()
    }

    fn open(volume: TempDir) -> Result<Disk, StartError> {
        let directory = Directory::open(&volume.path().join("data"), None)?;
        let storage = Storage::open(&directory, DATABASE, log_options(&directory))?;
        Ok(Disk { volume, directory, storage })
    }

    /// Ends the process here and starts another one.
    fn restart(self) -> Result<Disk, StartError> {
        let Disk { volume, directory, storage } = self;
        drop((storage, directory));
        Disk::open(volume)
    }

    fn wal(&mut self) -> &mut Wal {
        &mut self.storage.wal
    }

    /// Entries `1..=last` in the log.
    fn log(&mut self, last: Index) {
        let next = self.storage.wal.reader().last_index() + 1;
        let entries: Vec<_> = (next..=last)
            .map(|index| Entry { index, term: TERM, kind: EntryKind::Normal, data: Bytes::from_static(b"data") })
            .collect();
        let commit = self.wal().commit();
        let hard_state = Some(HardState { term: TERM, vote: 1, commit });
        let number = self.wal().last_group() + 1;
        self.wal().append(Group { number, commit, hard_state, entries: &entries, marker: None }).unwrap();
    }

    /// State as of entry `index`: a row that names it, a thousand others, and a configuration.
    fn apply(&self, index: Index) {
        let mut batch = WriteBatch::default();
        let mut membership = Membership::default();
        for id in 1..=3 {
            let member = Member { id, name: format!("m{id}"), peer_urls: vec!["http://p".into()], ..Member::default() };
            membership.apply(id, Change::AddVoter(member));
            membership.store(&[id], &mut batch);
        }
        for number in 0..1000u32 {
            batch.put(Family::Values, number.to_be_bytes().to_vec(), vec![number as u8; 100]);
        }
        batch.put(Family::Keys, &b"index"[..], index.to_be_bytes().to_vec());
        for family in Family::ALL {
            batch.put(family, APPLIED_KEY, AppliedIndex { index, term: TERM }.encode());
        }
        self.storage.backend.write(&batch).unwrap();
    }

    fn state(&self) -> Option<Index> {
        let row = self.storage.backend.live().get(Family::Keys, b"index").unwrap()?;
        Some(Index::from_be_bytes(row[..].try_into().unwrap()))
    }

    fn databases(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.databases()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn receive(&self, outgoing: &Outgoing) -> Received {
        let mut incoming = Incoming::begin(&self.directory, outgoing.manifest().clone()).unwrap();
        for chunk in outgoing.chunks(incoming.progress()) {
            incoming.write(&Chunk::decode(chunk.unwrap().encode()).unwrap()).unwrap();
        }
        incoming.finish().unwrap()
    }

    fn write_marker(&mut self, received: &Received) {
        let marker = received.marker();
        let commit = marker.meta.index;
        let hard_state = Some(HardState { term: TERM, vote: 0, commit });
        let number = self.wal().last_group() + 1;
        self.wal().append(Group { number, commit, hard_state, entries: &[], marker: Some(&marker) }).unwrap();
    }

    /// Asserts that the snapshot at `index` is the whole state and the log continues it.
    fn assert_installed(&self, index: Index) {
        assert_eq!(self.state(), Some(index));
        assert_eq!(self.storage.backend.durable_applied().unwrap(), (index, TERM));
        let recovered = &self.storage.recovered;
        assert_eq!((recovered.first_index, recovered.last_index, recovered.commit), (index + 1, index, index));
        assert_eq!(self.databases(), [self.directory.database().unwrap()], "nothing else is left");
    }

    /// Asserts that the old state, entries 1 to 8 with 5 applied, is in force.
    fn assert_old(&self) {
        assert_eq!(self.state(), Some(5));
        let recovered = &self.storage.recovered;
        assert_eq!((recovered.first_index, recovered.last_index), (1, 8));
        assert_eq!(self.databases(), [self.directory.database().unwrap()], "nothing else is left");
    }
}

fn sender() -> (Disk, Outgoing) {
    let disk = Disk::new();
    disk.apply(100);
    let outgoing = Outgoing::build(&disk.storage.backend, &disk.directory).unwrap();
    // The database goes on: the snapshot does not.
    disk.apply(101);
    (disk, outgoing)
}

/// A follower with a log of 8 entries of which 5 are applied.
fn follower() -> Disk {
    let mut disk = Disk::new();
    disk.log(8);
    disk.apply(5);
    disk.storage.backend.flush().unwrap();
    disk
}

#[test]
fn a_manifest_is_read_out_of_the_checkpoint_and_its_files_go_with_it() {
    let (disk, outgoing) = sender();
    let manifest = outgoing.manifest();
    assert_eq!((manifest.meta.index, manifest.meta.term), (100, TERM));
    assert_eq!(manifest.meta.conf_state.voters, [1, 2, 3]);
    assert_eq!(manifest.members.len(), 3);
    assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), *manifest);
    let out = disk.directory.snapshots().join("out");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
    drop(outgoing);
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
}

#[test]
fn an_installed_snapshot_replaces_state_and_log_and_the_old_database_goes() {
    let (_sender, outgoing) = sender();
    let mut follower = follower();
    let received = follower.receive(&outgoing);
    assert_eq!(received.meta().index, 100);
    follower.write_marker(&received);
    let backend = received.install(DATABASE).unwrap();
    let old = std::mem::replace(&mut follower.storage.backend, backend);
    old.remove_when_closed();
    let reader = old.snapshot();
    drop(old);
    assert!(reader.get(Family::Keys, b"index").unwrap().is_some(), "a reader of the old state finishes");
    assert_eq!(follower.databases().len(), 2);
    drop(reader);
    assert_eq!(follower.databases(), [follower.directory.database().unwrap()]);
    assert_eq!(follower.state(), Some(100));
    let follower = follower.restart().unwrap();
    follower.assert_installed(100);
}

#[test]
fn a_crash_while_files_arrive_leaves_the_old_state() {
    let (_sender, outgoing) = sender();
    let follower = follower();
    let mut incoming = Incoming::begin(&follower.directory, outgoing.manifest().clone()).unwrap();
    let first = outgoing.chunks(incoming.progress()).next().unwrap().unwrap();
    incoming.write(&first).unwrap();
    assert_eq!(follower.databases().len(), 2);
    drop(incoming);
    follower.restart().unwrap().assert_old();
}

#[test]
fn a_crash_after_the_files_are_durable_but_before_the_marker_leaves_the_old_state() {
    let (_sender, outgoing) = sender();
    let follower = follower();
    drop(follower.receive(&outgoing));
    follower.restart().unwrap().assert_old();
}

#[test]
fn a_crash_after_the_marker_completes_the_installation_at_the_next_start() {
    let (_sender, outgoing) = sender();
    let mut follower = follower();
    let received = follower.receive(&outgoing);
    follower.write_marker(&received);
    drop(received);
    let follower = follower.restart().unwrap();
    follower.assert_installed(100);
    // And once it is done, it is not done again.
    let follower = follower.restart().unwrap();
    follower.assert_installed(100);
}

#[test]
fn a_crash_after_the_pointer_opens_the_new_database() {
    let (_sender, outgoing) = sender();
    let mut follower = follower();
    let received = follower.receive(&outgoing);
    follower.write_marker(&received);
    follower.directory.set_database(&received.marker().directory).unwrap();
    drop(received);
    follower.restart().unwrap().assert_installed(100);
}

#[test]
fn a_crash_before_the_old_database_is_removed_removes_it_at_the_next_start() {
    let (_sender, outgoing) = sender();
    let mut follower = follower();
    let received = follower.receive(&outgoing);
    follower.write_marker(&received);
    drop(received.install(DATABASE).unwrap());
    assert_eq!(follower.databases().len(), 2);
    follower.restart().unwrap().assert_installed(100);
}

#[test]
fn entries_behind_the_marker_continue_the_snapshot() {
    let (_sender, outgoing) = sender();
    let mut follower = follower();
    let received = follower.receive(&outgoing);
    follower.write_marker(&received);
    drop(received);
    follower.log(105);
    let mut follower = follower.restart().unwrap();
    assert_eq!(follower.state(), Some(100));
    assert_eq!((follower.storage.recovered.first_index, follower.storage.recovered.last_index), (101, 105));
    // A later snapshot replaces this one, although the older marker is still in the log.
    let (other, _) = sender();
    other.apply(200);
    let outgoing = Outgoing::build(&other.storage.backend, &other.directory).unwrap();
    let received = follower.receive(&outgoing);
    follower.write_marker(&received);
    drop(received);
    let follower = follower.restart().unwrap();
    follower.assert_installed(200);
    assert_eq!(follower.directory.database().unwrap(), "0000000000000003");
}

#[test]
fn a_marker_whose_database_is_missing_refuses_to_start_and_says_what_to_do() {
    let (_sender, outgoing) = sender();
    let mut follower = follower();
    let received = follower.receive(&outgoing);
    follower.write_marker(&received);
    std::fs::remove_dir_all(follower.directory.databases().join(received.marker().directory)).unwrap();
    drop(received);
    let error = follower.restart().err().expect("there is no state at entry 100");
    assert!(matches!(error, StartError::SnapshotMissing { index: 100, .. }), "{error}");
    assert!(error.to_string().contains("rebuild this member"), "{error}");
}

#[test]
fn a_marker_whose_database_was_damaged_refuses_to_start() {
    for damage in ["truncated", "flipped", "missing"] {
        let (_sender, outgoing) = sender();
        let mut follower = follower();
        let received = follower.receive(&outgoing);
        follower.write_marker(&received);
        let entry = outgoing.manifest().files.iter().max_by_key(|file| file.bytes).unwrap();
        let path = follower.directory.databases().join(received.marker().directory).join(&entry.name);
        let mut bytes = std::fs::read(&path).unwrap();
        match damage {
            "truncated" => std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap(),
            "missing" => std::fs::remove_file(&path).unwrap(),
            _ => {
                bytes[entry.bytes as usize / 2] ^= 1;
                std::fs::write(&path, &bytes).unwrap();
            }
        }
        drop(received);
        let Disk { volume, directory, storage } = follower;
        drop((directory, storage));
        let directory = Directory::open(&volume.path().join("data"), None).unwrap();
        let error = Storage::open(&directory, DATABASE, log_options(&directory)).err().expect(damage);
        assert!(matches!(error, StartError::SnapshotBad { index: 100, .. }), "{damage}: {error}");
        assert_eq!(directory.database().unwrap(), "0000000000000001", "{damage}: the pointer is left alone");
    }
}

#[test]
fn a_database_older_than_the_marker_it_was_installed_with_is_refused() {
    let (_sender, outgoing) = sender();
    let mut follower = follower();
    let received = follower.receive(&outgoing);
    follower.write_marker(&received);
    let name = received.marker().directory;
    drop(received);
    let Disk { volume, directory, storage } = follower;
    drop(storage);
    // Somebody restored an old copy of the database under the new name.
    std::fs::remove_dir_all(directory.databases().join(&name)).unwrap();
    std::fs::rename(directory.databases().join("0000000000000001"), directory.databases().join(&name)).unwrap();
    directory.set_database(&name).unwrap();
    drop(directory);
    let error = Disk::open(volume).err().expect("entries 6 to 100 are nowhere");
    assert!(matches!(error, StartError::DatabaseOld { applied: 5, index: 100, .. }), "{error}");
}

#[test]
fn an_ignored_snapshot_is_discarded_at_once() {
    let (_sender, outgoing) = sender();
    let follower = follower();
    follower.receive(&outgoing).discard();
    assert_eq!(follower.databases().len(), 1);
    let incoming = Incoming::begin(&follower.directory, outgoing.manifest().clone()).unwrap();
    incoming.discard();
    assert_eq!(follower.databases().len(), 1);
}

#[test]
fn a_transfer_goes_on_where_the_connection_broke() {
    let (_sender, outgoing) = sender();
    let follower = follower();
    let mut incoming = Incoming::begin(&follower.directory, outgoing.manifest().clone()).unwrap();
    let mut connections = 0;
    while !incoming.is_complete() {
        assert!(matches!(incoming.finish(), Err(Error::Incomplete { .. })));
        assert!(incoming.is_of(outgoing.manifest()));
        let chunk = outgoing.chunks(incoming.progress()).next().unwrap().unwrap();
        // Half a chunk arrives, then the rest over another connection.
        let middle = chunk.data.len().div_ceil(2);
        let half = Chunk { data: chunk.data.slice(..middle), file_checksum: None, ..chunk };
        incoming.write(&half).unwrap();
        connections += 1;
    }
    assert!(connections > outgoing.manifest().files.len());
    incoming.finish().unwrap();
    let other = Manifest { members: Vec::new(), ..outgoing.manifest().clone() };
    assert!(!incoming.is_of(&other));
}

#[test]
fn a_chunk_that_is_not_the_next_or_not_what_was_sent_is_refused() {
    let (_sender, outgoing) = sender();
    let follower = follower();
    let mut incoming = Incoming::begin(&follower.directory, outgoing.manifest().clone()).unwrap();
    let chunks: Vec<_> = outgoing.chunks(Progress::default()).map(Result::unwrap).collect();
    assert!(matches!(incoming.write(&chunks[1]), Err(Error::Order { .. })));
    let long = Chunk { data: vec![0; chunks[0].data.len() + 1].into(), ..chunks[0].clone() };
    assert!(matches!(incoming.write(&long), Err(Error::Chunk { .. })));
    let mut damaged = chunks[0].encode().to_vec();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert!(matches!(Chunk::decode(damaged.into()), Err(Error::Chunk { .. })));
    let other = chunks[0].file_checksum.map(|checksum| !checksum);
    let wrong = Chunk { file_checksum: other, ..chunks[0].clone() };
    assert!(incoming.is_of(outgoing.manifest()), "refused pieces do no harm");
    assert!(matches!(incoming.write(&wrong), Err(Error::Checksum { .. })));
    assert!(!incoming.is_of(outgoing.manifest()), "a file that differs cannot be continued");
    incoming.discard();
    follower.receive(&outgoing);
}

#[test]
fn a_snapshot_that_is_not_what_its_manifest_says_is_refused() {
    let (_sender, outgoing) = sender();
    let follower = follower();
    let mut manifest = outgoing.manifest().clone();
    manifest.meta.index = 99;
    let mut incoming = Incoming::begin(&follower.directory, manifest).unwrap();
    for chunk in outgoing.chunks(incoming.progress()) {
        incoming.write(&chunk.unwrap()).unwrap();
    }
    let error = incoming.finish().expect_err("it stands at 100");
    assert!(matches!(error, Error::Point { found: 100, expected: 99, .. }), "{error}");
    let manifest = Manifest {
        meta: SnapshotMeta { index: 99, ..outgoing.manifest().meta.clone() },
        ..outgoing.manifest().clone()
    };
    assert!(!incoming.is_of(&manifest), "it is not tried again");
}

#[test]
fn a_snapshot_larger_than_the_free_space_is_refused_before_it_starts() {
    let (_sender, outgoing) = sender();
    let follower = follower();
    let mut manifest = outgoing.manifest().clone();
    manifest.files[0].bytes = 1 << 60;
    let error = Incoming::begin(&follower.directory, manifest).expect_err("no volume is that large");
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert_eq!(follower.databases().len(), 1);
}

#[test]
fn a_manifest_with_a_name_that_leads_elsewhere_or_of_a_later_version_is_refused() {
    let (_sender, outgoing) = sender();
    for name in ["../member.json", "/etc/passwd", "", ".hidden", "a/b", "CURRENT"] {
        let mut manifest = outgoing.manifest().clone();
        let position = manifest.files.iter().position(|file| file.name != "CURRENT").unwrap();
        manifest.files[position].name = name.to_owned();
        assert!(matches!(Manifest::decode(&manifest.encode()), Err(Error::Manifest { .. })), "{name:?}");
    }
    let mut future = outgoing.manifest().encode();
    future[0] = 2;
    assert!(matches!(Manifest::decode(&future), Err(Error::Format { found: 2 })));
}

/// Manifest and chunk of format 1, as text so that a change of them is seen in review. A change needs a new format version.
#[test]
fn format_1_of_manifest_and_chunk_is_written_and_read_as_it_was_released() {
    const RELEASED: &str = include_str!("../../tests/fixtures/v1/snapshot.hex");
    let conf_state = ConfState {
        voters: vec![1, 2],
        learners: vec![3],
        outgoing: vec![1],
        learners_next: vec![4],
        auto_leave: true,
    };
    let member = Member {
        id: 1,
        name: "m1".to_owned(),
        peer_urls: vec!["http://p".to_owned()],
        client_urls: vec!["http://c".to_owned()],
        learner: true,
        disk_id: "00ff".to_owned(),
    };
    let manifest = Manifest {
        meta: SnapshotMeta { index: 100, term: TERM, conf_state },
        members: vec![member],
        files: vec![
            FileEntry { name: "CURRENT".to_owned(), bytes: 16, checksum: None },
            FileEntry { name: "000009.sst".to_owned(), bytes: 1 << 33, checksum: Some(7) },
        ],
    };
    let place = Progress { file: 1, offset: 1 << 32 };
    let chunk = Chunk { place, file_checksum: Some(7), data: Bytes::from_static(b"data") };
    let written = format!("{}\n{}\n", hex::encode(manifest.encode()), hex::encode(chunk.encode()));
    assert_eq!(written, RELEASED);
    let mut lines = RELEASED.lines().map(|line| hex::decode(line).unwrap());
    assert_eq!(Manifest::decode(&lines.next().unwrap()).unwrap(), manifest);
    assert_eq!(Chunk::decode(lines.next().unwrap().into()).unwrap(), chunk);
}

proptest! {
    #[test]
    fn decoders_refuse_whatever_comes_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        // A valid checksum by chance is out of the question.
        prop_assert!(Manifest::decode(&bytes).is_err());
        if let Ok(chunk) = Chunk::decode(bytes.clone().into()) {
            prop_assert!(chunk.data.len() < bytes.len());
        }
    }
}
