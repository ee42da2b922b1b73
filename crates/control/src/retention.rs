//! Which checkpoints are needed no more, and what becomes of them.
//!
//! A checkpoint that is released is first doomed, durably and by the leader alone, and deleted after a delay. Whoever
//! writes the same bytes again meanwhile keeps them: deletion spares what was written after it was decided.

use std::collections::{BTreeMap, BTreeSet};

use rewind_job::{Action, Digest, Evaluate, Manifest, Step, Timeouts};

use crate::{Change, Command, Now, job::Job};

/// Artifacts that are to be deleted, and since when.
#[derive(Debug, Default)]
pub struct Doomed {
    artifacts: BTreeMap<Digest, Now>,
    /// Being deleted, and what was decided when.
    under_way: BTreeMap<Digest, Now>,
}

impl Doomed {
    pub fn restore(stored: Vec<(Digest, u64)>) -> Self {
        let artifacts = stored.into_iter().map(|(digest, at)| (digest, Now(at))).collect();
        Self { artifacts, under_way: BTreeMap::new() }
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
        let ripe = |since: Now| now.since(since) > timeouts.retention;
        let due: Vec<(Digest, Now)> = self
            .artifacts
            .iter()
            .filter(|(digest, since)| ripe(**since) && !self.under_way.contains_key(*digest))
            .map(|(digest, since)| (digest.clone(), *since))
            .collect();
        let mut commands = Vec::new();
        for (artifact, decided) in due {
            if needed(&artifact) {
                self.artifacts.remove(&artifact);
                commands.push(Command::Store(vec![Change::Gone(artifact)]));
            } else {
                self.under_way.insert(artifact.clone(), decided);
                commands.push(Command::Delete { artifact, decided });
            }
        }
        commands
    }

    pub fn gone(&mut self, artifact: &Digest) -> Vec<Command> {
        let decided = self.under_way.remove(artifact);
        // Doomed again since: that is another deletion.
        if decided.is_none() || self.artifacts.get(artifact) != decided.as_ref() {
            return Vec::new();
        }
        self.artifacts.remove(artifact);
        vec![Command::Store(vec![Change::Gone(artifact.clone())])]
    }
}

/// Whether the job, as it stands, needs an artifact.
pub fn needs(job: &Job, digest: &Digest) -> bool {
    job.manifests.iter().any(|manifest| manifest.shards.contains(digest))
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
        Action::Evaluate(Evaluate { of }) => of.as_ref().is_none_or(|names| names.contains(name)),
        _ => false,
    })
}
