//! What is told wherever a distance to Retrain is told.

use rewind_job::{Action, Report, Step};

use rewind_comparison::Compared;

/// Where Retrain began, beside the network before unlearning: its distance hangs on it.
#[derive(Clone, Copy)]
pub enum RetrainsStart {
    NoRetrain,
    /// Both drew their first weights by the same seed, or began with the same given ones.
    Same,
    /// They began with different ones: the specification says so.
    Different,
    /// The network was given.
    Unknown,
}

impl RetrainsStart {
    pub fn of_job(report: &Report) -> Self {
        match (&report.pretrained, &report.retrain) {
            (_, None) => Self::NoRetrain,
            (Some(_), Some(_)) => Self::of_steps(&report.specification.steps),
            (None, Some(_)) => Self::Unknown,
        }
    }

    /// A comparison trains both references itself, by the same seed.
    pub fn of_comparison(compared: &Compared) -> Self {
        let has_retrain = compared.references.iter().any(|of| of.retrain.is_some());
        if !has_retrain {
            return Self::NoRetrain;
        }
        let tables = compared.comparison.base.get("step").and_then(toml::Value::as_array).into_iter().flatten();
        let start = |step: &toml::Value, kind: &str| step.get(kind).map(|recipe| recipe.get("start").cloned());
        let of = |kind: &str| tables.clone().find_map(|step| start(step, kind)).flatten();
        if of("pretrain") == of("retrain") { Self::Same } else { Self::Different }
    }

    fn of_steps(steps: &[Step]) -> Self {
        let starts = steps.iter().filter_map(|step| match &step.action {
            Action::Pretrain(training) | Action::Retrain(training) => Some(&training.start),
            _ => None,
        });
        let starts: Vec<_> = starts.collect();
        if starts.windows(2).all(|pair| pair[0] == pair[1]) { Self::Same } else { Self::Different }
    }

    /// What a distance to or from Retrain means.
    pub fn words(self) -> &'static str {
        match self {
            Self::NoRetrain => "",
            Self::Same => {
                " Retrain started from the same initial weights as the network before unlearning, and parted from it on \
                 the way: its distance would be larger from other initial weights."
            }
            Self::Different => {
                " Retrain started from other initial weights than the network before unlearning, and its distance hangs on \
                 that."
            }
            Self::Unknown => {
                " Retrain started from initial weights drawn by the job’s seed; which ones the network before unlearning \
                 had, is not known here, and its distance hangs on that."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rewind_job::Specification;

    use super::*;

    #[test]
    fn what_began_with_other_weights_is_not_said_to_have_begun_with_the_same() {
        let recipe = "epochs = 1, batch-size = 8, optimiser = { adam = { learning-rate = 1e-3 } }";
        let of = |pretrain: &str, retrain: &str| {
            let text = format!(
                r#"
                format = 2
                name = "n"
                model = {{ architecture = "mlp" }}
                data.pool = {{ images = "i", labels = "l" }}
                data.split = {{ train = 40, test = 10, validation = 10, attack = 10 }}
                data.forget = {{ random = {{ share = 0.5, seed = 7 }} }}
                [[step]]
                name = "pretrained"
                pretrain = {{ {recipe}{pretrain} }}
                [[step]]
                name = "retrain"
                retrain = {{ {recipe}{retrain} }}
                "#
            );
            let specification = Specification::parse(&text, Path::new("/")).unwrap();
            RetrainsStart::of_steps(&specification.steps).words()
        };
        let given = ", start = { weights = \"w.safetensors\" }";
        assert!(
            of("", "").contains("the same initial weights") && of(given, given).contains("the same initial weights")
        );
        for (pretrain, retrain) in [(given, ""), ("", given)] {
            assert!(of(pretrain, retrain).contains("other initial weights than"), "{pretrain} {retrain}");
        }
    }
}
