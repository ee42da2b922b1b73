use rewind_artifacts::ArtifactStore;
use rewind_job::Digest;

use crate::{
    ChunkReference, Encoding, Header, HistoryError, KeptTensor, Part, Run,
    chunk::{self, Element},
    encoding,
};

/// How a run is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub encoding: Encoding,
    /// Largest chunk, in bytes of its numbers; the file has about a hundred more. At least one number is in each.
    pub chunk_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { encoding: Encoding::default(), chunk_bytes: 4 << 20 }
    }
}

/// Stores a run: its chunks, then its record, whose digest is the history's name. Equal runs and options have equal
/// names.
///
/// # Errors
/// What [`Run::check`] refuses; a difference beyond bfloat16; what the store answers.
pub fn write(store: &dyn ArtifactStore, run: &Run, options: Options) -> Result<Digest, HistoryError> {
    run.check()?;
    let outline = &run.outline;
    let moments = &outline.snapshots;
    // Snapshots with which a phase begins: runs that share the phases before share their chunks.
    let cuts: Vec<usize> = (1..moments.len()).filter(|&j| moments[j].phase != moments[j - 1].phase).collect();
    let limit = options.chunk_bytes;
    let mut chunks = chunk::write(store, Part::Base, 0, &run.weights[..1], &[], limit)?;
    match options.encoding {
        Encoding::Bfloat16Differences => {
            let mut reconstructed = run.weights[0].clone();
            let mut differences = Vec::new();
            for (j, next) in run.weights.iter().enumerate().skip(1) {
                let difference = encoding::difference(&mut reconstructed, next).map_err(|at| {
                    let problem = "its difference to the snapshot before is beyond bfloat16";
                    HistoryError::run(format!("weights[{j}][{at}]"), problem)
                })?;
                differences.push(difference);
            }
            chunks.extend(chunk::write(store, Part::Differences, 1, &differences, &cuts, limit)?);
        }
        Encoding::Float32Snapshots => {
            chunks.extend(chunk::write(store, Part::Snapshots, 1, &run.weights[1..], &cuts, limit)?);
        }
    }
    // Step `j` leads to snapshot `j + 1`.
    let steps: Vec<usize> = cuts.iter().map(|cut| cut - 1).collect();
    chunks.extend(chunk::write(store, Part::Squares, 0, &run.squares, &steps, limit)?);
    chunks.extend(chunk::write(store, Part::Positions, 0, &[run.positions.concat()], &[], limit)?);
    let header = Header { outline: outline.clone(), encoding: options.encoding, chunks };
    Ok(store.put(&header.to_bytes()?)?)
}

/// All about a history but its numbers: one artifact is read.
///
/// # Errors
/// Missing or altered; not a record; of another version; a field that is missing, unknown or wrong, by its name.
pub fn header(store: &dyn ArtifactStore, record: &Digest) -> Result<Header, HistoryError> {
    Header::from_bytes(record, &store.get(record)?)
}

/// Reads a history whole. Its weights are as reconstructed: see [`Encoding`].
///
/// # Errors
/// As [`header`]; names the first chunk that is missing, altered, of another shape, or not finite.
pub fn read(store: &dyn ArtifactStore, record: &Digest) -> Result<Run, HistoryError> {
    let header = header(store, record)?;
    let run = Reader { store, record, damage: None }.read(&header)?;
    run.check().map_err(|error| error.in_record(record))?;
    Ok(run)
}

/// What a look at every byte of a history found.
#[derive(Debug)]
pub struct Verification {
    /// Chunks of the history.
    pub chunks: usize,
    /// Their bytes.
    pub bytes: u64,
    /// One error a chunk that is damaged; or the one of the record.
    pub damage: Vec<HistoryError>,
}

/// Reads everything of a history and names all that is damaged, not only the first.
///
/// # Errors
/// Those worth a retry, which tell nothing of the history. Damage is no error.
pub fn verify(store: &dyn ArtifactStore, record: &Digest) -> Result<Verification, HistoryError> {
    let header = match header(store, record) {
        Ok(header) => header,
        Err(error) if error.is_retryable() => return Err(error),
        Err(error) => return Ok(Verification { chunks: 0, bytes: 0, damage: vec![error] }),
    };
    let mut reader = Reader { store, record, damage: Some(Vec::new()) };
    let run = reader.read(&header)?;
    let mut damage = reader.damage.unwrap_or_default();
    if damage.is_empty() {
        damage.extend(run.check().err().map(|error| error.in_record(record)));
    }
    Ok(Verification { chunks: header.chunks.len(), bytes: header.bytes(), damage })
}

struct Reader<'a> {
    store: &'a dyn ArtifactStore,
    record: &'a Digest,
    /// Where damage is gathered, when reading is to go on after it; the run is then incomplete.
    damage: Option<Vec<HistoryError>>,
}

impl Reader<'_> {
    fn read(&mut self, header: &Header) -> Result<Run, HistoryError> {
        let outline = header.outline.clone();
        let mut weights: Vec<Vec<f32>> = self.matrix(header, Part::Base)?;
        match header.encoding {
            Encoding::Bfloat16Differences => {
                for differences in self.matrix(header, Part::Differences)? {
                    let next = weights.last().map(|last| encoding::next(last, &differences));
                    weights.extend(next);
                }
            }
            Encoding::Float32Snapshots => weights.extend(self.matrix(header, Part::Snapshots)?),
        }
        let squares = self.matrix(header, Part::Squares)?;
        let mut all = self.matrix::<u32>(header, Part::Positions)?.concat().into_iter();
        let of_tensor = |tensor: &KeptTensor| if tensor.is_sampled() { tensor.kept } else { 0 };
        let positions = outline.tensors.iter().map(|tensor| all.by_ref().take(of_tensor(tensor)).collect()).collect();
        Ok(Run { outline, positions, squares, weights })
    }

    /// A matrix's rows; of a damaged one, none.
    fn matrix<T: Element>(&mut self, header: &Header, part: Part) -> Result<Vec<Vec<T>>, HistoryError> {
        let chunks = header.pieces(part);
        let mut numbers = Vec::new();
        for chunk in &chunks {
            numbers.extend(self.chunk(chunk)?);
        }
        Ok(if numbers.len() == chunks.len() { chunk::assemble(&chunks, numbers) } else { Vec::new() })
    }

    fn chunk<T: Element>(&mut self, chunk: &ChunkReference) -> Result<Option<Vec<T>>, HistoryError> {
        match (chunk::read(self.store, self.record, chunk), &mut self.damage) {
            (Ok(numbers), _) => Ok(Some(numbers)),
            (Err(error), Some(damage)) if !error.is_retryable() => {
                damage.push(error);
                Ok(None)
            }
            (Err(error), _) => Err(error),
        }
    }
}
