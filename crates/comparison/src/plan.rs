//! What a comparison asks for: a base, methods with their grids, seeds. Expands into jobs.

use std::path::{Path, PathBuf};

use rewind_job::{
    Action, Digest, Evaluate, Forget, LARGEST_SEED, MeasuredOn, RollBack, Source, Specification, Step, Stop, Unlearn,
    shortened,
};
use serde::{Deserialize, Serialize};

/// The names of the base's two steps, and of the measuring that is added.
pub const PRETRAINED: &str = "pretrained";
pub const RETRAIN: &str = "retrain";
pub(crate) const EVALUATION: &str = "evaluation";
/// Halvings of the last round's change where a method stops at Retrain's UA.
const BISECTIONS: u32 = 6;
/// Settings of one method.
const MOST_TRIES: usize = 10_000;

/// A comparison as its file says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Comparison {
    /// Shown in reports, and the `protocol` of every figure.
    pub name: String,
    /// What the protocol asks, in a sentence or two, for the report.
    pub question: String,
    pub choose_by: ChooseBy,
    /// Settings that each method tries, on the search seed; then they are frozen.
    pub tries: usize,
    pub search_seed: u64,
    /// Of training: initial weights, order of samples, and which samples are to be forgotten.
    pub training_seeds: Vec<u64>,
    /// Of unlearning, for each training seed.
    pub unlearning_seeds: Vec<u64>,
    /// Stop each method at the first round whose UA is at least that of Retrain (of the same training seed), and shorten
    /// that round's change to what is needed.
    #[serde(default)]
    pub stop_at_retrains_ua: bool,
    /// More seeds of training, whose networks teach a likelihood-ratio attack how each sample is answered when it was
    /// unlearned and when it was never in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadow_seeds: Vec<u64>,
    /// Closer measurements of `pretrained`, `retrain` and each method's network on every training seed (first seed of
    /// unlearning): an `evaluate` table without `of` and `read`. Pictures are of the first training seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<Evaluate>,
    /// A specification whose steps are `pretrained` and, where something remains to train on, `retrain`.
    pub base: toml::Table,
    #[serde(rename = "method")]
    pub methods: Vec<Contestant>,
}

/// By what a method's settings are chosen, on validation data alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChooseBy {
    /// The smallest mean distance of UA, RA, MIA and validation accuracy from Retrain's.
    AverageGap,
    /// The highest validation accuracy among the settings that forgot what was asked for.
    ValidationAccuracy,
    /// The lowest validation loss among them.
    ValidationLoss,
}

