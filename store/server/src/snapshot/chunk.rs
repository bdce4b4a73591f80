//! A piece of a snapshot's file, as it travels.
//!
//! Encoding (little-endian): file number u32, offset u64, crc32c of the data u32, whether the file's own crc32c follows u8, that crc
//! u32 (0 when it does not), data.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::Error;

/// Data that a chunk may hold.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// Data in a chunk that is sent: what is read, checked and written without a pause. A whole MiB takes a processor for a millisecond, and what
/// serves clients on it waits.
pub const SENT_BYTES_MAX: usize = 128 << 10;
const _: () = assert!(SENT_BYTES_MAX <= CHUNK_BYTES_MAX, "what is sent is accepted");

const HEAD_BYTES: usize = 21;

/// How far a transfer has come: everything in files before `file`, and `offset` bytes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    pub file: u32,
    pub offset: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where the data belongs.
    pub place: Progress,
    /// With the last chunk of a file that was sent from its start: crc32c of the whole file.
    pub file_checksum: Option<u32>,
    pub data: Bytes,
}

impl Chunk {
    pub fn encode(&self) -> Bytes {
        let Chunk { place, file_checksum, data } = self;
        let mut out = BytesMut::with_capacity(HEAD_BYTES + data.len());
        out.put_u32_le(place.file);
        out.put_u64_le(place.offset);
        out.put_u32_le(crc32c::crc32c(data));
        out.put_u8(u8::from(file_checksum.is_some()));
        out.put_u32_le(file_checksum.unwrap_or(0));
        out.put_slice(data);
        out.freeze()
    }

    /// Reads and verifies a chunk that fills `bytes`; its data is not copied.
    ///
    /// # Errors
    /// Too short, too long, or not what its checksum says.
    pub fn decode(mut bytes: Bytes) -> Result<Chunk, Error> {
        if bytes.len() < HEAD_BYTES || bytes.len() > HEAD_BYTES + CHUNK_BYTES_MAX {
            return Err(Error::Chunk { reason: format!("{} bytes", bytes.len()) });
        }
        let place = Progress { file: bytes.get_u32_le(), offset: bytes.get_u64_le() };
        let checksum = bytes.get_u32_le();
        let has_file_checksum = bytes.get_u8() != 0;
        let file_checksum = bytes.get_u32_le();
        if crc32c::crc32c(&bytes) != checksum {
            return Err(Error::Chunk { reason: "the checksum does not match".to_owned() });
        }
        Ok(Chunk { place, file_checksum: has_file_checksum.then_some(file_checksum), data: bytes })
    }
}
