//! Pictures of what steps have made: what networks look at, and the plane in which weights moved.

pub mod activation_maps;
pub mod landscape;

use rewind_job::{Action, Evaluate, MeasuredOn, Specification, StepIndex};

/// A picture that an evaluation asks for.
struct Wish<'a, T> {
    options: &'a T,
    /// The evaluation.
    step: StepIndex,
    read: MeasuredOn,
    /// The steps to picture: references first, each in the specification's order.
    of: Vec<StepIndex>,
}

/// The last evaluation that asks for a picture.
fn last_wish<'a, T>(
    specification: &'a Specification,
    options: impl Fn(&'a Evaluate) -> Option<&'a T>,
) -> Option<Wish<'a, T>> {
    let steps = specification.steps.iter().enumerate();
    let (place, evaluate, options) = steps.rev().find_map(|(place, step)| match &step.action {
        Action::Evaluate(evaluate) => options(evaluate).map(|options| (place, evaluate, options)),
        _ => None,
    })?;
    let is_read = |name: &String| evaluate.of.as_ref().is_none_or(|of| of.contains(name));
    let mut of: Vec<StepIndex> = (0..place)
        .filter(|&index| {
            let step = &specification.steps[index];
            !matches!(step.action, Action::Evaluate(_)) && is_read(&step.name)
        })
        .map(|index| StepIndex(index as u32))
        .collect();
    of.sort_by_key(|index| matches!(specification.steps[index.0 as usize].action, Action::Unlearn(_)));
    Some(Wish { options, step: StepIndex(place as u32), read: evaluate.read, of })
}

/// Positions of at most `most` of `count` samples, drawn by the job's seed.
fn drawn(specification: &Specification, purpose: &str, count: usize, most: u32) -> Vec<i64> {
    let order = rewind_datasets::order(specification.seed, purpose, 0, count);
    order.into_iter().take(most as usize).map(i64::from).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_last_evaluation_that_asks_is_heard_and_references_come_first() {
        let unlearn = |name: &str| {
            format!(
                "[[step]]\nname = \"{name}\"\n[step.unlearn]\nfrom = \"a\"\nmethod = {{ neg-grad = {{}} }}\n\
                 stop = {{ rounds = 1 }}\n\
                 forward = {{ optimiser = {{ sgd = {{ learning-rate = 0.1 }} }}, batch-size = 8 }}\n"
            )
        };
        let given = |name: &str| format!("[[step]]\nname = \"{name}\"\ngiven = {{ weights = \"w\" }}\n");
        let evaluated =
            |name: &str, options: &str| format!("[[step]]\nname = \"{name}\"\n[step.evaluate]\n{options}\n");
        let text = [
            "name = \"pictures\"\nmodel = { architecture = \"lenet\" }\n".to_owned(),
            "[data]\nforget = { files = { images = \"i\", labels = \"l\" } }\n".to_owned(),
            given("a"),
            unlearn("b"),
            given("c"),
            evaluated("d", "activation-maps = { samples = 1 }\nlandscape = { points = 3 }"),
            unlearn("e"),
            evaluated("f", "of = [\"e\", \"c\"]\nread = \"validation\"\nactivation-maps = { samples = 2 }"),
            evaluated("g", ""),
        ]
        .concat();
        let specification = Specification::parse(&text, Path::new("/")).expect("is valid");
        let maps = last_wish(&specification, |evaluate| evaluate.activation_maps.as_ref()).expect("is asked for");
        assert_eq!((maps.options.samples, maps.step, maps.read), (2, StepIndex(5), MeasuredOn::Validation));
        assert_eq!(maps.of, [2, 4].map(StepIndex));
        let landscape = last_wish(&specification, |evaluate| evaluate.landscape.as_ref()).expect("is asked for");
        assert_eq!((landscape.step, landscape.read), (StepIndex(3), MeasuredOn::Test));
        assert_eq!(landscape.of, [0, 2, 1].map(StepIndex));
        assert!(last_wish(&specification, |evaluate| evaluate.line.as_ref()).is_none());

        let some = drawn(&specification, "maps", 50, 5);
        assert_eq!((some.len(), &some), (5, &drawn(&specification, "maps", 50, 5)));
        assert_eq!(drawn(&specification, "maps", 3, 5).len(), 3);
    }
}
