//! `rewind jobs`, `watch`, `cancel`, `events`.

use rewind_job::{JobId, JobStatus};

use crate::{
    arguments::{Cancel, Events, Jobs, Watch},
    client::Client,
    commands::follow::{finished, follow_interruptibly, until_the_end},
    error::Error,
    output, page,
    screen::{Screen, state_name},
};

pub async fn list(jobs: Jobs) -> Result<(), Error> {
    let statuses = Client::connect(&jobs.at).await?.list().await?;
    if jobs.json {
        output::json(&statuses);
    } else if statuses.is_empty() {
        Screen::new().say("no jobs yet; send one with `rewind submit SPEC.toml`");
    } else {
        statuses.iter().for_each(|status| output::line(describe(status)));
    }
    Ok(())
}

fn describe(status: &JobStatus) -> String {
    let progress = status.progress.as_ref().filter(|_| !status.state.is_final());
    let progress = progress.map_or(String::new(), |progress| format!(" · {}", progress.text));
    format!(
        "{:<8}  {:<9}  {}{progress}\n{:<21}{}",
        status.job.0,
        state_name(status.state),
        status.name,
        "",
        status.reason
    )
}

pub async fn watch(watch: Watch) -> Result<(), Error> {
    let screen = Screen::new();
    let job = JobId(watch.job);
    let mut client = Client::connect(&watch.at).await?;
    let status = if watch.json {
        until_the_end(&mut client, &job, &screen, |update| {
            output::line(serde_json::to_string(&update.status).unwrap_or_default());
        })
        .await?
    } else {
        follow_interruptibly(&mut client, &job, &screen).await?
    };
    finished(&status)
}

pub async fn cancel(cancel: Cancel) -> Result<(), Error> {
    let update = Client::connect(&cancel.at).await?.cancel(&JobId(cancel.job)).await?;
    output::line(format!("{}: {}: {}", update.status.job, state_name(update.status.state), update.status.reason));
    Ok(())
}

pub async fn events(events: Events) -> Result<(), Error> {
    let mut client = Client::connect(&events.at).await?;
    let mut updates = client.watch(&JobId(events.job)).await?;
    let decisions = updates.next().await?.map(|update| update.events).unwrap_or_default();
    if events.json {
        output::json(&decisions);
    } else {
        for event in &decisions {
            output::line(format!("{}  gang {:<3}  {}", page::instant(event.at), event.generation.0, event.text));
        }
    }
    Ok(())
}
