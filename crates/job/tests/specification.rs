//! What a specification may say: read, written back, and refused by the field's name.

use std::{path::Path, time::Duration};

use rewind_job::{
    Action, Architecture, Checkpoints, Digest, Fleet, HistoryData, HistorySource, Initialisation, NetworkRecipe,
    Objective, Priority, Schedule, Specification, SpecificationError, Synthetic, SyntheticTask, TaskIndex, WorldSize,
};

const DATA: &str = r#"
[data]
pool = { images = "i", labels = "l" }
split = { train = 80, test = 10, validation = 10, attack = 0 }
forget = { class = { label = 1 } }
"#;

const PRETRAIN: &str = r#"
[[step]]
name = "pretrained"
pretrain = { epochs = 2, batch-size = 8, optimiser = { sgd = { learning-rate = 0.1 } } }
"#;

fn parse(text: &str) -> Result<Specification, SpecificationError> {
    Specification::parse(text, Path::new("/here"))
}

/// A job that trains; `head` stands before its tables.
fn training(head: &str) -> String {
    format!("name = \"a job\"\n{head}\nmodel = {{ architecture = \"mlp\" }}\n{DATA}{PRETRAIN}")
}

/// A job that makes histories; `extra` is part of its table.
fn histories(head: &str, extra: &str) -> String {
    format!(
        r#"
        name = "histories"
        {head}
        model = {{ architecture = "mlp" }}
        {DATA}
        [[step]]
        name = "histories"
        [step.collect]
        optimisers = [{{ sgd = {{ learning-rate = 0.1 }} }}]
        {extra}
        "#
    )
}

