//! Coordinators over one store: one leads, the others stand by; what is decided is stored before it is done.

use std::{path::Path, sync::Arc, time::Duration};

use rewind_control::{Event, Now};
use rewind_coordinator::replica::{Input, Output, Replica};
use rewind_job::{
    DeviceKind, Digest, Generation, JobId, JobState, Layout, Rank, Round, RoundDone, Specification, StepIndex, Term,
    Timeouts, WorkerCommand, WorkerEvent, WorkerId, Working,
};
use rewind_state::SimulatedStore;

/// Two coordinators, `a` and `b`, and the store between them.
struct Pair {
    store: Arc<SimulatedStore>,
    a: Replica,
    b: Replica,
    now: Now,
}

fn replica(store: &Arc<SimulatedStore>, address: &str) -> Replica {
    Replica::new(store.clone(), address.into(), Timeouts::default())
}

impl Pair {
    /// `a` leads, and `b` stands by.
    fn new() -> Self {
        let store = Arc::new(SimulatedStore::default());
        let (a, b) = (replica(&store, "http://a"), replica(&store, "http://b"));
        let mut pair = Self { store, a, b, now: Now(1_000_000) };
        assert_eq!(handle(&mut pair.a, Input::Tick, pair.now), [Output::Leads(Term(1))]);
        assert_eq!(handle(&mut pair.b, Input::Tick, pair.now), []);
        pair
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.store.pass(time);
    }

    /// `a` stands still for longer than its lease, and `b` takes over.
    fn b_takes_over(&mut self) -> Vec<Output> {
        self.pass(Timeouts::default().lease + Duration::from_millis(1));
        let outputs = handle(&mut self.b, Input::Tick, self.now);
        assert_eq!(outputs[0], Output::Leads(Term(2)));
        outputs
    }

    fn a(&mut self, input: Input) -> Vec<Output> {
        handle(&mut self.a, input, self.now)
    }

    fn b(&mut self, input: Input) -> Vec<Output> {
        handle(&mut self.b, input, self.now)
    }

    fn state(&self) -> JobState {
        self.a.control().expect("leads").status(&job()).expect("is known").state
    }

    fn stored(&self, prefix: &str) -> usize {
        self.store.contents().iter().filter(|(key, ..)| key.starts_with(prefix)).count()
    }
}

fn handle(replica: &mut Replica, input: Input, now: Now) -> Vec<Output> {
    replica.handle(input, now).expect("the store can be read")
}

fn job() -> JobId {
    "job-1".into()
}

fn submit(ticket: u64) -> Input {
    let text = r#"
        name = "one step"
        model = { architecture = "mlp" }
        [data]
        pool = { images = "i", labels = "l" }
        split = { train = 80, test = 10, validation = 10, attack = 0 }
        forget = { class = { label = 1 } }
        [[step]]
        name = "pretrained"
        pretrain = { epochs = 3, batch-size = 8, optimiser = { sgd = { learning-rate = 0.1 } } }
    "#;
    let specification = Specification::parse(text, Path::new("/data")).expect("is valid");
    Input::Ask { ticket, event: Event::submitted(specification) }
}

fn joins(session: u64, working: Option<Working>) -> Input {
    let worker = WorkerId("worker-1".into());
    let (version, device) = ("0".into(), DeviceKind::Cpu);
    let joined = WorkerEvent::Joined { worker: worker.clone(), process: 1, version, cores: 1, device, working };
    Input::SessionBegan { worker, session, joined }
}

fn says(session: u64, sequence: u64, event: WorkerEvent) -> Input {
    Input::Said { worker: WorkerId("worker-1".into()), session, sequence, event }
}

fn prepared() -> WorkerEvent {
    let layout = Layout::new([("weight".into(), vec![4])]);
    WorkerEvent::Prepared { job: job(), generation: Generation(1), rank: Rank(0), layout }
}