impl ChooseBy {
    pub fn words(self) -> &'static str {
        match self {
            Self::AverageGap => {
                "the smallest average gap to Retrain on validation data (its MIA, “SVC, confidence”, on the attack’s held-out samples)"
            }
            Self::ValidationAccuracy => {
                "the highest validation accuracy among the settings that forgot what was asked for"
            }
            Self::ValidationLoss => "the lowest validation loss among the settings that forgot what was asked for",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Contestant {
    pub name: String,
    /// An `unlearn` table without `from`.
    pub unlearn: toml::Table,
    /// Values to try, by their place in `unlearn`: `"forward.optimiser.adam.learning-rate" = [1e-4, 1e-3]`.
    #[serde(default)]
    pub search: toml::Table,
}

/// A comparison whose every job has been checked.
#[derive(Debug)]
pub struct Plan {
    pub comparison: Comparison,
    base: Specification,
    /// By method, by setting.
    tries: Vec<Vec<Try>>,
}

/// One setting of a method.
#[derive(Clone, Debug)]
pub struct Try {
    /// `learning-rate 0.001, scale 0.1`.
    pub setting: String,
    pub unlearn: Unlearn,
}

/// What pretraining left for unlearning, and what the method must reach.
#[derive(Clone, Debug)]
pub struct Start {
    pub weights: Digest,
    /// Of the reference; none where nothing remains to train on.
    pub retrain: Option<Digest>,
    /// Percent.
    pub retrains_ua: Option<f64>,
}

impl Plan {
    /// # Errors
    /// Names the field.
    pub fn read(file: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(file).map_err(|error| format!("failed to read it: {error}"))?;
        let here = std::env::current_dir().map_err(|error| format!("failed to find the current folder: {error}"))?;
        let beside = file.parent().filter(|_| file.is_file()).unwrap_or(Path::new(""));
        Self::parse(&text, &here.join(beside))
    }

    /// # Errors
    /// Names the field. Relative paths are taken from `folder`.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let comparison: Comparison =
            toml::from_str(text).map_err(|error| shortened(error.to_string().trim().to_owned()))?;
        for (field, is_empty) in [
            ("name", comparison.name.trim().is_empty()),
            ("training-seeds", comparison.training_seeds.is_empty()),
            ("unlearning-seeds", comparison.unlearning_seeds.is_empty()),
            ("method", comparison.methods.is_empty()),
        ] {
            if is_empty {
                return Err(format!("{field}: must not be empty"));
            }
        }
        for (field, seeds) in [
            ("search-seed", &[comparison.search_seed][..]),
            ("training-seeds", &comparison.training_seeds),
            ("unlearning-seeds", &comparison.unlearning_seeds),
            ("shadow-seeds", &comparison.shadow_seeds),
        ] {
            if let Some(seed) = seeds.iter().find(|&&seed| seed > LARGEST_SEED) {
                return Err(format!("{field}: is {seed}, and must be at most {LARGEST_SEED} (2^63 - 1)"));
            }
        }
        let all_seeds = [&comparison.training_seeds[..], &comparison.shadow_seeds].concat();
        for (field, seeds) in
            [("training-seeds, shadow-seeds", &all_seeds), ("unlearning-seeds", &comparison.unlearning_seeds)]
        {
            if let Some(twice) = (1..seeds.len()).find(|&at| seeds[..at].contains(&seeds[at])) {
                return Err(format!("{field}: {} is there twice", seeds[twice]));
            }
        }
        if all_seeds.contains(&comparison.search_seed) {
            return Err("search-seed: must not be one of training-seeds, which are measured, or of shadow-seeds".into());
        }
        let base = specification(&comparison.base, folder).map_err(|problem| format!("base.{problem}"))?;
        let names: Vec<&str> = base.steps.iter().map(|step| step.name.as_str()).collect();
        let wanted: &[&str] =
            if base.data.forget == Forget::Everything { &[PRETRAINED] } else { &[PRETRAINED, RETRAIN] };
        if names != wanted {
            return Err(format!("base.step: must be {wanted:?}, but is {names:?}"));
        }
        let needs_retrain = comparison.stop_at_retrains_ua || comparison.choose_by == ChooseBy::AverageGap;
        if needs_retrain && !names.contains(&RETRAIN) {
            return Err("choose-by, stop-at-retrains-ua: nothing remains to retrain on, so there is no Retrain".into());
        }
        let mut tries: Vec<Vec<Try>> = Vec::new();
        for (index, contestant) in comparison.methods.iter().enumerate() {
            let at = |problem: String| format!("method[{index}] ({}): {problem}", contestant.name);
            if comparison.methods[..index].iter().any(|other| other.name == contestant.name) {
                return Err(at("the name is another method's".into()));
            }
            let found = tries_of(contestant, &comparison.base, folder).map_err(at)?;
            if found.len() != comparison.tries {
                let (found, wanted) = (found.len(), comparison.tries);
                return Err(at(format!("search: makes {found} settings, but every method tries {wanted} (tries)")));
            }
            let by_accuracy = |setting: &Try| setting.unlearn.roll_back == RollBack::BestValidation;
            if comparison.choose_by == ChooseBy::ValidationLoss && found.iter().any(by_accuracy) {
                return Err(at(
                    "roll-back: best-validation is by accuracy, but choose-by is validation-loss: take best-validation-loss"
                        .into(),
                ));
            }
            tries.push(found);
        }
        let plan = Self { comparison, base, tries };
        plan.check_probes()?;
        Ok(plan)
    }

    /// With some of the methods only; none are all.
    ///
    /// # Errors
    /// There is no such method.
    pub fn only(mut self, names: &[String]) -> Result<Self, String> {
        let has = |name: &String| self.comparison.methods.iter().any(|method| method.name == *name);
        if let Some(unknown) = names.iter().find(|name| !has(name)) {
            return Err(format!("--methods: {} has no method `{unknown}`", self.comparison.name));
        }
        if !names.is_empty() {
            let is_wanted: Vec<bool> =
                self.comparison.methods.iter().map(|method| names.contains(&method.name)).collect();
            let mut wanted = is_wanted.iter();
            self.comparison.methods.retain(|_| wanted.next().copied().unwrap_or(false));
            let mut wanted = is_wanted.iter();
            self.tries.retain(|_| wanted.next().copied().unwrap_or(false));
        }
        Ok(self)
    }

    /// Whether something remains to train the reference on.
    pub fn has_retrain(&self) -> bool {
        self.base.steps.iter().any(|step| step.name == RETRAIN)
    }

    pub fn tries(&self, method: usize) -> &[Try] {
        &self.tries[method]
    }

    /// Files that the jobs read, with the fields that name them.
    pub fn files(&self) -> Vec<(String, PathBuf)> {
        let base = self.base.files().into_iter().map(|(field, path)| (format!("base.{field}"), path));
        let nothing = Start { weights: Digest(String::new()), retrain: None, retrains_ua: None };
        let of_methods = (self.comparison.methods.iter().enumerate()).flat_map(|(method, contestant)| {
            let mut files =
                self.search(method, &nothing).files().into_iter().filter(|(field, _)| field.starts_with("step"));
            let (_, path) = files.next_back()?;
            Some((format!("method[{method}] ({})", contestant.name), path))
        });
        base.chain(of_methods).collect()
    }

    /// Trains the model and the reference.
    pub fn training(&self, seed: u64, read: MeasuredOn) -> Specification {
        let name = format!("{}: models of seed {seed}", self.comparison.name);
        self.of_seed(name, seed, seed, self.base.steps.clone(), read)
    }

    /// All settings of a method on the search seed.
    pub fn search(&self, method: usize, start: &Start) -> Specification {
        let contestant = &self.comparison.methods[method].name;
        let name = format!("{}: search for {contestant}", self.comparison.name);
        let steps = self.tries[method].iter().enumerate().map(|(index, setting)| self.step(index, setting, start));
        let seed = self.comparison.search_seed;
        self.unlearning(name, seed, seed, steps.collect(), start, MeasuredOn::Validation)
    }

    /// The chosen setting of a method on one pair of seeds.
    pub fn run(
        &self,
        method: usize,
        chosen: usize,
        training_seed: u64,
        unlearning_seed: u64,
        start: &Start,
    ) -> Specification {
        let contestant = &self.comparison.methods[method].name;
        let name = format!("{}: {contestant}, seeds {training_seed} and {unlearning_seed}", self.comparison.name);
        let step = self.step(chosen, &self.tries[method][chosen], start);
        let seed = seed_of_run(training_seed, unlearning_seed);
        self.unlearning(name, training_seed, seed, vec![step], start, MeasuredOn::Test)
    }

    pub(crate) fn step(&self, index: usize, setting: &Try, start: &Start) -> Step {
        let unlearn = Unlearn { stop: self.stop(&setting.unlearn.stop, start.retrains_ua), ..setting.unlearn.clone() };
        Step { name: step_name(index, setting), action: Action::Unlearn(unlearn) }
    }

    /// The stop that a setting really has, where Retrain's UA (percent) is this.
    pub fn stop(&self, stop: &Stop, retrains_ua: Option<f64>) -> Stop {
        if self.comparison.stop_at_retrains_ua {
            Stop { ua_at_least: retrains_ua, bisections: BISECTIONS, ..stop.clone() }
        } else {
            stop.clone()
        }
    }

    fn unlearning(
        &self,
        name: String,
        training_seed: u64,
        seed: u64,
        steps: Vec<Step>,
        start: &Start,
        read: MeasuredOn,
    ) -> Specification {
        let mut specification = self.of_seed(name, training_seed, seed, steps, read);
        specification.model.weights = Some(Source::Artifact(start.weights.clone()));
        specification
    }

    fn of_seed(
        &self,
        name: String,
        training_seed: u64,
        seed: u64,
        steps: Vec<Step>,
        read: MeasuredOn,
    ) -> Specification {
        self.evaluated(name, training_seed, seed, steps, Evaluate { read, ..Evaluate::default() })
    }

    /// A job with the data of a training seed whose steps are evaluated.
    pub(crate) fn evaluated(
        &self,
        name: String,
        training_seed: u64,
        seed: u64,
        mut steps: Vec<Step>,
        evaluate: Evaluate,
    ) -> Specification {
        steps.push(Step { name: EVALUATION.into(), action: Action::Evaluate(evaluate) });
        let mut data = self.base.data.clone();
        data.forget = data.forget.with_seed(training_seed);
        Specification { name, seed, steps, data, ..self.base.clone() }
    }
}

/// Another order of samples for each pair of seeds.
pub(crate) fn seed_of_run(training_seed: u64, unlearning_seed: u64) -> u64 {
    training_seed.wrapping_mul(1_000_003).wrapping_add(unlearning_seed) & LARGEST_SEED
}

/// Names the step of a setting.
pub fn step_name(index: usize, setting: &Try) -> String {
    format!("{} · {}", index + 1, setting.setting)
}

/// Reads a table as a specification; paths are taken from `folder`.
fn specification(table: &toml::Table, folder: &Path) -> Result<Specification, String> {
    Specification::parse(&toml::to_string(table).map_err(|error| error.to_string())?, folder)
        .map_err(|error| error.to_string())
}

/// Every combination of the searched values, each checked as a job.
fn tries_of(contestant: &Contestant, base: &toml::Table, folder: &Path) -> Result<Vec<Try>, String> {
    let lists = contestant.search.values().filter_map(toml::Value::as_array);
    let settings = lists.fold(1_usize, |settings, values| settings.saturating_mul(values.len()));
    if settings > MOST_TRIES {
        return Err(format!("search: makes {settings} settings, but every method tries at most {MOST_TRIES}"));
    }
    let mut tables = vec![(Vec::new(), contestant.unlearn.clone())];
    for (path, values) in &contestant.search {
        let values = values.as_array().filter(|values| !values.is_empty());
        let values = values.ok_or_else(|| format!("search.\"{path}\": must be a list of values"))?;
        let mut grown = Vec::new();
        for (said, table) in &tables {
            for value in values {
                let mut table = table.clone();
                put(&mut table, path, value.clone()).map_err(|problem| format!("search.\"{path}\": {problem}"))?;
                let mut said: Vec<String> = said.clone();
                said.push(format!("{} {value}", path.rsplit('.').next().unwrap_or(path)));
                grown.push((said, table));
            }
        }
        tables = grown;
    }
    tables
        .into_iter()
        .map(|(said, mut table)| {
            if table.contains_key("from") {
                return Err("unlearn.from: is `pretrained` for every method".to_owned());
            }
            table.insert("from".into(), PRETRAINED.into());
            let mut step = toml::Table::new();
            step.insert("name".into(), "try".into());
            step.insert("unlearn".into(), toml::Value::Table(table));
            let mut whole = base.clone();
            if let Some(steps) = whole.get_mut("step").and_then(toml::Value::as_array_mut) {
                steps.push(toml::Value::Table(step));
            }
            let parsed = specification(&whole, folder)?;
            let Some(Step { action: Action::Unlearn(unlearn), .. }) = parsed.steps.into_iter().next_back() else {
                return Err("unlearn: is no unlearning step".to_owned());
            };
            let setting = if said.is_empty() { "as given".to_owned() } else { said.join(", ") };
            Ok(Try { setting, unlearn: Unlearn { from: None, ..unlearn } })
        })
        .collect()
}

/// Sets the value at a dotted path; the tables on the way must be there.
fn put(table: &mut toml::Table, path: &str, value: toml::Value) -> Result<(), String> {
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    let Some(rest) = rest else {
        table.insert(key.to_owned(), value);
        return Ok(());
    };
    match table.get_mut(key) {
        Some(toml::Value::Table(inner)) => put(inner, rest, value),
        _ => Err(format!("there is no table `{key}` in unlearn")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        name = "standard"
        question = "Which?"
        choose-by = "average-gap"
        tries = 4
        search-seed = 0
        training-seeds = [1, 2]
        unlearning-seeds = [1]
        stop-at-retrains-ua = true

        [base]
        name = "models"
        model = { architecture = "mlp" }
        data.pool = { images = "i", labels = "l" }
        data.split = { train = 40, test = 10, validation = 10, attack = 10 }
        data.forget = { random = { share = 0.5, seed = 7 } }
        [[base.step]]
        name = "pretrained"
        pretrain = { epochs = 2, batch-size = 8, optimiser = { adam = { learning-rate = 1e-3 } } }
        [[base.step]]
        name = "retrain"
        retrain = { epochs = 2, batch-size = 8, optimiser = { adam = { learning-rate = 1e-3 } } }

        [[method]]
        name = "task-vector"
        [method.unlearn]
        method = { task-vector = { lambda = 0.1 } }
        forward = { optimiser = { adam = { learning-rate = 1e-3 } }, batch-size = 8 }
        stop = { rounds = 3 }
        [method.search]
        "forward.optimiser.adam.learning-rate" = [1e-4, 1e-3]
        "method.task-vector.lambda" = [0.1, 0.2]
    "#;

    fn plan(text: &str) -> Result<Plan, String> {
        Plan::parse(text, Path::new("/data"))
    }

    fn start() -> Start {
        Start { weights: Digest("00".repeat(32)), retrain: Some(Digest("11".repeat(32))), retrains_ua: Some(4.5) }
    }

    #[test]
    fn comparisons_of_earlier_versions_are_read() {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/kept/0.1/benchmarks");
        let mut read = 0;
        for folder in ["small", "full"] {
            for entry in std::fs::read_dir(kept.join(folder)).expect("is kept") {
                let path = entry.expect("lists").path();
                if path.extension().is_some_and(|extension| extension == "toml") {
                    Plan::read(&path).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()));
                    read += 1;
                }
            }
        }
        assert_eq!(read, 10);
    }

    #[test]
    fn every_combination_is_a_setting_and_stops_where_retrain_is() {
        let plan = plan(FILE).expect("is valid");
        let settings: Vec<&str> = plan.tries(0).iter().map(|setting| setting.setting.as_str()).collect();
        let expected = [
            "learning-rate 0.0001, lambda 0.1",
            "learning-rate 0.0001, lambda 0.2",
            "learning-rate 0.001, lambda 0.1",
            "learning-rate 0.001, lambda 0.2",
        ];
        assert_eq!(settings, expected);
        // A choice asks for what the runs had to reach.
        assert_eq!(plan.stop(&plan.tries(0)[0].unlearn.stop, Some(4.5)).wanted_ua(), Some(4.5));
        let search = plan.search(0, &start());
        search.check().expect("is a job");
        assert_eq!(search.steps.len(), 5);
        for step in &search.steps[..4] {
            let Action::Unlearn(unlearn) = &step.action else { panic!("unlearns") };
            assert_eq!((unlearn.stop.ua_at_least, &unlearn.from), (Some(4.5), &None));
        }
        assert_eq!(search.model.weights, Some(Source::Artifact(start().weights)));
        let Action::Evaluate(evaluate) = &search.steps[4].action else { panic!("evaluates") };
        assert_eq!(evaluate.read, MeasuredOn::Validation, "a search leaves test data unread");
    }

    #[test]
    fn a_choice_by_loss_refuses_rounds_kept_by_accuracy() {
        let text = FILE.replacen("average-gap", "validation-loss", 1);
        plan(&text).expect("is valid");
        let kept = |rule: &str| plan(&text.replacen("stop = {", &format!("roll-back = \"{rule}\"\nstop = {{"), 1));
        let refusal = kept("best-validation").expect_err("two rules");
        assert!(refusal.contains("method[0] (task-vector): roll-back"), "{refusal}");
        kept("best-validation-loss").expect("is valid");
    }

    #[test]
    fn a_seed_of_training_draws_its_own_forget_data_and_unlearning_forgets_the_same() {
        let plan = plan(FILE).expect("is valid");
        let training = plan.training(2, MeasuredOn::Test);
        training.check().expect("is a job");
        let run = plan.run(0, 3, 2, 1, &start());
        run.check().expect("is a job");
        assert_eq!(training.data, run.data);
        assert_eq!(training.data.forget, Forget::Random { share: 0.5, seed: 2 });
        assert_eq!(training.seed, 2);
        assert_ne!(run.seed, plan.run(0, 3, 1, 1, &start()).seed);
        assert_ne!(run.seed, plan.run(0, 3, 2, 2, &start()).seed);
        assert_eq!(run.steps.len(), 2);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (from, to, said) in [
            ("tries = 4", "tries = 5", "method[0] (task-vector): search: makes 4 settings, but every method tries 5"),
            ("search-seed = 0", "search-seed = 2", "search-seed: must not be one of training-seeds"),
            ("training-seeds = [1, 2]", "training-seeds = [1, 1]", "training-seeds, shadow-seeds: 1 is there twice"),
            ("unlearning-seeds = [1]", "unlearning-seeds = []", "unlearning-seeds: must not be empty"),
            ("lambda\" = [0.1, 0.2]", "lambda\" = [0.1, \"x\"]", "method[0] (task-vector): step[2].unlearn.method"),
            ("\"method.task-vector.lambda\" = ", "\"method.salun.lambda\" = ", "there is no table `salun` in unlearn"),
            ("name = \"retrain\"", "name = \"other\"", "base.step: must be [\"pretrained\", \"retrain\"]"),
            ("architecture = \"mlp\"", "architecture = \"mpl\"", "base.model"),
            ("rounds = 3", "rounds = 0", "stop.rounds: must be at least 1"),
            ("name = \"task-vector\"", "name = \"evaluation\"", "method: `evaluation` is the name of"),
            ("question =", "qustion =", "unknown field `qustion`"),
            (
                "training-seeds = [1, 2]",
                "training-seeds = [1, 9223372036854775808]",
                "training-seeds: is 9223372036854775808",
            ),
        ] {
            assert!(FILE.contains(from), "{from}");
            let refusal = plan(&FILE.replacen(from, to, 1)).expect_err(to);
            assert!(refusal.contains(said), "{refusal} should say {said}");
        }
    }
}
