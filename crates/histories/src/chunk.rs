//! Pieces of matrices in safetensors files.

use std::{fmt, ops::Range};

use half::bf16;
use rewind_artifacts::{ArtifactStore, digest_of, open_safetensors};
use rewind_job::Digest;
use safetensors::{Dtype, tensor::TensorView};
use serde::{Deserialize, Serialize};

use crate::HistoryError;

/// One chunk of a history: the artifact, and which piece of which matrix it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ChunkReference {
    pub sha256: Digest,
    /// Length of the file.
    pub bytes: u64,
    pub part: Part,
    /// The first row, and the one after the last. Rows of `differences` and `snapshots` are numbers of snapshots.
    pub rows: [usize; 2],
    /// The first column, and the one after the last.
    pub columns: [usize; 2],
}

/// A matrix of a history; its name is that of the tensor in the chunk's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    Base,
    Differences,
    Snapshots,
    Squares,
    Positions,
}

impl Part {
    pub(crate) const ALL: [Self; 5] = [Self::Base, Self::Differences, Self::Snapshots, Self::Squares, Self::Positions];

    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Differences => "differences",
            Self::Snapshots => "snapshots",
            Self::Squares => "squares",
            Self::Positions => "positions",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A number at rest, little-endian.
pub(crate) trait Element: Copy {
    const DTYPE: Dtype;
    fn write(self, bytes: &mut Vec<u8>);
    /// From as many bytes as it has.
    fn read(bytes: &[u8]) -> Self;
    fn is_sound(self) -> bool;
}

macro_rules! element {
    ($type:ty, $dtype:ident, $is_sound:expr) => {
        impl Element for $type {
            const DTYPE: Dtype = Dtype::$dtype;

            fn write(self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_le_bytes());
            }

            fn read(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("the caller cut as many bytes as an element has"))
            }

            fn is_sound(self) -> bool {
                $is_sound(self)
            }
        }
    };
}

element!(f32, F32, f32::is_finite);
element!(f64, F64, f64::is_finite);
element!(bf16, BF16, bf16::is_finite);
element!(u32, U32, |_| true);

/// Stores a matrix in pieces of at most `limit` bytes of numbers, none of which crosses a row of `cuts`; row `i` of
/// `matrix` has the number `first + i`. What is there already is stored once.
pub(crate) fn write<T: Element>(
    store: &dyn ArtifactStore,
    part: Part,
    first: usize,
    matrix: &[impl AsRef<[T]>],
    cuts: &[usize],
    limit: usize,
) -> Result<Vec<ChunkReference>, HistoryError> {
    let columns = matrix.first().map_or(0, |row| row.as_ref().len());
    let mut chunks = Vec::new();
    for (rows, columns) in pieces(first..first + matrix.len(), columns, cuts, limit / size_of::<T>()) {
        let mut numbers = Vec::with_capacity(rows.len() * columns.len() * size_of::<T>());
        for row in &matrix[rows.start - first..rows.end - first] {
            row.as_ref()[columns.clone()].iter().for_each(|number| number.write(&mut numbers));
        }
        let artifact = |error| HistoryError::Artifact(rewind_artifacts::ArtifactError::Safetensors(error));
        let tensor = TensorView::new(T::DTYPE, vec![rows.len(), columns.len()], &numbers).map_err(artifact)?;
        let bytes = safetensors::serialize([(part.name(), tensor)], None).map_err(artifact)?;
        chunks.push(ChunkReference {
            sha256: store.put(&bytes)?,
            bytes: bytes.len() as u64,
            part,
            rows: [rows.start, rows.end],
            columns: [columns.start, columns.end],
        });
    }
    Ok(chunks)
}

/// Cuts a matrix into pieces of at most `limit` elements: bands of whole rows, or pieces of a row where it is too long.
fn pieces(rows: Range<usize>, columns: usize, cuts: &[usize], limit: usize) -> Vec<(Range<usize>, Range<usize>)> {
    let mut pieces = Vec::new();
    let wide = columns.clamp(1, limit.max(1));
    let high = (limit / columns.max(1)).max(1);
    let mut row = rows.start;
    while row < rows.end {
        let cut = cuts.iter().copied().filter(|&cut| cut > row).min().unwrap_or(rows.end);
        let band = row..(row + high).min(cut).min(rows.end);
        for start in (0..columns).step_by(wide) {
            pieces.push((band.clone(), start..(start + wide).min(columns)));
        }
        row = band.end;
    }
    pieces
}

/// Whether these pieces, in their order, make up a matrix: bands of rows from left to right, from first to last.
pub(crate) fn make_up(pieces: &[&ChunkReference], rows: Range<usize>, columns: usize) -> Result<(), String> {
    if columns == 0 || rows.is_empty() {
        return if pieces.is_empty() { Ok(()) } else { Err("is a piece of nothing".into()) };
    }
    let (mut band, mut column) = (rows.start..rows.start, 0);
    for piece in pieces {
        let ([top, bottom], [left, right]) = (piece.rows, piece.columns);
        if column == 0 {
            band = band.end..bottom;
        }
        if top != band.start || bottom != band.end || top >= bottom || left != column || left >= right {
            return Err(format!("rows {top}..{bottom}, columns {left}..{right} do not follow the piece before"));
        }
        if bottom > rows.end || right > columns {
            return Err(format!("rows {top}..{bottom}, columns {left}..{right} leave {}×{columns}", rows.end));
        }
        column = if right == columns { 0 } else { right };
    }
    if band.end == rows.end && column == 0 {
        return Ok(());
    }
    Err(format!("the pieces end at row {}, column {column}", band.end))
}