fn durable(round: u32) -> WorkerEvent {
    let record = serde_json::json!({
        "round": round, "loss": 0.5, "weight_change": 0.0, "seconds": 0.0, "forget_epochs": 0.0, "bytes_moved": 0,
    });
    let done = RoundDone {
        step: StepIndex(0),
        round: Round(round),
        shard: Digest(format!("shard of {round}")),
        record: serde_json::from_value(record).expect("is a record"),
        best: Round(round),
        outcome: None,
    };
    WorkerEvent::ShardDurable { job: job(), generation: Generation(1), rank: Rank(0), round: Box::new(done) }
}

fn left(generation: u64) -> WorkerEvent {
    WorkerEvent::Left { job: job(), generation: Generation(generation), last: None }
}

/// What is sent, in words; whose term and session it is.
fn sent(outputs: &[Output]) -> Vec<(String, u64, u64)> {
    let sent = outputs.iter().filter_map(|output| match output {
        Output::Send { session, term, command, .. } => Some((in_words(command), term.0, *session)),
        _ => None,
    });
    sent.collect()
}

fn in_words(command: &WorkerCommand) -> String {
    match command {
        WorkerCommand::Assign(assignment) => format!("assign {}", assignment.generation),
        WorkerCommand::Begin { .. } => "begin".into(),
        WorkerCommand::Committed { manifest, .. } => format!("committed {}", manifest.round),
        WorkerCommand::Acknowledged { sequence } => format!("acknowledged {sequence}"),
        WorkerCommand::Abort { .. } => "leave".into(),
        other => format!("{other:?}"),
    }
}

/// `a` runs a job on worker 1, whose session has number 7.
fn running() -> Pair {
    let mut pair = Pair::new();
    pair.a(joins(7, None));
    pair.a(submit(1));
    let outputs = pair.a(says(7, 1, prepared()));
    assert_eq!(sent(&outputs), [("begin".into(), 1, 7)], "an answer is its acknowledgement");
    pair
}

#[test]
fn one_leads_and_the_other_refuses_and_knows_who_leads() {
    let mut pair = Pair::new();
    assert_eq!((pair.a.term(), pair.b.term()), (Some(Term(1)), None));
    assert_eq!(pair.b.leader().map(|leader| leader.address.as_str()), Some("http://a"));
    assert!(pair.b.control().is_none());
    assert_eq!(pair.b(submit(5)), [Output::Refuse { ticket: 5 }]);
    let worker = WorkerId("worker-1".into());
    assert_eq!(pair.b(joins(1, None)), [Output::CloseSession { worker, session: 1 }]);
    assert_eq!(pair.b(says(1, 1, left(1))), []);
    let outputs = pair.a(submit(5));
    assert_eq!(outputs.last(), Some(&Output::Answer { ticket: 5, job: job() }));
    assert_eq!(pair.store.contents().iter().filter(|(key, ..)| key.starts_with("specification/")).count(), 1);
}

#[test]
fn a_leader_that_renews_leads_on_and_nobody_takes_over() {
    let mut pair = Pair::new();
    for _ in 0..40 {
        pair.pass(Timeouts::default().heartbeat);
        pair.a(Input::Tick);
        assert_eq!(pair.b(Input::Tick), []);
    }
    assert_eq!(pair.a.term(), Some(Term(1)));
}

#[test]
fn one_that_resigns_need_not_be_waited_for() {
    let mut pair = Pair::new();
    pair.a.resign();
    assert_eq!(pair.b(Input::Tick), [Output::Leads(Term(2))]);
    assert_eq!(pair.a(Input::Tick), []);
    assert_eq!(pair.a.leader().map(|leader| leader.address.as_str()), Some("http://b"));
}

#[test]
fn a_coordinator_that_begins_anew_under_its_old_name_waits_for_its_old_lease() {
    let mut pair = Pair::new();
    let mut again = replica(&pair.store, "http://a");
    assert_eq!(handle(&mut again, Input::Tick, pair.now), []);
    pair.pass(Timeouts::default().lease + Duration::from_millis(1));
    assert_eq!(handle(&mut again, Input::Tick, pair.now), [Output::Leads(Term(2))]);
}

