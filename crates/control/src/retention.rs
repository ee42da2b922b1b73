//! Which checkpoints are needed no more, and what becomes of them.
//!
//! A checkpoint that is released is first doomed, durably and by the leader alone, and deleted after a delay. Whoever
//! writes the same bytes again meanwhile keeps them: deletion spares what was written after it was decided.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rewind_job::{Action, Digest, Evaluate, Manifest, Step, Timeouts};

use crate::{CHANGES_AT_ONCE, Change, Command, Now, job::Job, store_in_pieces};

/// After a deletion failed, the next one waits so long.
const PAUSE: Duration = Duration::from_secs(30);

/// Artifacts that are to be deleted, and since when.
#[derive(Debug)]
pub struct Doomed {
    artifacts: BTreeMap<Digest, Now>,
    /// Being deleted, and what was decided when; some at a time, so that a store is not flooded.
    under_way: BTreeMap<Digest, Now>,
    not_before: Now,
}

impl Doomed {
    pub fn restore(stored: Vec<(Digest, u64)>) -> Self {
        let artifacts = stored.into_iter().map(|(digest, at)| (digest, Now(at))).collect();
        Self { artifacts, under_way: BTreeMap::new(), not_before: Now(0) }
    }

    /// Dooms what no job needs. What is doomed already may have been written again meanwhile: it waits anew.
    pub fn add(&mut self, artifacts: Vec<Digest>, now: Now) -> Vec<Change> {
        let new: BTreeSet<Digest> = artifacts.into_iter().collect();
        for digest in &new {
            self.artifacts.insert(digest.clone(), now);
        }
        new.into_iter().map(|digest| Change::Doomed(digest, now.0)).collect()
    }

    /// Deletes what has waited long enough, unless a job has come to need it.
    pub fn due(&mut self, now: Now, timeouts: &Timeouts, needed: impl Fn(&Digest) -> bool) -> Vec<Command> {
        if !self.under_way.is_empty() || now < self.not_before {
            return Vec::new();
        }
        let ripe = self.artifacts.iter().filter(|(_, since)| now.since(**since) > timeouts.retention);
        let ripe: Vec<(Digest, Now)> =
            ripe.take(CHANGES_AT_ONCE).map(|(digest, since)| (digest.clone(), *since)).collect();
        let (spared, due): (Vec<_>, Vec<_>) = ripe.into_iter().partition(|(digest, _)| needed(digest));
        let mut commands = self.forget(spared.into_iter().map(|(digest, _)| digest).collect());
        if !due.is_empty() {
            self.under_way = due.iter().cloned().collect();
            commands.push(Command::Delete(due));
        }
        commands
    }

    /// What was under way has ended: `gone` is deleted or was written again, the rest is tried again later.
    pub fn ended(&mut self, gone: Vec<Digest>, now: Now) -> Vec<Command> {
        let under_way = std::mem::take(&mut self.under_way);
        if gone.len() < under_way.len() {
            self.not_before = now.after(PAUSE);
        }
        // Doomed again since: that is another deletion.
        let as_decided =
            |digest: &Digest| under_way.contains_key(digest) && self.artifacts.get(digest) == under_way.get(digest);
        let gone = gone.into_iter().filter(as_decided).collect();
        self.forget(gone)
    }

    fn forget(&mut self, artifacts: Vec<Digest>) -> Vec<Command> {
        for digest in &artifacts {
            self.artifacts.remove(digest);
        }
        store_in_pieces(artifacts.into_iter().map(Change::Gone).collect())
    }
}

/// Whether the job, as it stands, needs an artifact.
pub fn needs(job: &Job, digest: &Digest) -> bool {
    let durable = job.gang.iter().flat_map(|gang| gang.durable.values().flatten().flatten());
    durable.into_iter().any(|done| &done.shard == digest)
        || job.manifests.iter().any(|manifest| manifest.shards.contains(digest))
        || job.tasks.values().any(|record| record.output.as_ref() == Some(digest))
        || job.specification.artifacts().any(|wanted| wanted == digest)
}

/// Releases the checkpoints that the job needs no more. Their manifests stay, without shards.
pub fn release(job: &mut Job) -> (Vec<Change>, Vec<Digest>) {
    let over = job.head.state.is_final() && job.head.state != rewind_job::JobState::Failed;
    let (mut changes, mut released) = (Vec::new(), Vec::new());
    let keep: Vec<bool> = job.manifests.iter().map(|manifest| !over && is_kept(job, manifest)).collect();
    for (manifest, keep) in job.manifests.iter_mut().zip(keep) {
        if !keep && !manifest.shards.is_empty() {
            released.append(&mut manifest.shards);
            changes.push(Change::Released(job.id.clone(), Box::new(manifest.clone())));
        }
    }
    (changes, released)
}

fn is_kept(job: &Job, manifest: &Manifest) -> bool {
    let last_of_step = job.manifests.iter().rfind(|other| other.step == manifest.step);
    let Some(last) = last_of_step else { return true };
    let is_present_step = job.manifests.last().is_some_and(|present| present.step == manifest.step);
    let behind = last.round.0 - manifest.round.0;
    let result = last.outcome.as_ref().map_or(last.best, |outcome| outcome.selected);
    manifest.round == result
        || (is_present_step && behind < job.specification.checkpoints.keep)
        || has_curve(job, manifest.step.0 as usize)
}

/// The report shows every round of an unlearning step that is evaluated.
fn has_curve(job: &Job, index: usize) -> bool {
    let steps = &job.specification.steps;
    let Some(Step { name, action: Action::Unlearn(_) }) = steps.get(index) else { return false };
    steps[index..].iter().any(|step| match &step.action {
        Action::Evaluate(Evaluate { of, .. }) => of.as_ref().is_none_or(|names| names.contains(name)),
        _ => false,
    })
}
