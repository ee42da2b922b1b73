//! Whatever happens in whatever order, the promises hold, and with enough workers every job ends.

use std::time::Duration;

use proptest::prelude::*;
use rewind_control::Event;
use rewind_job::{Generation, JobId, JobState, Rank, Timeouts, WorkerEvent, WorldSize};

use crate::cluster::{Cluster, layout, round_done, specification, worker};

#[derive(Clone, Debug)]
enum Happens {
    Join(u32),
    Lose(u32),
    Submit(u32),
    Cancel(u32),
    Obey(u32),
    Work(u32),
    Fail(u32, bool),
    Leave(u32, u32, u64),
    Stray(u32, u32, u64, u32, u32),
    Garble(u32),
    Silence(u64),
    Restart,
    ComeBack(u32),
    Reconnect(u32),
    SubmitHistories(u32),
    SubmitFewer(u32, u32),
    Pause(u32),
    Resume(u32),
    Drain(u32),
    FindAltered(u32, u32, u32),
    Delete(usize),
}

fn happens() -> impl Strategy<Value = Happens> {
    let (number, job, generation) = (1..=4_u32, 1..=4_u32, 0..=4_u64);
    prop_oneof![
        4 => number.clone().prop_map(Happens::Join),
        2 => number.clone().prop_map(Happens::Lose),
        2 => (1..=3_u32).prop_map(Happens::Submit),
        1 => job.clone().prop_map(Happens::Cancel),
        20 => number.clone().prop_map(Happens::Obey),
        20 => number.clone().prop_map(Happens::Work),
        1 => (number.clone(), any::<bool>()).prop_map(|(number, retryable)| Happens::Fail(number, retryable)),
        1 => (number.clone(), job.clone(), generation.clone()).prop_map(|(n, j, g)| Happens::Leave(n, j, g)),
        3 => (number.clone(), job.clone(), generation, 0..=3_u32, 0..=3_u32)
            .prop_map(|(n, j, g, step, round)| Happens::Stray(n, j, g, step, round)),
        1 => number.clone().prop_map(Happens::Garble),
        4 => number.clone().prop_map(Happens::ComeBack),
        2 => (0..=12_000_u64).prop_map(Happens::Silence),
        1 => Just(Happens::Restart),
        1 => number.clone().prop_map(Happens::Reconnect),
        1 => (1..=5_u32).prop_map(Happens::SubmitHistories),
        1 => (1..=4_u32, 0..=2_u32).prop_map(|(fewest, more)| Happens::SubmitFewer(fewest, fewest + more)),
        1 => job.clone().prop_map(Happens::Pause),
        1 => job.prop_map(Happens::Resume),
        1 => number.clone().prop_map(Happens::Drain),
        1 => (number, 0..=2_u32, 1..=2_u32).prop_map(|(n, step, round)| Happens::FindAltered(n, step, round)),
        1 => any::<usize>().prop_map(Happens::Delete),
    ]
}

fn job(number: u32) -> JobId {
    JobId(format!("job-{number}"))
}

fn apply(cluster: &mut Cluster, event: Happens) {
    match event {
        Happens::Join(number) => cluster.join(number),
        Happens::Lose(number) => cluster.lose(number),
        Happens::Submit(world) => drop(cluster.submit(world)),
        Happens::Cancel(number) => cluster.cancel(&job(number)),
        Happens::Obey(number) => drop(cluster.obey(number)),
        Happens::Work(number) => drop(cluster.work(number)),
        Happens::Fail(number, retryable) => cluster.fails(number, "something", retryable),
        Happens::Leave(number, of, generation) => {
            cluster.says(number, WorkerEvent::Left { job: job(of), generation: Generation(generation), last: None });
        }
        Happens::Stray(number, of, generation, step, round) => {
            let (job, generation) = (job(of), Generation(generation));
            let event = match (step + round) % 3 {
                0 => WorkerEvent::Prepared { job, generation, rank: Rank(step), layout: layout() },
                _ => {
                    let round = Box::new(round_done(step, round));
                    WorkerEvent::ShardDurable { job, generation, rank: Rank(0), round }
                }
            };
            cluster.says(number, event);
        }
        Happens::Garble(number) => {
            if cluster.workers.contains_key(&worker(number)) {
                cluster.handle(Event::Unreadable(worker(number), "garbled".into()));
            }
        }
        Happens::Silence(milliseconds) => {
            cluster.pass(Duration::from_millis(milliseconds), &[1, 2]);
        }
        Happens::Restart => cluster.restart(),
        Happens::ComeBack(number) => {
            if cluster.is_away(number) {
                cluster.come_back(number);
            }
        }
        Happens::Reconnect(number) => {
            if cluster.workers.contains_key(&worker(number)) {
                cluster.reconnect(number);
            }
        }
        Happens::SubmitHistories(tasks) => drop(cluster.submit_histories(tasks)),
        Happens::SubmitFewer(fewest, wanted) => {
            let mut specification = specification(wanted);
            specification.fleet.at_least = Some(WorldSize(fewest));
            specification.fleet.grace = Duration::from_secs(2);
            cluster.handle(Event::submitted(specification));
        }
        Happens::Pause(number) => cluster.pause(&job(number)),
        Happens::Resume(number) => cluster.resume(&job(number)),
        Happens::Drain(number) => cluster.drain(number),
        Happens::FindAltered(number, step, round) => cluster.finds_altered(number, step, round),
        Happens::Delete(which) => {
            let deletions = cluster.deletions();
            if !deletions.is_empty() {
                cluster.handle(Event::Deleted(vec![deletions[which % deletions.len()].clone()]));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_promises_hold_and_every_job_ends(events in prop::collection::vec(happens(), 0..150)) {
        // Short, so that checkpoints are deleted while the cluster is in trouble.
        let mut cluster = Cluster::with(Timeouts { retention: Duration::from_secs(7), ..Timeouts::default() });
        for event in events {
            apply(&mut cluster, event);
        }
        // Fresh workers, enough of them, and no more trouble.
        (1..=6).for_each(|number| cluster.join(number));
        cluster.work_through_waits();
        let jobs = cluster.control.jobs().into_iter();
        let paused: Vec<JobId> = jobs.filter(|job| job.state == JobState::Paused).map(|job| job.job).collect();
        paused.iter().for_each(|job| cluster.resume(job));
        cluster.work_through_waits();
        for status in cluster.control.jobs() {
            prop_assert!(status.state.is_final(), "{status:?}");
        }
    }
}