#[test]
fn the_work_goes_on_under_the_next_leader() {
    let mut pair = running();
    pair.a(says(7, 2, durable(1)));
    pair.b_takes_over();
    let working = Working { job: job(), generation: Generation(1), committed: None };
    let outputs = pair.b(joins(3, Some(working)));
    assert_eq!(sent(&outputs), [("begin".into(), 2, 3), ("committed 1".into(), 2, 3)]);
    assert_eq!(sent(&pair.b(says(3, 3, durable(2)))), [("committed 2".into(), 2, 3)]);
    assert_eq!(pair.stored("manifest/"), 2);
}

#[test]
fn what_a_deposed_leader_decides_is_not_stored_not_done_and_its_client_is_refused() {
    let mut pair = running();
    pair.b_takes_over();
    let writes = pair.store.writes();
    let outputs = pair.a(Input::Ask { ticket: 9, event: Event::CancelWanted(job()) });
    assert_eq!(sent(&outputs), [], "the worker is not told to leave");
    let worker = WorkerId("worker-1".into());
    let deposed = "term 1 is over: another coordinator leads, or nobody does".to_owned();
    let expected = [
        Output::Refuse { ticket: 9 },
        Output::CloseSession { worker, session: 7 },
        Output::CloseAllMeetings,
        Output::StandsBy(deposed),
    ];
    assert_eq!(outputs, expected);
    assert_eq!((pair.store.writes(), pair.a.term()), (writes, None));
    assert_eq!(pair.b.control().expect("leads").status(&job()).expect("is known").state, JobState::Running);
    assert_eq!(pair.a(submit(10)), [Output::Refuse { ticket: 10 }]);
    pair.a(Input::Tick);
    assert_eq!(pair.a.leader().map(|leader| leader.address.as_str()), Some("http://b"));
}

#[test]
fn a_deposed_leader_commits_no_round() {
    let mut pair = running();
    pair.b_takes_over();
    let outputs = pair.a(says(7, 2, durable(1)));
    assert_eq!(sent(&outputs), []);
    assert_eq!(pair.stored("manifest/"), 0);
    // The worker says it again to who leads.
    pair.b(joins(3, Some(Working { job: job(), generation: Generation(1), committed: None })));
    assert_eq!(sent(&pair.b(says(3, 2, durable(1)))), [("committed 1".into(), 2, 3)]);
}

#[test]
fn a_leader_whose_lease_ran_out_unnoticed_stands_by_at_its_next_renewal() {
    let mut pair = Pair::new();
    pair.pass(Timeouts::default().lease * 2);
    let outputs = pair.a(Input::Tick);
    assert_eq!(outputs.last(), Some(&Output::StandsBy("term 1 is over".into())));
    assert_eq!(pair.a(Input::Tick), [Output::Leads(Term(2))], "and may lead again, in a new term");
}

#[test]
fn while_the_store_is_away_nothing_is_done_and_what_comes_is_decided_in_order_afterwards() {
    let mut pair = running();
    pair.store.set_away(true);
    assert_eq!(pair.a(says(7, 2, durable(1))), [], "no commit is told before it is stored");
    assert!(pair.a.waits_for_store());
    assert_eq!(pair.a(says(7, 3, durable(2))), []);
    assert_eq!(pair.a(submit(4)), []);
    assert_eq!(pair.a(Input::Ask { ticket: 5, event: Event::CancelWanted(job()) }), []);
    assert_eq!(pair.a(says(7, 0, WorkerEvent::Heartbeat)), []);
    assert_eq!(pair.a(Input::Tick), []);
    assert_eq!(pair.stored("manifest/"), 0);
    pair.store.set_away(false);
    let outputs = pair.a(Input::Tick);
    let words: Vec<String> = sent(&outputs).into_iter().map(|(words, ..)| words).collect();
    assert_eq!(words, ["committed 1", "committed 2", "leave"]);
    let answers: Vec<&Output> = outputs.iter().filter(|output| matches!(output, Output::Answer { .. })).collect();
    let second = "job-2".into();
    assert_eq!(answers, [&Output::Answer { ticket: 4, job: second }, &Output::Answer { ticket: 5, job: job() }]);
    assert!(!pair.a.waits_for_store());
    assert_eq!((pair.state(), pair.stored("manifest/")), (JobState::Cancelled, 2));
}

