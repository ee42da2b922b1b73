//! Following a job to its end, through a coordinator that may be away for a while.

use std::time::{Duration, Instant};

use rewind_job::{JobId, JobState, JobStatus};

use rewind_client::{Client, Update, Updates};

use crate::{
    error::Error,
    screen::{Screen, state_name},
    signals::Signals,
};

/// A coordinator that is away for longer is gone.
const AWAY: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(500);

/// Shows a job until it ends.
pub async fn follow(client: &mut Client, job: &JobId, screen: &Screen) -> Result<JobStatus, Error> {
    let result = until_the_end(client, job, screen, |update| screen.show(&update.status)).await;
    screen.rest();
    result
}

/// As [`follow`]; Ctrl-C stops the following, not the job.
pub async fn follow_interruptibly(client: &mut Client, job: &JobId, screen: &Screen) -> Result<JobStatus, Error> {
    let mut signals = Signals::listen()?;
    let result = tokio::select! {
        result = follow(client, job, screen) => return result,
        () = signals.next() => Err(Error::Interrupted),
    };
    screen.rest();
    screen.say(&format!("{job} goes on; `rewind watch {job}` follows it, `rewind cancel {job}` stops it"));
    result
}

/// Hands over every state until the last one.
pub async fn until_the_end(
    client: &mut Client,
    job: &JobId,
    screen: &Screen,
    mut see: impl FnMut(&Update),
) -> Result<JobStatus, Error> {
    let mut updates = client.watch(job).await?;
    let mut heard = Instant::now();
    loop {
        let cause = match updates.next().await {
            Ok(Some(update)) => {
                heard = Instant::now();
                see(&update);
                if update.status.state.is_final() {
                    return Ok(update.status);
                }
                continue;
            }
            Ok(None) => "the coordinator ended the stream".to_owned(),
            Err(rewind_client::Error::Unreachable { cause, .. }) => cause,
            Err(error) => return Err(error.into()),
        };
        screen.say(&format!("lost the coordinator ({cause}); trying again"));
        updates = again(client, job, heard).await?;
    }
}

async fn again(client: &mut Client, job: &JobId, since: Instant) -> Result<Updates, rewind_client::Error> {
    let since = since.max(Instant::now() - Duration::from_secs(1));
    loop {
        tokio::time::sleep(AGAIN).await;
        match client.watch(job).await {
            Err(rewind_client::Error::Unreachable { .. }) if since.elapsed() < AWAY => {}
            other => return other,
        }
    }
}

/// # Errors
/// The job has ended without a result.
pub fn finished(status: &JobStatus) -> Result<(), Error> {
    if status.state == JobState::Finished {
        return Ok(());
    }
    Err(Error::JobEnded {
        job: status.job.0.clone(),
        state: state_name(status.state).to_owned(),
        reason: status.reason.clone(),
    })
}

/// # Errors
/// The job has ended without a result, or with a verdict that its specification calls a failure.
pub fn succeeded(status: &JobStatus) -> Result<(), Error> {
    finished(status)?;
    match status.verdict.filter(|_| status.fails) {
        Some(verdict) => Err(Error::Verdict { job: status.job.0.clone(), verdict }),
        None => Ok(()),
    }
}
