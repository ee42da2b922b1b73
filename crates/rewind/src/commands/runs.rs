//! Jobs of a larger undertaking, found again when it goes on after an interruption.

use rewind_artifacts::digest_of;
use rewind_job::{JobId, JobState, Report, Specification, StepWeights};

use super::follow::{finished, follow_interruptibly};
use rewind_client::Client;

use crate::{error::Error, screen::Screen};

pub struct Runs<'a> {
    /// Run everything anew.
    pub fresh: bool,
    pub screen: &'a Screen,
}

impl Runs<'_> {
    pub async fn submit(
        &self,
        client: &mut Client,
        specifications: impl Iterator<Item = Specification>,
    ) -> Result<Vec<JobId>, Error> {
        let mut jobs = Vec::new();
        for specification in specifications {
            jobs.push(self.submit_one(client, &specification).await?);
        }
        Ok(jobs)
    }

    /// The same specification is the same job, unless that has ended without a result.
    pub async fn submit_one(&self, client: &mut Client, specification: &Specification) -> Result<JobId, Error> {
        if !self.fresh {
            // What another version made is not what this one would make.
            let identity = format!("{}\n{}", rewind_version::VERSION, specification.to_toml());
            let submission = digest_of(identity.as_bytes()).0;
            let job = client.submit_as(specification, submission).await?;
            let status = client.status(&job).await?;
            if status.state == JobState::Finished || !status.state.is_final() {
                return Ok(job);
            }
        }
        Ok(client.submit(specification).await?)
    }

    /// Waits for a job's end; gives its report and what it made.
    pub async fn result(&self, client: &mut Client, job: &JobId) -> Result<(Report, Vec<StepWeights>), Error> {
        finished(&follow_interruptibly(client, job, self.screen).await?)?;
        Ok(client.report(job).await?)
    }
}