#[test]
fn a_leader_that_cannot_renew_waits_for_the_store_also_with_nothing_to_store() {
    let mut pair = Pair::new();
    pair.store.set_away(true);
    pair.pass(Timeouts::default().lease * 2);
    assert_eq!(pair.a(Input::Tick), []);
    assert_eq!((pair.a.term(), pair.a.waits_for_store()), (None, true));
    pair.store.set_away(false);
    assert!(matches!(pair.a(Input::Tick).last(), Some(Output::StandsBy(_))));
    assert!(!pair.a.waits_for_store());
}

#[test]
fn an_outage_that_outlasts_the_lease_costs_nothing_if_nobody_else_took_over() {
    let mut pair = running();
    pair.store.set_away(true);
    pair.a(says(7, 2, durable(1)));
    let mut told = Vec::new();
    for _ in 0..20 {
        pair.pass(Timeouts::default().heartbeat);
        told.extend(pair.a(Input::Tick));
        assert_eq!(pair.b(Input::Tick), []);
    }
    // Another may lead by now: the worker is let go with its work, and nobody is told anything else.
    assert_eq!(told, [Output::CloseSession { worker: WorkerId("worker-1".into()), session: 7 }]);
    assert_eq!((pair.a.term(), pair.a.waits_for_store()), (None, true));
    pair.store.set_away(false);
    // Its lease is over: it takes the lead anew, and the worker comes back with its work.
    let outputs = pair.a(Input::Tick);
    assert!(matches!(outputs.last(), Some(Output::StandsBy(_))), "{outputs:?}");
    let outputs = pair.a(Input::Tick);
    assert_eq!(outputs[0], Output::Leads(Term(2)));
    pair.a(joins(8, Some(Working { job: job(), generation: Generation(1), committed: None })));
    let outputs = pair.a(says(8, 2, durable(1)));
    assert_eq!(sent(&outputs), [("committed 1".into(), 2, 8)]);
}

#[test]
fn clients_that_waited_for_the_store_are_refused_when_another_leads() {
    let mut pair = running();
    pair.store.set_away(true);
    pair.a(Input::Ask { ticket: 1, event: Event::CancelWanted(job()) });
    pair.a(submit(2));
    pair.a(joins(9, None));
    pair.store.set_away(false);
    pair.b_takes_over();
    let outputs = pair.a(Input::Tick);
    for ticket in [1, 2] {
        assert!(outputs.contains(&Output::Refuse { ticket }), "{outputs:?}");
    }
    for session in [7, 9] {
        let worker = WorkerId("worker-1".into());
        assert!(outputs.contains(&Output::CloseSession { worker, session }), "{outputs:?}");
    }
    assert_eq!(pair.stored("specification/"), 1);
}

#[test]
fn a_write_whose_answer_was_lost_is_done_once() {
    let mut pair = running();
    pair.store.lose_answers(1);
    assert_eq!(pair.a(says(7, 2, durable(1))), []);
    assert_eq!(pair.stored("manifest/"), 1, "it happened");
    let outputs = pair.a(Input::Tick);
    assert_eq!(sent(&outputs), [("committed 1".into(), 1, 7)]);
    assert_eq!(sent(&pair.a(says(7, 3, durable(2)))), [("committed 2".into(), 1, 7)], "versions are known");
    assert_eq!(pair.stored("manifest/"), 2);
}

#[test]
fn a_submission_whose_answer_was_lost_is_one_job() {
    let mut pair = Pair::new();
    pair.store.lose_answers(1);
    assert_eq!(pair.a(submit(1)), []);
    let outputs = pair.a(Input::Tick);
    assert!(outputs.contains(&Output::Answer { ticket: 1, job: job() }), "{outputs:?}");
    assert_eq!(pair.stored("specification/"), 1);
}

