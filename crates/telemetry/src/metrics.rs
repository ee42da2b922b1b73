//! Every metric of every program: names, labels, units and meaning. Before `serve` they count nothing and cost nearly
//! nothing.

mod exporter;
mod instruments;

use std::{io, net::SocketAddr};

pub use instruments::{Build, Counter, Flag, Gauge, Label, OneOf, Time};

/// A metric's name (Prometheus' rules: unit last, counters end in `_total`), and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    /// What tells the series of this metric from each other.
    pub label: Option<&'static str>,
    /// One sentence.
    pub help: &'static str,
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    Gauge,
    /// Counts, by size, what it was given.
    Histogram,
}

impl Kind {
    /// As Prometheus writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What a metric's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Numbers of what the name says.
    Count,
    Seconds,
    Bytes,
    /// 1 for what is so, 0 for what is not.
    Truth,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Truth => "0 or 1",
        }
    }
}

/// All metrics, those of the coordinator first.
pub fn all() -> &'static [Metric] {
    ALL
}

macro_rules! labels {
    ($($(#[doc = $help:literal])+ $label:ident $name:literal { $($variant:ident = $value:literal),* $(,)? })*) => {
        $(
            $(#[doc = $help])+
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum $label {
                $($variant),*
            }

            impl Label for $label {
                const NAME: &'static str = $name;
                const ALL: &'static [Self] = &[$(Self::$variant),*];

                fn value(self) -> &'static str {
                    match self {
                        $(Self::$variant => $value),*
                    }
                }
            }
        )*
    };
}

labels! {
    /// State of a job.
    JobState "state" {
        Waiting = "waiting",
        Preparing = "preparing",
        Running = "running",
        Paused = "paused",
        Finished = "finished",
        Failed = "failed",
        Cancelled = "cancelled",
    }

    /// What the coordinator has a worker do.
    Duty "duty" { Idle = "idle", Gang = "gang", Task = "task", Leaving = "leaving" }

    /// Why a worker counts as lost.
    LossReason "reason" {
        Silent = "silent",
        SessionEnded = "session-ended",
        NewSession = "new-session",
        DidNotLeave = "did-not-leave",
        Unreadable = "unreadable",
    }

    /// Why a session was refused.
    RefusalReason "reason" {
        StandsBy = "stands-by",
        NoJoined = "no-joined",
        BadName = "bad-name",
        NameTaken = "name-taken",
        OtherProtocol = "other-protocol",
    }

    /// State of a task of a job that makes histories.
    TaskState "state" { Open = "open", Running = "running", Done = "done" }

    /// What a worker does.
    Activity "activity" {
        Idle = "idle",
        Preparing = "preparing",
        Rounds = "rounds",
        Task = "task",
    }

    /// How an assignment ended.
    Outcome "outcome" { Finished = "finished", Left = "left", Failed = "failed" }

    /// A call that the ranks of a gang make together.
    Operation "operation" {
        Form = "form",
        AllReduce = "all-reduce",
        ReduceScatter = "reduce-scatter",
        AllGather = "all-gather",
        Broadcast = "broadcast",
        Barrier = "barrier",
    }
}

macro_rules! metrics {
    ($(
        #[doc = $about:literal]
        $program:ident {
            $(#[doc = $help:literal] $metric:ident: $type:ty = $name:literal in $unit:ident;)*
        }
    )*) => {
        $(
            #[doc = $about]
            pub mod $program {
                use super::*;

                $(#[doc = $help] pub static $metric: $type = <$type>::new($name);)*

                /// Serves the metrics at `http://ADDRESS/metrics`, on the present tokio runtime, and returns the
                /// address: port 0 takes any.
                ///
                /// # Errors
                /// When the address cannot be bound, or outside a tokio runtime; then nothing was started.
                pub fn serve(address: SocketAddr) -> io::Result<SocketAddr> {
                    let start = || {
                        $($metric.start_at_zero($help.trim_ascii());)*
                        BUILD_INFO.show();
                    };
                    let refresh = || {
                        if let Some(bytes) = exporter::resident_bytes() {
                            RESIDENT_BYTES.set(bytes);
                        }
                    };
                    exporter::serve(address, start, refresh)
                }
            }
        )*

        const ALL: &[Metric] = &[$($(Metric {
            name: $name,
            kind: <$type>::KIND,
            unit: Unit::$unit,
            label: <$type>::LABEL,
            help: $help.trim_ascii(),
        }),*),*];
    };
}

metrics! {
    /// The coordinator's metrics.
    coordinator {
        /// Jobs, by state.
        JOBS: Gauge<JobState> = "rewind_coordinator_jobs" in Count;
        /// Workers, by what they were told to do.
        WORKERS: Gauge<Duty> = "rewind_coordinator_workers" in Count;
        /// Tasks of jobs that make histories, by state.
        HISTORY_TASKS: Gauge<TaskState> = "rewind_coordinator_history_tasks" in Count;
        /// Rounds that were committed.
        COMMITS: Counter = "rewind_coordinator_commits_total" in Count;
        /// Generations of gangs that were started.
        GENERATIONS_STARTED: Counter = "rewind_coordinator_generations_started_total" in Count;
        /// Generations that were started with fewer workers than the job wants.
        GENERATIONS_WITH_FEWER_WORKERS: Counter = "rewind_coordinator_generations_with_fewer_workers_total" in Count;
        /// Workers that were lost, by reason.
        WORKERS_LOST: Counter<LossReason> = "rewind_coordinator_workers_lost_total" in Count;
        /// Workers that came back to the work they had.
        WORKERS_REATTACHED: Counter = "rewind_coordinator_workers_reattached_total" in Count;
        /// Workers that asked to be let go.
        WORKERS_DRAINED: Counter = "rewind_coordinator_workers_drained_total" in Count;
        /// Messages that changed nothing: who sent them is not of the present gang.
        STALE_MESSAGES: Counter = "rewind_coordinator_stale_messages_total" in Count;
        /// Sessions of workers that were refused, by reason.
        SESSIONS_REFUSED: Counter<RefusalReason> = "rewind_coordinator_sessions_refused_total" in Count;
        /// Jobs that failed because their deadline passed.
        DEADLINES_PASSED: Counter = "rewind_coordinator_deadlines_passed_total" in Count;
        /// Tasks that were given to a worker.
        TASKS_STARTED: Counter = "rewind_coordinator_tasks_started_total" in Count;
        /// Tasks whose history is stored.
        TASKS_DONE: Counter = "rewind_coordinator_tasks_done_total" in Count;
        /// Tasks that were taken from a worker, for a gang or because it is to end.
        TASKS_PREEMPTED: Counter = "rewind_coordinator_tasks_preempted_total" in Count;
        /// Checkpoints that were deleted because no job needs them.
        CHECKPOINTS_COLLECTED: Counter = "rewind_coordinator_checkpoints_collected_total" in Count;
        /// Times that a job went back because a checkpoint is altered or missing.
        CHECKPOINTS_DISCARDED: Counter = "rewind_coordinator_checkpoints_discarded_total" in Count;
        /// Time of a transaction of the state store that succeeded.
        STORE_WRITE_SECONDS: Time = "rewind_coordinator_store_write_seconds" in Seconds;
        /// Transactions of the state store that failed.
        STORE_WRITE_FAILURES: Counter = "rewind_coordinator_store_failures_total" in Count;
        /// 1 while decisions wait for the state store.
        WAITS_FOR_STORE: Flag = "rewind_coordinator_store_away" in Truth;
        /// 1 while this coordinator leads, 0 while it stands by.
        IS_LEADER: Flag = "rewind_coordinator_leads" in Truth;
        /// Fencing term of this coordinator while it leads, 0 while it stands by.
        FENCING_TERM: Gauge = "rewind_coordinator_term" in Count;
        /// Elections that this coordinator won.
        ELECTIONS: Counter = "rewind_coordinator_elections_total" in Count;
        /// Resident memory of the coordinator's process.
        RESIDENT_BYTES: Gauge = "rewind_coordinator_resident_bytes" in Bytes;
        /// 1, labelled with the version of the coordinator.
        BUILD_INFO: Build = "rewind_coordinator_build_info" in Truth;
    }

    /// A worker's metrics.
    worker {
        /// 1 for what the worker does at present, 0 for the rest.
        ACTIVITY: OneOf<Activity> = "rewind_worker_activity" in Truth;
        /// Assignments that ended, by outcome.
        ASSIGNMENTS_ENDED: Counter<Outcome> = "rewind_worker_assignments_total" in Count;
        /// Rounds that this rank handed over to be committed.
        ROUNDS_DONE: Counter = "rewind_worker_rounds_total" in Count;
        /// Time of a round of this rank, until it is handed over.
        ROUND_SECONDS: Time = "rewind_worker_round_seconds" in Seconds;
        /// Time to hash and store this rank's shard of a round.
        CHECKPOINT_SECONDS: Time = "rewind_worker_checkpoint_seconds" in Seconds;
        /// Bytes of shards stored.
        CHECKPOINT_BYTES_STORED: Counter = "rewind_worker_checkpoint_bytes_total" in Bytes;
        /// Collective calls that ended, well or not, by operation.
        COLLECTIVE_CALLS: Counter<Operation> = "rewind_worker_collective_calls_total" in Count;
        /// Time of a collective call, by operation.
        COLLECTIVE_SECONDS: Time<Operation> = "rewind_worker_collective_seconds" in Seconds;
        /// Collective calls that failed, by operation.
        COLLECTIVE_FAILURES: Counter<Operation> = "rewind_worker_collective_failures_total" in Count;
        /// Histories made.
        HISTORIES_MADE: Counter = "rewind_worker_tasks_total" in Count;
        /// Sessions with a coordinator that this worker began.
        SESSIONS_BEGUN: Counter = "rewind_worker_sessions_total" in Count;
        /// Sessions with a coordinator that followed one that was lost.
        RECONNECTS: Counter = "rewind_worker_reconnects_total" in Count;
        /// Resident memory of the worker's process.
        RESIDENT_BYTES: Gauge = "rewind_worker_resident_bytes" in Bytes;
        /// 1, labelled with the version of the worker.
        BUILD_INFO: Build = "rewind_worker_build_info" in Truth;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<&str> = all().iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), all().len());
    }

    #[test]
    fn names_follow_the_rules() {
        for metric in all() {
            let Metric { name, kind, unit, label, help } = *metric;
            assert!(name.starts_with("rewind_coordinator_") || name.starts_with("rewind_worker_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(!name.contains("__") && !name.ends_with('_'), "{name}");
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
            let stem = name.trim_end_matches("_total");
            assert_eq!(stem.ends_with("_seconds"), unit == Unit::Seconds, "{name}");
            assert_eq!(stem.ends_with("_bytes"), unit == Unit::Bytes, "{name}");
            for reserved in ["_bucket", "_sum", "_count"] {
                assert!(!name.ends_with(reserved), "{name}");
            }
            assert!(label.is_none_or(|label| label.bytes().all(|byte| byte.is_ascii_lowercase())), "{name}");
            assert!(help.ends_with('.') && !help.starts_with(' ') && help.len() < 100, "{help}");
        }
    }

    #[test]
    fn both_programs_are_listed_and_the_coordinator_is_first() {
        let (first, last) = (all()[0], all()[all().len() - 1]);
        assert_eq!((first.name, first.kind, first.label), ("rewind_coordinator_jobs", Kind::Gauge, Some("state")));
        assert_eq!((last.name, last.label), ("rewind_worker_build_info", Some("version")));
    }
}