/// The numbers of a chunk, row by row.
///
/// # Errors
/// Missing or altered; not the one tensor that the record tells of; a number that is not finite.
pub(crate) fn read<T: Element>(
    store: &dyn ArtifactStore,
    record: &Digest,
    chunk: &ChunkReference,
) -> Result<Vec<T>, HistoryError> {
    let ChunkReference { sha256, part, .. } = chunk;
    let damaged =
        |problem: String| HistoryError::Chunk { record: record.clone(), chunk: sha256.clone(), part: *part, problem };
    let unreadable = |source| HistoryError::Unreadable {
        record: record.clone(),
        chunk: sha256.clone(),
        part: *part,
        source: Box::new(source),
    };
    let bytes = store.get(sha256).map_err(unreadable)?;
    debug_assert_eq!(digest_of(&bytes), *sha256, "a store checks what it gives");
    if bytes.len() as u64 != chunk.bytes {
        return Err(damaged(format!("has {} bytes, but the record says {}", bytes.len(), chunk.bytes)));
    }
    let file = open_safetensors(&bytes).map_err(|error| damaged(format!("is no safetensors file: {error}")))?;
    let tensor = file.tensor(part.name()).map_err(|_| damaged(format!("has no tensor `{part}`")))?;
    let shape = [chunk.rows[1] - chunk.rows[0], chunk.columns[1] - chunk.columns[0]];
    if tensor.shape() != shape || tensor.dtype() != T::DTYPE {
        let (found, dtype) = (tensor.shape(), tensor.dtype());
        return Err(damaged(format!("is {dtype} of shape {found:?}, but {} of {shape:?} is expected", T::DTYPE)));
    }
    let numbers: Vec<T> = tensor.data().chunks_exact(size_of::<T>()).map(T::read).collect();
    if let Some(at) = numbers.iter().position(|number| !number.is_sound()) {
        return Err(damaged(format!("number {at} is not finite")));
    }
    Ok(numbers)
}

/// Puts pieces that make up a matrix together: its rows. `numbers` are the pieces'.
pub(crate) fn assemble<T: Element>(chunks: &[&ChunkReference], numbers: Vec<Vec<T>>) -> Vec<Vec<T>> {
    let mut matrix: Vec<Vec<T>> = Vec::new();
    for (chunk, numbers) in chunks.iter().zip(numbers) {
        let ([top, bottom], [left, right]) = (chunk.rows, chunk.columns);
        if left == 0 {
            matrix.resize_with(matrix.len() + bottom - top, Vec::new);
        }
        let band = matrix.len() - (bottom - top)..matrix.len();
        for (row, piece) in matrix[band].iter_mut().zip(numbers.chunks_exact(right - left)) {
            row.extend_from_slice(piece);
        }
    }
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(pieces: Vec<(Range<usize>, Range<usize>)>) -> Vec<ChunkReference> {
        let reference = |(rows, columns): (Range<usize>, Range<usize>)| ChunkReference {
            sha256: digest_of(b""),
            bytes: 0,
            part: Part::Base,
            rows: [rows.start, rows.end],
            columns: [columns.start, columns.end],
        };
        pieces.into_iter().map(reference).collect()
    }

    #[test]
    fn pieces_are_bands_of_rows_that_do_not_cross_a_cut() {
        let rows = |limit| pieces(1..8, 10, &[4], limit).into_iter().map(|(rows, _)| rows).collect::<Vec<_>>();
        assert_eq!(rows(20), [1..3, 3..4, 4..6, 6..8]);
        assert_eq!(rows(1000), [1..4, 4..8]);
        assert_eq!(pieces(0..1, 10, &[], 4), [(0..1, 0..4), (0..1, 4..8), (0..1, 8..10)]);
    }

    #[test]
    fn pieces_that_leave_a_gap_or_overlap_make_up_nothing() {
        for limit in [1, 3, 7, 20, 1000] {
            let whole = references(pieces(1..8, 10, &[4], limit));
            let all: Vec<_> = whole.iter().collect();
            make_up(&all, 1..8, 10).expect("the pieces are those of the matrix");
            for (rows, columns) in [(1..9, 10), (0..8, 10), (1..8, 11), (1..8, 9), (1..1, 10)] {
                make_up(&all, rows, columns).expect_err("another matrix");
            }
            for missing in 0..all.len() {
                let mut some = all.clone();
                some.remove(missing);
                make_up(&some, 1..8, 10).expect_err("a gap");
                some.insert(missing, all[missing]);
                some.insert(missing, all[missing]);
                make_up(&some, 1..8, 10).expect_err("twice there");
            }
        }
    }

    #[test]
    fn backward_ranges_make_up_nothing() {
        for (rows, columns) in [([0, 0], [0, 2]), ([1, 0], [0, 2]), ([0, 1], [2, 0]), ([0, 1], [0, usize::MAX])] {
            let piece = ChunkReference { sha256: digest_of(b""), bytes: 0, part: Part::Base, rows, columns };
            make_up(&[&piece], 0..1, 2).expect_err("no piece of it");
        }
    }
}