fn refused(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn what_is_not_said_has_its_default() {
    let specification = parse(&training("")).expect("is valid");
    assert_eq!((specification.priority, specification.deadline), (Priority::Normal, None));
    let fleet =
        Fleet { world_size: WorldSize(1), at_least: None, grace: Duration::from_secs(30), threads: 1, device: None };
    assert_eq!((&specification.fleet, specification.fleet.fewest()), (&fleet, WorldSize(1)));
    assert_eq!(specification.checkpoints, Checkpoints { keep: 2 });
    assert!(specification.collect().is_none());
}

#[test]
fn wishes_are_read_and_come_back_as_toml() {
    let head = r#"
        priority = "high"
        deadline = "2h 30m"
        fleet = { world-size = 8, at-least = 6, grace = "90s" }
        checkpoints = { keep = 5 }
    "#;
    let specification = parse(&training(head)).expect("is valid");
    assert_eq!((specification.priority, specification.deadline), (Priority::High, Some(Duration::from_secs(9000))));
    assert_eq!((specification.fleet.world_size, specification.fleet.fewest()), (WorldSize(8), WorldSize(6)));
    assert_eq!((specification.fleet.grace, specification.checkpoints.keep), (Duration::from_secs(90), 5));
    let text = specification.to_toml();
    for line in ["priority = \"high\"", "deadline = \"2h 30m\"", "at-least = 6", "grace = \"1m 30s\"", "keep = 5"] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert_eq!(parse(&text).expect("is read back"), specification);
}

#[test]
fn what_was_not_said_is_not_written_either() {
    let specification = parse(&training("")).expect("is valid");
    let text = specification.to_toml();
    assert!(!text.contains("deadline") && !text.contains("at-least"), "{text}");
    assert_eq!(parse(&text).expect("is read back"), specification);
}

#[test]
fn priorities_are_in_order() {
    for (name, priority) in [("low", Priority::Low), ("normal", Priority::Normal), ("high", Priority::High)] {
        let read = parse(&training(&format!("priority = \"{name}\""))).expect("is valid");
        assert_eq!(read.priority, priority);
    }
    assert!(Priority::Low < Priority::Normal && Priority::Normal < Priority::High);
}

#[test]
fn a_job_that_makes_histories_is_read_with_its_defaults_and_comes_back() {
    let specification = parse(&histories("", "epochs = [3]")).expect("is valid");
    let collect = specification.collect().expect("collects").clone();
    assert_eq!((collect.networks(), collect.tasks(), collect.kept), (1, 1, 2048));
    let recipe = collect.recipe(0, Architecture::Lenet, 7);
    assert_eq!((recipe.architecture, &recipe.data, recipe.batch_size), (Architecture::Lenet, &HistoryData::Pool, 32));
    assert!(recipe.unlearning.is_none());
    assert_eq!(parse(&specification.to_toml()).expect("is read back"), specification);
}

const GRID: &str = r#"
    pack = 4
    architectures = ["mlp", "unet-small", "lenet"]
    data = ["pool", { synthetic = { task = "stripes", classes = 4, side = 16, samples = 900 } }]
    batch-sizes = [16, 32]
    epochs = [3]
    kept = 100
    [step.collect.unlearning]
    horizons = [4, 8]
    forward = [{ adam = { learning-rate = 0.01 } }]
    snapshots = 7
"#;

#[test]
fn a_grid_has_every_combination_once() {
    let specification = parse(&histories("", GRID)).expect("is valid");
    let collect = specification.collect().expect("collects");
    assert_eq!((collect.networks(), collect.tasks()), (24, 6));
    assert_eq!(collect.networks_of(TaskIndex(5)), 20..24);
    let recipes: Vec<_> = (0..24).map(|network| collect.recipe(network, Architecture::Mlp, 7)).collect();
    for (network, recipe) in recipes.iter().enumerate() {
        assert_eq!(recipe.seed, 7 * 1_000_003 + network as u64);
        let others = recipes.iter().map(|other| NetworkRecipe { seed: recipe.seed, ..other.clone() });
        assert_eq!(others.filter(|other| other == recipe).count(), 1, "{recipe:?}");
        let denoises = matches!(recipe.objective, Objective::Denoising { .. });
        assert_eq!(denoises, recipe.architecture == Architecture::UnetSmall);
    }
    assert_eq!(parse(&specification.to_toml()).expect("is read back"), specification);
}

#[test]
fn a_random_search_draws_each_network_by_its_number() {
    let text = GRID.replacen("pack = 4", "networks = 90\n    pack = 4", 1);
    let specification = parse(&histories("", &text)).expect("is valid");
    let collect = specification.collect().expect("collects");
    assert_eq!((collect.networks(), collect.tasks(), collect.networks_of(TaskIndex(22))), (90, 23, 88..90));
    let architectures: Vec<_> = (0..90).map(|n| collect.recipe(n, Architecture::Mlp, 1).architecture).collect();
    for wanted in &collect.architectures {
        let drawn = architectures.iter().filter(|drawn| *drawn == wanted).count();
        assert!((15..=45).contains(&drawn), "{wanted:?} {drawn} times of 90");
    }
    assert_eq!(collect.recipe(17, Architecture::Mlp, 1), collect.recipe(17, Architecture::Mlp, 1));
    assert_ne!(collect.recipe(17, Architecture::Mlp, 1), collect.recipe(17, Architecture::Mlp, 2));
}

#[test]
fn an_impossible_wish_is_refused_by_its_field() {
    for (head, expected) in [
        ("deadline = \"0s\"", "deadline: must be longer than 0s"),
        ("fleet = { world-size = 0 }", "fleet.world-size: must be from 1 to 4096"),
        ("fleet = { world-size = 2, at-least = 3 }", "fleet.at-least: must be from 1 to fleet.world-size"),
        ("fleet = { world-size = 2, at-least = 0 }", "fleet.at-least: must be from 1 to fleet.world-size"),
        ("checkpoints = { keep = 0 }", "checkpoints.keep: must be from 1 to 1000"),
        ("checkpoints = { keep = 1001 }", "checkpoints.keep: must be from 1 to 1000"),
    ] {
        assert_eq!(refused(&training(head)), expected);
    }
}

#[test]
fn what_cannot_be_read_is_refused_by_its_field() {
    for (head, field, problem) in [
        ("priority = \"urgent\"", "priority", "unknown variant `urgent`"),
        ("priority = 2", "priority", ""),
        ("deadline = 90", "deadline", ""),
        ("deadline = \"90\"", "deadline", ""),
        ("deadline = \"tomorrow\"", "deadline", ""),
        ("fleet = { world-size = 2, grace = \"-5s\" }", "fleet.grace", ""),
        ("fleet = { world-size = -2 }", "fleet.world-size", ""),
        ("fleet = { world-size = 2, at_least = 1 }", "fleet.at_least", "unknown field `at_least`"),
        ("checkpoints = { keeps = 2 }", "checkpoints.keeps", "unknown field `keeps`"),
        ("dead-line = \"1h\"", "dead-line", "unknown field `dead-line`"),
    ] {
        let error = parse(&training(head)).expect_err(head);
        assert_eq!(error.field, field, "{head}: {error}");
        assert!(error.problem.contains(problem) && !error.problem.is_empty(), "{head}: {error}");
    }
}

#[test]
fn impossible_histories_are_refused_by_their_field() {
    for (head, extra, expected) in [
        ("", "networks = 0\nepochs = [1]", "networks: must be at least 1"),
        ("", "networks = 1000001\nepochs = [1]", "networks: 1000001 are more than 1000000"),
        ("", "pack = 0\nepochs = [1]", "pack: must be from 1 to 1024"),
        ("", "epochs = []", "epochs: must not be empty"),
        ("", "epochs = [1, 0]", "epochs: must be at least 1 each"),
        ("", "epochs = [1]\nbatch-sizes = [0]", "batch-sizes: must be at least 1 each"),
        ("", "epochs = [1]\nkept = 0", "kept: must be at least 1"),
        ("", &GRID.replace("snapshots = 7", "snapshots = 1"), "unlearning.snapshots: must be from 2 to 1000"),
        ("", &GRID.replace("[4, 8]", "[]"), "unlearning.horizons: must not be empty"),
        (
            "",
            &GRID.replace("classes = 4", "classes = 1"),
            "data[1].synthetic.classes: must be from 2 to 10 for this task",
        ),
    ] {
        assert_eq!(refused(&histories(head, extra)), format!("step[0].collect.{expected}"));
    }
    let two_workers = histories("fleet = { world-size = 2 }", "epochs = [1]");
    assert_eq!(refused(&two_workers), "fleet.world-size: must be 1: each task runs on one worker");
    let two_steps = histories("", "epochs = [2]") + PRETRAIN;
    assert_eq!(refused(&two_steps), "step[0].collect: must be the job's only step");
    let two_actions = histories("", "epochs = [2]").replace("[step.collect]", "evaluate = {}\n[step.collect]");
    assert!(refused(&two_actions).contains("needs exactly one of the tables"), "{}", refused(&two_actions));
    let rate = histories("", GRID).replace("learning-rate = 0.01", "learning-rate = 0.0");
    assert_eq!(refused(&rate), "step[0].collect.unlearning.forward[0].adam.learning-rate: must be greater than 0");
    let without_pool = histories("", "epochs = [2]")
        .replace("pool = { images = \"i\", labels = \"l\" }", "")
        .replace("split = { train = 80, test = 10, validation = 10, attack = 0 }", "")
        .replace("class = { label = 1 }", "files = { images = \"i\", labels = \"l\" }");
    assert_eq!(refused(&without_pool), "data.pool: is needed: histories are made of its training part");
}

const PREDICTOR: &str = r#"
    format = 2
    name = "predictor"
    [[step]]
    name = "predictor"
    [step.train-predictor]
    histories = ["job-3", "sha256:abc"]
    held-out = { architectures = ["lenet"], optimisers = ["sgd"] }
    horizons = [4, 8]
    patience = 3
"#;

#[test]
fn a_job_that_trains_a_predictor_needs_neither_model_nor_data_and_comes_back() {
    let specification = parse(PREDICTOR).expect("is valid");
    let (name, predictor) = specification.train_predictor().expect("trains a predictor");
    assert_eq!((name, &predictor.snapshots[..], predictor.epochs), ("predictor", &[15][..], 20));
    let sources = [HistorySource::Job("job-3".into()), HistorySource::Artifact(Digest("abc".into()))];
    assert_eq!(predictor.histories, sources);
    assert_eq!(specification.artifacts().collect::<Vec<_>>(), [&Digest("abc".into())]);
    assert_eq!(parse(&specification.to_toml()).expect("is read back"), specification);
    let json = serde_json::to_vec(&specification).expect("is JSON");
    assert_eq!(serde_json::from_slice::<Specification>(&json).expect("is read back"), specification);
}

#[test]
fn impossible_predictors_are_refused_by_field() {
    let with = |line: &str| PREDICTOR.replace("patience = 3", line);
    for (text, expected) in [
        (PREDICTOR.replace("\"job-3\", \"sha256:abc\"", ""), "histories: needs at least one job or digest"),
        (PREDICTOR.replace("[4, 8]", "[4, 4]"), "horizons: must be there, and differ"),
        (PREDICTOR.replace("[4, 8]", "[0]"), "horizons: must be at least 1 each"),
        (
            with("architecture = \"paper\""),
            "horizons: must be exactly one for a published network, which cannot read it",
        ),
        (with("snapshots = [1]"), "snapshots: must be from 2 to 1000 each"),
        (with("epochs = 0"), "epochs: must be from 1 to 100000"),
        (with("patience = 0"), "patience: must be at least 1"),
        (PREDICTOR.replace("held-out", "# held-out"), "patience: needs histories to measure on (held-out)"),
        (PREDICTOR.replace("\"sgd\"", "\"lion\""), "held-out.optimisers: must be of sgd, adam, adamw"),
        (with("learning-rate = -1.0"), "learning-rate: must be greater than 0"),
        (with("learned = 101.0"), "learned: must be a percentage"),
        (with("kinds = []"), "kinds: needs at least one kind"),
    ] {
        assert_eq!(refused(&text), format!("step[0].train-predictor.{expected}"));
    }
    let second = format!("{PREDICTOR}{PRETRAIN}");
    assert_eq!(refused(&second), "data.forget: is missing: what is to be forgotten?");
}

#[test]
fn a_job_that_trains_says_what_model_and_on_what_data() {
    let without_model = training("").replace("model = { architecture = \"mlp\" }", "");
    assert_eq!(refused(&without_model), "model: is missing");
    let without_forget = training("").replace("forget = { class = { label = 1 } }", "");
    assert_eq!(refused(&without_forget), "data.forget: is missing: what is to be forgotten?");
}

#[test]
fn the_artifacts_that_a_job_reads_are_known() {
    let text = training("").replace("\"mlp\"", "\"mlp\", weights = \"sha256:abc\"");
    let specification = parse(&text).expect("is valid");
    assert_eq!(specification.artifacts().collect::<Vec<_>>(), [&Digest("abc".into())]);
    let files: Vec<String> = specification.files().into_iter().map(|(field, _)| field).collect();
    assert_eq!(files, ["data.pool.images", "data.pool.labels"], "an artifact is no file");
    assert_eq!(parse(&specification.to_toml()).expect("is read back"), specification);
}

#[test]
fn networks_that_give_images_are_refused_where_classes_are_learned() {
    let refusal = "gives images: it can denoise, and cannot classify";
    let text = training("").replace("\"mlp\"", "\"unet-small\"");
    assert_eq!(refused(&text), format!("model.architecture: {refusal}"));
    for architecture in ["residual-plain-small", "transformer-small"] {
        parse(&training("").replace("\"mlp\"", &format!("\"{architecture}\""))).expect("is valid");
    }
    let denoising = Objective::Denoising { noise: 0.3 };
    assert_eq!(denoising.check_architecture(Architecture::UnetSmall, "architecture"), Ok(()));
    assert_eq!((denoising.outputs(10, [1, 8, 8]), Objective::Classification.outputs(10, [1, 8, 8])), (64, 10));
}

#[test]
fn a_warm_up_is_read_comes_back_and_is_refused_by_its_field() {
    let with = |schedule: &str| {
        let text = training("").replace("epochs = 2", &format!("epochs = 2, schedule = {schedule}"));
        format!("format = 2\n{text}")
    };
    let specification = parse(&with("{ warm-up = { epochs = 2, then = \"cosine\" } }")).expect("is valid");
    assert_eq!(parse(&specification.to_toml()).expect("is read back"), specification);
    let Action::Pretrain(pretrain) = &specification.steps[0].action else { panic!("pretrains") };
    assert_eq!(pretrain.schedule, Schedule::WarmUp { epochs: 2, then: Box::new(Schedule::Cosine) });
    for (schedule, expected) in [
        ("{ warm-up = { epochs = 0, then = \"cosine\" } }", "warm-up.epochs: must be at least 1"),
        (
            "{ warm-up = { epochs = 1, then = { warm-up = { epochs = 1, then = \"constant\" } } } }",
            "warm-up.then: must not be another warm-up",
        ),
        (
            "{ warm-up = { epochs = 1, then = { milestones = { epochs = [2, 1], factor = 0.1 } } } }",
            "warm-up.then.milestones.epochs: must be in ascending order",
        ),
        ("{ milestones = { epochs = [1], factor = 0.0 } }", "milestones.factor: must be greater than 0"),
    ] {
        assert_eq!(refused(&with(schedule)), format!("step[0].pretrain.schedule.{expected}"));
    }
}

#[test]
fn the_words_for_varied_histories_are_read_and_refused_by_their_field() {
    #[derive(serde::Deserialize, serde::Serialize, PartialEq, Debug)]
    struct Words {
        initialisations: Vec<Initialisation>,
        objectives: Vec<Objective>,
        data: Synthetic,
    }
    let text = r#"
        initialisations = ["torch", "kaiming-normal", "xavier-uniform", "orthogonal", { small = { gain = 0.1 } }]
        objectives = ["classification", { denoising = { noise = 0.2 } }]
        data = { task = "spirals", classes = 2, side = 16, samples = 500 }
    "#;
    let words: Words = toml::from_str(text).expect("is valid");
    assert_eq!(words.initialisations[4], Initialisation::Small { gain: 0.1 });
    assert_eq!(words.objectives, [Objective::Classification, Objective::Denoising { noise: 0.2 }]);
    assert_eq!((words.data.task, words.data.seed), (SyntheticTask::Spirals, 0));
    let again: Words = toml::from_str(&toml::to_string(&words).expect("is written")).expect("is read back");
    assert_eq!(again, words);
    assert_eq!(words.initialisations.iter().find_map(|initialisation| initialisation.check("at").err()), None);
    assert_eq!(words.objectives.iter().find_map(|objective| objective.check("at").err()), None);
    assert_eq!(words.data.check("at"), Ok(()));

    let refused = |result: Result<(), SpecificationError>| result.expect_err("refused").to_string();
    let gain = Initialisation::Small { gain: 0.0 };
    assert_eq!(refused(gain.check("initialisations")), "initialisations.small.gain: must be greater than 0");
    let noise = Objective::Denoising { noise: f64::NAN };
    assert_eq!(refused(noise.check("objectives")), "objectives.denoising.noise: must be greater than 0");
}

const EVALUATED: &str = r#"
[[step]]
name = "given"
given = { weights = "w" }
[[step]]
name = "unlearned"
[step.unlearn]
from = "given"
method = { neg-grad = {} }
forward = { optimiser = { sgd = { learning-rate = 0.1 } }, batch-size = 8 }
stop = { rounds = 2 }
[[step]]
name = "evaluated"
[step.evaluate]
confidences = true
line = { from = "given", points = 11 }
relearning = { epochs = 3, batch-size = 8, forget-samples = 5, optimiser = { sgd = { learning-rate = 0.1 } } }
activation-maps = { samples = 4 }
landscape = { points = 15 }
"#;

#[test]
fn weights_may_be_given_to_a_step_and_measured_closely() {
    let text = format!("name = \"a job\"\nmodel = {{ architecture = \"lenet\" }}\n{DATA}{EVALUATED}");
    let specification = parse(&text).expect("is valid");
    assert_eq!(specification.files()[2], ("step[0].given.weights".into(), "/here/w".into()));
    assert_eq!(parse(&specification.to_toml()).expect("is read back"), specification);
    for (from, to, problem) in [
        ("from = \"given\", points", "from = \"other\", points", "step[2].evaluate.line.from: `other` is not the name"),
        ("points = 11", "points = 1", "step[2].evaluate.line.points: must be 0, or from 2 to 1000"),
        ("epochs = 3", "epochs = 0", "step[2].evaluate.relearning.epochs: must be from 1 to 1000"),
        ("samples = 4", "samples = 0", "step[2].evaluate.activation-maps.samples: must be from 1 to 100"),
        ("points = 15", "points = 2", "step[2].evaluate.landscape.points: must be from 3 to 201"),
        (
            "confidences = true",
            "of = [\"given\"]",
            "step[2].evaluate.landscape: needs an earlier step that unlearns, among",
        ),
        ("lenet", "mlp", "step[2].evaluate.activation-maps: `mlp` has no convolution whose map could be drawn"),
        ("{ class = { label = 1 } }", "\"everything\"", "step[2].evaluate.relearning: trains on the remaining data"),
    ] {
        assert!(text.contains(from), "{from}");
        let refusal = refused(&text.replacen(from, to, 1));
        assert!(refusal.contains(problem), "{refusal} should say {problem}");
    }
}

#[test]
fn an_evaluation_without_options_is_written_as_before() {
    let text = training("") + "[[step]]\nname = \"e\"\nevaluate = {}\n";
    let written = parse(&text).expect("is valid").to_toml();
    let evaluate = written.split("[step.evaluate]").nth(1).expect("has the table");
    assert_eq!(evaluate.trim(), "read = \"test\"");
}

#[test]
fn all_training_data_may_be_forgotten_but_then_nothing_retrains() {
    let everything = training("").replace("{ class = { label = 1 } }", "\"everything\"");
    assert!(parse(&everything).is_ok());
    let retrain = PRETRAIN.replace("pretrain", "retrain");
    assert!(
        refused(&(everything + &retrain)).contains("step[1].retrain: needs forget data that is a part of data.pool")
    );
}

#[test]
fn steps_whose_names_would_be_one_file_or_none_are_refused() {
    let two = |first: &str, second: &str| {
        let retrain = PRETRAIN.replace("pretrain = ", "retrain = ").replace("\"pretrained\"", &format!("\"{second}\""));
        parse(&(training("").replace("\"pretrained\"", &format!("\"{first}\"")) + &retrain))
    };
    two("task vector λ=0.3", "task vector λ=0.4").expect("is valid");
    for (first, second) in [("λ=0.3", "λ:0.3"), ("a/b", "a b"), ("Retrain", "retrain"), (".x", "_.x")] {
        let refusal = two(first, second).expect_err("one file").to_string();
        assert!(
            refusal.contains(&format!("step[1].name: `{second}` would be the same file as `{first}`")),
            "{refusal}"
        );
    }
    let long = "x".repeat(201);
    let refusal = two("a", &long).expect_err("no file").to_string();
    assert!(refusal.contains("step[1].name: must have at most 200 bytes"), "{refusal}");
}
