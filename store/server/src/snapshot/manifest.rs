//! What a snapshot consists of and which point of the log it stands for; read out of the checkpoint itself.
//!
//! Encoding: format version u32 and crc32c of the rest u32 (both little-endian), then a protobuf message of our own.

use std::path::Path;

use prost::Message;
use quorate_api::admin;
use quorate_core::apply::AppliedIndex;
use quorate_core::log::{ConfState, SnapshotMeta};
use quorate_core::membership::{Member, Membership};

use super::{Error, Progress};
use crate::backend::{self, Backend};

/// Version of manifest and chunks.
pub const FORMAT: u32 = 1;

/// A manifest of a hundred thousand files fits well; more is not believed.
pub const MANIFEST_BYTES_MAX: usize = 16 << 20;

const NAME_BYTES_MAX: usize = 64;

/// A file of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// A plain name: letters, digits, `-`, `_` and dots that do not lead it.
    pub name: String,
    pub bytes: u64,
    /// crc32c of the whole file; known to the receiver, who adds it when the file is complete.
    pub checksum: Option<u32>,
}

/// A snapshot. Two manifests are equal only if their snapshots are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub meta: SnapshotMeta,
    /// The configuration in the snapshot, so that a receiver knows its peers before it opens it.
    pub members: Vec<Member>,
    /// In the order in which they travel.
    pub files: Vec<FileEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct ManifestMessage {
    #[prost(uint64, tag = "1")]
    index: u64,
    #[prost(uint64, tag = "2")]
    term: u64,
    #[prost(uint64, repeated, tag = "3")]
    voters: Vec<u64>,
    #[prost(uint64, repeated, tag = "4")]
    learners: Vec<u64>,
    #[prost(uint64, repeated, tag = "5")]
    outgoing: Vec<u64>,
    #[prost(uint64, repeated, tag = "6")]
    learners_next: Vec<u64>,
    #[prost(bool, tag = "7")]
    auto_leave: bool,
    #[prost(message, repeated, tag = "8")]
    members: Vec<admin::Member>,
    #[prost(message, repeated, tag = "9")]
    files: Vec<FileMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct FileMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    bytes: u64,
    #[prost(uint32, optional, tag = "3")]
    checksum: Option<u32>,
}

impl Manifest {
    /// Reads the manifest of the checkpoint in `path`, without changing anything in it.
    pub(super) fn of_checkpoint(path: &Path, options: backend::Options) -> Result<Manifest, Error> {
        let files = list(path)?;
        let view = Backend::inspect(path, options)?;
        let AppliedIndex { index, term } = AppliedIndex::load(&view)?;
        let membership = Membership::load(&view)?;
        let meta = SnapshotMeta { index, term, conf_state: membership.conf_state() };
        Ok(Manifest { meta, members: membership.members().cloned().collect(), files })
    }

    pub fn encode(&self) -> Vec<u8> {
        let Manifest { meta: SnapshotMeta { index, term, conf_state }, members, files } = self;
        let ConfState { voters, learners, outgoing, learners_next, auto_leave } = conf_state.clone();
        let file =
            |entry: &FileEntry| FileMessage { name: entry.name.clone(), bytes: entry.bytes, checksum: entry.checksum };
        let message = ManifestMessage {
            index: *index,
            term: *term,
            voters,
            learners,
            outgoing,
            learners_next,
            auto_leave,
            members: members.iter().map(Member::to_message).collect(),
            files: files.iter().map(file).collect(),
        };
        let body = message.encode_to_vec();
        let mut bytes = Vec::with_capacity(8 + body.len());
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Reads a manifest that may come from anywhere.
    ///
    /// # Errors
    /// A later format, damage, too large, or a file name that could lead out of the directory.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, Error> {
        let malformed = |reason: String| Error::Manifest { reason };
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(malformed(format!("{} bytes, the limit is {MANIFEST_BYTES_MAX}", bytes.len())));
        }
        let head =
            bytes.split_first_chunk::<4>().and_then(|(format, rest)| Some((format, rest.split_first_chunk::<4>()?)));
        let Some((format, (checksum, body))) = head else {
            return Err(malformed(format!("{} bytes", bytes.len())));
        };
        match u32::from_le_bytes(*format) {
            FORMAT => {}
            found => return Err(Error::Format { found }),
        }
        if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
            return Err(malformed("the checksum does not match".to_owned()));
        }
        let message = ManifestMessage::decode(body).map_err(|error| malformed(error.to_string()))?;
        Manifest::checked(message).map_err(malformed)
    }

    fn checked(message: ManifestMessage) -> Result<Manifest, String> {
        let ManifestMessage { index, term, voters, learners, outgoing, learners_next, auto_leave, members, files } =
            message;
        if index == 0 || voters.is_empty() {
            return Err("it stands for no point of a log".to_owned());
        }
        for ids in [&voters, &learners, &outgoing, &learners_next] {
            if !ids.is_sorted_by(|a, b| a < b) {
                return Err(format!("members {ids:x?} do not ascend"));
            }
        }
        let mut names = std::collections::BTreeSet::new();
        for file in &files {
            if !is_plain(&file.name) || !names.insert(file.name.as_str()) {
                return Err(format!("file name {:?}", file.name));
            }
        }
        let conf_state = ConfState { voters, learners, outgoing, learners_next, auto_leave };
        let files = files.into_iter().map(|FileMessage { name, bytes, checksum }| FileEntry { name, bytes, checksum });
        Ok(Manifest {
            meta: SnapshotMeta { index, term, conf_state },
            members: members.into_iter().map(Member::from_message).collect(),
            files: files.collect(),
        })
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Where the transfer goes on when everything before `progress` is there: skips what has no bytes left.
    pub(super) fn settle(&self, mut progress: Progress) -> Progress {
        while self.files.get(progress.file as usize).is_some_and(|file| progress.offset >= file.bytes) {
            progress = Progress { file: progress.file + 1, offset: 0 };
        }
        progress
    }

    pub(super) fn file(&self, number: u32) -> Option<&FileEntry> {
        self.files.get(number as usize)
    }
}

fn is_plain(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.starts_with('.') && name.bytes().all(allowed)
}

fn list(path: &Path) -> Result<Vec<FileEntry>, Error> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::io("listing", path))? {
        let entry = entry.map_err(Error::io("listing", path))?;
        let bytes = entry.metadata().map_err(Error::io("inspection", path))?.len();
        files.push(FileEntry { name: entry.file_name().to_string_lossy().into_owned(), bytes, checksum: None });
    }
    files.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(files)
}
