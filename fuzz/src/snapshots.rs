//! What a snapshot's sender says: the manifest (first byte even) and the chunks (odd). Checksums are made right first, else
//! nothing behind them would ever be reached.

use bytes::Bytes;
use quorate::snapshot::{Chunk, FORMAT, FileEntry, Manifest, Progress};
use quorate_core::log::{ConfState, SnapshotMeta};
use quorate_core::membership::Member;

/// Bytes before a chunk's checksum, and before its data.
const CHUNK_CHECKSUM_AT: usize = 12;
const CHUNK_HEAD_BYTES: usize = 21;

pub fn run(data: &[u8]) {
    match data.split_first() {
        Some((kind, body)) if kind % 2 == 0 => manifest(body),
        Some((_, body)) => chunk(body.to_vec()),
        None => {}
    }
}

fn manifest(body: &[u8]) {
    let mut bytes = FORMAT.to_le_bytes().to_vec();
    bytes.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
    bytes.extend_from_slice(body);
    let Ok(manifest) = Manifest::decode(&bytes) else { return };
    for file in &manifest.files {
        assert!(!file.name.contains('/') && file.name != ".." && file.name != ".", "{:?} leads out", file.name);
    }
    let _ = manifest.bytes();
    let again = Manifest::decode(&manifest.encode()).expect("what a manifest encodes to is one");
    assert_eq!(again, manifest);
}

fn chunk(mut bytes: Vec<u8>) {
    if bytes.len() >= CHUNK_HEAD_BYTES {
        let checksum = crc32c::crc32c(&bytes[CHUNK_HEAD_BYTES..]);
        bytes[CHUNK_CHECKSUM_AT..CHUNK_CHECKSUM_AT + 4].copy_from_slice(&checksum.to_le_bytes());
    }
    let Ok(chunk) = Chunk::decode(bytes.into()) else { return };
    assert_eq!(Chunk::decode(chunk.encode()).expect("what a chunk encodes to is one"), chunk);
}

pub fn seeds() -> Vec<Vec<u8>> {
    let member = Member {
        id: 1,
        name: "m".into(),
        peer_urls: vec!["http://m:2380".into()],
        client_urls: vec!["http://m:2379".into()],
        learner: false,
        disk_id: "d".into(),
    };
    let conf_state = ConfState { voters: vec![1], learners: vec![2], ..Default::default() };
    let file = |name: &str, bytes, checksum| FileEntry { name: name.to_owned(), bytes, checksum };
    let manifest = Manifest {
        meta: SnapshotMeta { index: 9, term: 2, conf_state },
        members: vec![member],
        files: vec![file("CURRENT", 16, None), file("000012.sst", 4096, Some(7))],
    };
    let chunk = Chunk {
        place: Progress { file: 1, offset: 4096 },
        file_checksum: Some(3),
        data: Bytes::from_static(b"data of a file"),
    };
    let with_kind = |kind: u8, body: &[u8]| [&[kind], body].concat();
    vec![with_kind(0, &manifest.encode()[8..]), with_kind(1, &chunk.encode())]
}
