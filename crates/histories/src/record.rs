//! The record: small JSON that tells all about a history and names its chunks.

use std::ops::Range;

use rewind_job::Digest;
use serde::{Deserialize, Serialize};

use crate::{ChunkReference, Encoding, HistoryError, Outline, Part, chunk};

/// What a record begins with, byte for byte.
const BEGINNING: &[u8] = br#"{"format":"rewind-history","version":"#;
const FORMAT: &str = "rewind-history";
const VERSION: u32 = 1;
/// No record is longer.
const LIMIT: usize = 1 << 20;
/// The length of a record, modulo [`LENGTHS`]. It is odd, as that of no safetensors file with numbers of two bytes or
/// more is: a list of lengths tells where records may be.
const LENGTH: usize = 61;
const LENGTHS: usize = 64;

/// All about a history but its numbers: read without its chunks.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    pub outline: Outline,
    pub encoding: Encoding,
    pub chunks: Vec<ChunkReference>,
}

/// Before a record of another version is understood.
#[derive(Deserialize)]
struct Version {
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct AtRest {
    format: String,
    version: u32,
    outline: Outline,
    encoding: Encoding,
    chunks: Vec<ChunkReference>,
}

impl Header {
    /// Bytes of all chunks, each counted once; other histories may share them.
    pub fn bytes(&self) -> u64 {
        let mut chunks: Vec<_> = self.chunks.iter().map(|chunk| (&chunk.sha256, chunk.bytes)).collect();
        chunks.sort_unstable();
        chunks.dedup();
        chunks.into_iter().fold(0, |all, (_, bytes)| all.saturating_add(bytes))
    }

    pub(crate) fn pieces(&self, part: Part) -> Vec<&ChunkReference> {
        self.chunks.iter().filter(|chunk| chunk.part == part).collect()
    }

    /// # Errors
    /// A run with so many tensors, snapshots or chunks that its record would be too long.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, HistoryError> {
        let Self { outline, encoding, chunks } = self.clone();
        let at_rest = AtRest { format: FORMAT.to_owned(), version: VERSION, outline, encoding, chunks };
        let mut bytes = serde_json::to_vec(&at_rest).expect("names are strings, and numbers are finite");
        debug_assert!(bytes.starts_with(BEGINNING));
        while bytes.len() % LENGTHS != LENGTH {
            bytes.push(b'\n');
        }
        if bytes.len() > LIMIT {
            let problem =
                format!("of {} bytes, but a record has at most {LIMIT}; larger chunks are fewer", bytes.len());
            return Err(HistoryError::run("record", problem));
        }
        Ok(bytes)
    }

    /// # Errors
    /// Not a record; of another version; a field that is missing, unknown or wrong, by its name.
    pub(crate) fn from_bytes(record: &Digest, bytes: &[u8]) -> Result<Self, HistoryError> {
        if !bytes.starts_with(BEGINNING) {
            return Err(HistoryError::NotAHistory(record.clone()));
        }
        let refuse = |field: String, problem: String| HistoryError::run(field, problem).in_record(record);
        let version: Version =
            serde_json::from_slice(bytes).map_err(|error| refuse("record".into(), error.to_string()))?;
        if version.version != u64::from(VERSION) {
            let found = version.version;
            return Err(HistoryError::Version { record: record.clone(), found, known: VERSION });
        }
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let AtRest { outline, encoding, chunks, .. } = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| refuse(error.path().to_string(), error.inner().to_string()))?;
        let header = Self { outline, encoding, chunks };
        header.check().map_err(|error| error.in_record(record))?;
        Ok(header)
    }

    fn check(&self) -> Result<(), HistoryError> {
        let outline = &self.outline;
        outline.check()?;
        if let Some(index) = self.chunks.iter().position(|chunk| !is_digest(&chunk.sha256)) {
            let problem = format!("`{}` is not a SHA-256 in hexadecimal", self.chunks[index].sha256);
            return Err(HistoryError::run(format!("chunks[{index}].sha256"), problem));
        }
        let (steps, kept) = (outline.snapshots.len() - 1, outline.kept());
        let has = |encoding: Encoding| if self.encoding == encoding { kept } else { 0 };
        for part in Part::ALL {
            let (rows, columns): (Range<usize>, usize) = match part {
                Part::Base => (0..1, kept),
                Part::Differences => (1..steps + 1, has(Encoding::Bfloat16Differences)),
                Part::Snapshots => (1..steps + 1, has(Encoding::Float32Snapshots)),
                Part::Squares => (0..steps, outline.tensors.len()),
                Part::Positions => (0..1, outline.sampled()),
            };
            chunk::make_up(&self.pieces(part), rows, columns)
                .map_err(|problem| HistoryError::run(format!("chunks of `{part}`"), problem))?;
        }
        Ok(())
    }
}

pub(crate) fn is_digest(Digest(text): &Digest) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether an artifact of this length may be a record.
pub(crate) fn may_be(bytes: u64) -> bool {
    bytes <= LIMIT as u64 && bytes % LENGTHS as u64 == LENGTH as u64
}
