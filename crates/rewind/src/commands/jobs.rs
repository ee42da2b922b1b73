//! `rewind jobs`, `watch`, `cancel`, `pause`, `resume`, `tasks`, `events`.

use rewind_job::{JobEvent, JobId, JobState, JobStatus};
use rewind_proto::v1::TaskStatus;
use serde_json::json;

use rewind_client::{Client, Wish};

use crate::{
    arguments::{Events, Jobs, Tasks, Watch, Where},
    commands::follow::{follow_interruptibly, succeeded, until_the_end},
    error::Error,
    output,
    screen::{Screen, state_name},
};

pub async fn list(jobs: Jobs) -> Result<(), Error> {
    let statuses = Client::connect(&jobs.at.address()).await?.list().await?;
    if jobs.json {
        output::json(&statuses);
    } else if statuses.is_empty() {
        Screen::new().say("no jobs yet; send one with `rewind submit SPEC.toml`");
    } else {
        statuses.iter().for_each(|status| output::line(describe(status)));
    }
    Ok(())
}

pub fn describe(status: &JobStatus) -> String {
    let progress = status.progress.as_ref().filter(|_| !status.state.is_final());
    let progress = progress.map_or(String::new(), |progress| format!(" · {}", progress.text));
    format!(
        "{:<8}  {:<9}  {}{progress}\n{:<21}{}",
        status.job.0,
        state_name(status.state),
        output::in_one_line(&status.name),
        "",
        output::in_one_line(&status.reason)
    )
}

pub async fn watch(watch: Watch) -> Result<(), Error> {
    let screen = Screen::new();
    let job = JobId(watch.job);
    let mut client = Client::connect(&watch.at.address()).await?;
    let status = if watch.json {
        until_the_end(&mut client, &job, &screen, |update| {
            output::line(serde_json::to_string(&update.status).unwrap_or_default());
        })
        .await?
    } else {
        follow_interruptibly(&mut client, &job, &screen).await?
    };
    succeeded(&status)
}

pub async fn change(at: &Where, job: String, wish: Wish) -> Result<(), Error> {
    let mut client = Client::connect(&at.address()).await?;
    let job = JobId(job);
    // One look before: what has ended stays as it is.
    let before = client.watch(&job).await?.next().await?.map(|update| update.status);
    if let Some(JobStatus { state, .. }) = before
        && !wish.is_possible(state)
    {
        return Err(Error::Refused(format!("{job} is {}: there is nothing to {}", state_name(state), wish.name())));
    }
    let update = client.change(&job, wish).await?;
    let JobStatus { job, state, mut reason, .. } = update.status;
    // What was decided, where the state has not changed yet: it pauses after the round.
    if matches!((wish, state), (Wish::Pause, JobState::Running) | (Wish::Resume, JobState::Running)) {
        reason = update.events.last().map_or(reason, |event| event.text.clone());
    }
    output::line(format!("{job}: {}: {reason}", state_name(state)));
    Ok(())
}

pub async fn tasks(tasks: Tasks) -> Result<(), Error> {
    let mut client = Client::connect(&tasks.at.address()).await?;
    let job = JobId(tasks.job);
    let status = client.watch(&job).await?.next().await?.map(|update| update.status);
    if status.is_some_and(|status| status.tasks.is_none()) {
        return Err(Error::Refused(format!("{job} makes no histories, so it has no tasks")));
    }
    let found = client.tasks(&job).await?;
    if tasks.json {
        let rows = found.iter().map(|task| {
            json!({
                "task": task.task,
                "worker": (!task.worker.is_empty()).then_some(&task.worker),
                "failures": task.failures,
                "output": (!task.output.is_empty()).then_some(&task.output),
            })
        });
        output::json(&rows.collect::<Vec<_>>());
        return Ok(());
    }
    found.iter().for_each(|task| output::line(describe_task(task)));
    Ok(())
}

pub fn describe_task(task: &TaskStatus) -> String {
    let state = match (task.worker.as_str(), task.output.as_str()) {
        ("", "") => "open".to_owned(),
        (worker, "") => format!("on {worker}"),
        (_, output) => format!("sha256:{output}"),
    };
    let failures = if task.failures > 0 { format!("  ({} failures)", task.failures) } else { String::new() };
    format!("{:>6}  {state}{failures}", task.task)
}

pub async fn events(events: Events) -> Result<(), Error> {
    let mut client = Client::connect(&events.at.address()).await?;
    let mut updates = client.watch(&JobId(events.job)).await?;
    let decisions = updates.next().await?.map(|update| update.events).unwrap_or_default();
    if events.json {
        output::json(&decisions);
    } else {
        for event in &decisions {
            output::line(describe_event(event));
        }
    }
    Ok(())
}

pub fn describe_event(event: &JobEvent) -> String {
    format!("{}  gang {:<3}  {}", rewind_page::instant(event.at), event.generation.0, event.text)
}
