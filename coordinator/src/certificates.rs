//! The certificate that goes with a report: issued anew at each request, with the same bytes each time.

use std::sync::Arc;

use rewind_certificate::{Facts, SigningKey, issue};
use rewind_job::{Digest, Generation, Report, SampleRecord};

/// A report as it is given out. Without a record of samples there is nothing to certify.
#[derive(Debug, Default)]
pub struct GivenOut {
    /// JSON, as report.json has it.
    pub report: String,
    /// Empty: there is none.
    pub certificate: Vec<u8>,
    /// Empty with it.
    pub disclosure: Vec<u8>,
    /// Why there is none.
    pub no_certificate: String,
}

/// Signs what the coordinator knows of a finished job.
#[derive(Clone)]
pub struct Notary(Arc<SigningKey>);

impl Notary {
    pub fn new(key: SigningKey) -> Self {
        Self(Arc::new(key))
    }

    /// `stored` is the digest of the report as rank 0 left it, without events.
    pub fn give_out(
        &self,
        mut report: Report,
        stored: &Digest,
        record: Result<SampleRecord, String>,
        generation: Generation,
    ) -> GivenOut {
        // Whoever may see the report need not see who was forgotten: only the disclosure opens the record.
        report.samples = None;
        let text = serde_json::to_string(&report).expect("a report was JSON before");
        let record = match record {
            Ok(record) => record,
            Err(why) => {
                tracing::warn!("{}: no certificate: {why}", report.job);
                return GivenOut { report: text, no_certificate: why, ..GivenOut::default() };
            }
        };
        let issued_at = report.events.last().map_or(0, |event| event.at);
        let facts = Facts { report: &report, report_bytes: text.as_bytes(), stored, record, generation, issued_at };
        let (certificate, disclosure) = issue(facts, &self.0);
        let (certificate, disclosure) = (certificate.to_bytes(), disclosure.to_bytes());
        GivenOut { report: text, certificate, disclosure, ..GivenOut::default() }
    }
}