#[test]
fn an_event_is_acknowledged_after_all_that_it_leads_to_is_stored() {
    let mut pair = running();
    pair.a(Input::Ask { ticket: 1, event: Event::CancelWanted(job()) });
    pair.a(submit(2));
    pair.store.set_away(true);
    assert_eq!(pair.a(says(7, 5, left(1))), [], "no acknowledgement yet");
    pair.store.set_away(false);
    let outputs = pair.a(Input::Tick);
    // It is free, and the next job takes it.
    assert_eq!(sent(&outputs), [("assign 1".into(), 1, 7), ("acknowledged 5".into(), 1, 7)]);
}

#[test]
fn an_event_that_is_repeated_is_acknowledged_again_and_changes_nothing() {
    let mut pair = running();
    pair.a(Input::Ask { ticket: 1, event: Event::CancelWanted(job()) });
    pair.a(says(7, 5, left(1)));
    let writes = pair.store.writes();
    assert_eq!(sent(&pair.a(says(7, 5, left(1)))), [("acknowledged 5".into(), 1, 7)]);
    assert_eq!(pair.store.writes(), writes);
}

#[test]
fn what_has_no_number_or_is_answered_otherwise_is_not_acknowledged() {
    let mut pair = running();
    assert_eq!(sent(&pair.a(says(7, 0, WorkerEvent::Heartbeat))), []);
    assert_eq!(sent(&pair.a(says(7, 2, durable(1)))), [("committed 1".into(), 1, 7)]);
    assert_eq!(sent(&pair.a(says(7, 2, durable(1)))), [], "it is committed, and was told so");
}

#[test]
fn what_two_sessions_of_a_worker_said_while_the_store_was_away_is_decided_in_order() {
    let mut pair = running();
    pair.a(Input::Ask { ticket: 1, event: Event::CancelWanted(job()) });
    pair.store.set_away(true);
    pair.a(submit(2));
    pair.a(says(7, 5, left(1)));
    pair.a(joins(8, None));
    pair.a(says(7, 6, left(1)));
    pair.store.set_away(false);
    let outputs = pair.a(Input::Tick);
    let expected = [("assign 1", 1, 7), ("acknowledged 5", 1, 7), ("assign 2", 1, 8)];
    assert_eq!(sent(&outputs), expected.map(|(words, term, session)| (words.to_owned(), term, session)));
    let closed = Output::CloseSession { worker: WorkerId("worker-1".into()), session: 7 };
    assert_eq!(outputs.iter().filter(|output| **output == closed).count(), 1);
}

#[test]
fn an_old_session_is_closed_by_the_next_of_its_name_and_has_no_say() {
    let mut pair = running();
    let working = Working { job: job(), generation: Generation(1), committed: None };
    let outputs = pair.a(joins(8, Some(working)));
    let worker = WorkerId("worker-1".into());
    assert_eq!(outputs[0], Output::CloseSession { worker: worker.clone(), session: 7 });
    assert_eq!(sent(&outputs), [("begin".into(), 1, 8)], "the same process goes on");
    let writes = pair.store.writes();
    assert_eq!(pair.a(says(7, 2, durable(1))), []);
    assert_eq!(pair.a(Input::SessionEnded { worker: worker.clone(), session: 7 }), []);
    assert_eq!(pair.a(Input::Garbled { worker, session: 7, problem: "x".into() }), []);
    assert_eq!((pair.store.writes(), pair.state()), (writes, JobState::Running));
    assert_eq!(sent(&pair.a(says(8, 2, durable(1)))), [("committed 1".into(), 1, 8)]);
}

#[test]
fn a_store_that_is_away_when_a_lead_begins_is_led_later() {
    let store = Arc::new(SimulatedStore::default());
    let mut one = replica(&store, "http://one");
    store.set_away(true);
    assert_eq!(handle(&mut one, Input::Tick, Now(1)), []);
    assert!(one.leader().is_none());
    assert_eq!(handle(&mut one, submit(1), Now(1)), [Output::Refuse { ticket: 1 }]);
    store.set_away(false);
    assert_eq!(handle(&mut one, Input::Tick, Now(2)), [Output::Leads(Term(1))]);
}
