use std::{ops::RangeInclusive, time::SystemTime};

use rewind_artifacts::{ArtifactError, ArtifactStore};
use rewind_job::Digest;

use crate::{Header, HistoryError, Kind, record};

/// Which histories are meant; nothing asked for means all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    pub kind: Option<Kind>,
    /// As specifications spell it.
    pub architecture: Option<String>,
    /// The rule of the training, not of the phase `forward`: `sgd`, `adam`, `adamw`.
    pub optimiser: Option<String>,
    /// A data set's name, or the beginning of its digest, of at least four digits.
    pub data: Option<String>,
    /// Of the training, not of the phase `forward`.
    pub learning_rate: Option<RangeInclusive<f64>>,
}

/// The histories of a store.
#[derive(Debug, Default)]
pub struct Listing {
    /// By when their records were last written, then by their digests.
    pub histories: Vec<Listed>,
    /// By their digests: what may be a record, but is damaged or not understood.
    pub unreadable: Vec<Unreadable>,
}

#[derive(Clone, Debug)]
pub struct Listed {
    pub digest: Digest,
    pub last_written: SystemTime,
    pub header: Header,
}

#[derive(Debug)]
pub struct Unreadable {
    pub digest: Digest,
    pub error: HistoryError,
}

impl Filter {
    pub fn admits(&self, header: &Header) -> bool {
        let provenance = &header.outline.provenance;
        let rate = provenance.training.optimiser.learning_rate();
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        let has_data = |wanted: &String| {
            *wanted == provenance.data.name || (wanted.len() >= 4 && provenance.data.digest.0.starts_with(wanted))
        };
        self.kind.is_none_or(|kind| kind == provenance.kind)
            && is(&self.architecture, &provenance.architecture)
            && is(&self.optimiser, provenance.training.rule())
            && self.data.as_ref().is_none_or(has_data)
            && self.learning_rate.as_ref().is_none_or(|range| range.contains(&rate))
    }
}

/// The histories that a filter admits. Of the artifacts, those are read whose length a record may have: all records,
/// and one in 32 of the other small artifacts of odd length. A record that was cut or lengthened is not found so.
///
/// # Errors
/// What the store answers, but for damage: that is listed.
pub fn list(store: &dyn ArtifactStore, filter: &Filter) -> Result<Listing, HistoryError> {
    let mut listing = Listing::default();
    for stored in store.list()?.into_iter().filter(|stored| record::may_be(stored.bytes)) {
        let digest = stored.digest;
        match crate::header(store, &digest) {
            Ok(header) if filter.admits(&header) => {
                listing.histories.push(Listed { digest, last_written: stored.last_written, header });
            }
            // Another kind of artifact, or deleted meanwhile.
            Ok(_) | Err(HistoryError::NotAHistory(_) | HistoryError::Artifact(ArtifactError::Missing(_))) => {}
            Err(
                error @ (HistoryError::Version { .. }
                | HistoryError::Record { .. }
                | HistoryError::Artifact(ArtifactError::Altered { .. })),
            ) => listing.unreadable.push(Unreadable { digest, error }),
            Err(error) => return Err(error),
        }
    }
    listing.histories.sort_by(|a, b| (a.last_written, &a.digest).cmp(&(b.last_written, &b.digest)));
    Ok(listing)
}

/// The history whose digest begins so. A whole digest is answered without looking, `sha256:` before it is allowed.
///
/// # Errors
/// No history begins so, or several do; fewer than four digits; what the store answers.
pub fn find(store: &dyn ArtifactStore, prefix: &str) -> Result<Digest, HistoryError> {
    let prefix = prefix.strip_prefix("sha256:").unwrap_or(prefix);
    let is_hexadecimal = prefix.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !is_hexadecimal || !(4..=64).contains(&prefix.len()) {
        return Err(HistoryError::BadPrefix(prefix.to_owned()));
    }
    if prefix.len() == 64 {
        return Ok(Digest(prefix.to_owned()));
    }
    let mut matches = Vec::new();
    for stored in store.list()? {
        if stored.digest.0.starts_with(prefix)
            && record::may_be(stored.bytes)
            && !matches!(crate::header(store, &stored.digest), Err(HistoryError::NotAHistory(_)))
        {
            matches.push(stored.digest);
        }
    }
    match matches.len() {
        0 => Err(HistoryError::NoHistory(prefix.to_owned())),
        1 => Ok(matches.remove(0)),
        _ => Err(HistoryError::Ambiguous { prefix: prefix.to_owned(), matches }),
    }
}
