//! Finished weights are probed, and probed again in another job that is given them.

use std::{collections::BTreeSet, fmt::Write as _};

use rewind_artifacts::{open, read_confidences};
use rewind_job::{JobState, Measured, Report};
use rewind_tests::{Fleet, repository};

/// A job on a small network with BatchNorm; half of 400 digits are forgotten.
fn job(steps: &str, relearning: &str) -> String {
    let root = repository();
    let root = root.display();
    format!(
        r#"
name = "probed"
[fleet]
world-size = 2
[model]
architecture = "depthwise-small"
[data]
pool = {{ images = "{root}/.data/digits/images-idx3-ubyte", labels = "{root}/.data/digits/labels-idx1-ubyte" }}
split = {{ train = 400, test = 100, validation = 100, attack = 100 }}
forget = {{ random = {{ share = 0.5, seed = 3 }} }}
{steps}
[[step]]
name = "evaluation"
[step.evaluate]
confidences = true
line = {{ from = "pretrained", points = 3 }}
relearning = {{ {relearning}, batch-size = 32, optimiser = {{ adam = {{ learning-rate = 1e-3 }} }} }}
"#
    )
}

const MADE: &str = r#"
[[step]]
name = "pretrained"
pretrain = { epochs = 5, batch-size = 32, optimiser = { adam = { learning-rate = 3e-3 } } }
[[step]]
name = "retrain"
retrain = { epochs = 5, batch-size = 32, optimiser = { adam = { learning-rate = 3e-3 } } }
[[step]]
name = "neg-grad"
[step.unlearn]
from = "pretrained"
method = { neg-grad = {} }
forward = { optimiser = { sgd = { learning-rate = 1e-3 } }, batch-size = 32 }
stop = { rounds = 2 }
"#;

fn all(report: &Report) -> Vec<&Measured> {
    report.measured().collect()
}

#[test]
fn weights_are_probed_and_give_the_same_answers_in_a_job_that_is_given_them() {
    let fleet = Fleet::start(2);
    let store = open(&fleet.dir().join("artifacts").display().to_string()).expect("opens");
    let confidences = |measured: &Measured| {
        let bytes = store.get(measured.confidences.as_ref().expect("were kept")).expect("is there");
        read_confidences(&bytes).expect("reads")
    };
    let relearning = "epochs = 2, forget-samples = 20";
    let made = fleet.report(&fleet.submit(&job(MADE, relearning)));
    let mut differ = false;
    for measured in all(&made) {
        let relearned = measured.relearning.as_ref().expect("was asked");
        assert_eq!((relearned.from_remaining.len(), relearned.from_some.len()), (3, 3));
        // Both begin with the step's own weights, asked about the same samples.
        assert_eq!(relearned.from_remaining[0], relearned.from_some[0]);
        differ |= relearned.from_remaining != relearned.from_some;

        let answers = confidences(measured);
        let samples: BTreeSet<u32> = answers.iter().map(|of| of.sample).collect();
        assert_eq!((answers.len(), samples.len()), (500, 500));
        // The test samples come last; ln(1 + exp(−c)) is the cross-entropy of the confidence c.
        let loss = answers[400..].iter().map(|of| (-of.confidence).exp().ln_1p()).sum::<f64>() / 100.0;
        assert!((loss - measured.test_loss.expect("is read")).abs() < 1e-5, "{loss} {:?}", measured.test_loss);

        if measured.name == "pretrained" {
            assert_eq!((measured.distance, measured.line.len()), (Some(0.0), 0));
            continue;
        }
        assert!(measured.distance.is_some_and(|distance| distance > 0.0));
        let [first, middle, last] = measured.line[..] else { panic!("three points: {:?}", measured.line) };
        assert_eq!([first.share, middle.share, last.share], [0.0, 0.5, 1.0]);
        // At its ends the line is the two networks.
        let pretrained = made.pretrained.as_ref().expect("is measured");
        for (point, end) in [(first, pretrained), (last, measured)] {
            assert_eq!(end.ua, Some(100.0 - point.forget_accuracy));
            assert_eq!((point.test_accuracy, point.test_loss), (end.ta, end.test_loss));
            assert_eq!(Some(point.forget_loss), end.forget_loss);
        }
    }

    assert!(differ, "the few forget samples are read");

    let mut steps = String::new();
    for Measured { name, weights, .. } in all(&made) {
        write!(steps, "[[step]]\nname = \"{name}\"\ngiven = {{ weights = \"sha256:{weights}\" }}\n").expect("is text");
    }
    let again = "[[step]]\nname = \"again\"\n[step.evaluate]\nof = [\"retrain\"]\nread = \"validation\"\n\
                 confidences = true\nline = { from = \"pretrained\", points = 2 }\n";
    let given = fleet.report(&fleet.submit(&(job(&steps, relearning) + again)));
    assert!(given.pretrained.is_none() && given.retrain.is_none());
    for (made, given) in all(&made).into_iter().zip(&given.methods) {
        assert_eq!((&made.name, &made.weights, given.method.as_str()), (&given.name, &given.weights, "given"));
        assert_eq!((made.ra, made.ua, made.va, made.mia), (given.ra, given.ua, given.va, given.mia));
        assert_eq!(made.distance, given.distance);
        if given.name == "retrain" {
            // The last evaluation counts: test data stays unread.
            assert_eq!((given.ta, given.test_loss, &given.relearning), (None, None, &None));
            assert!(given.line.len() == 2 && given.line.iter().all(|point| point.test_accuracy.is_none()));
            assert_eq!(confidences(given), confidences(made)[..400]);
        } else {
            assert_eq!((made.ta, &made.line, &made.relearning), (given.ta, &given.line, &given.relearning));
            assert_eq!(made.confidences, given.confidences);
        }
    }

    let refused = fleet.submit(&job(&steps, "epochs = 2, forget-samples = 200"));
    let reason = fleet.eventually("the job ends", || {
        let status = fleet.status(&refused);
        (status.state == JobState::Failed).then_some(status.reason)
    });
    assert!(reason.contains("relearning.forget-samples: must be less than the 200 samples"), "{reason}");
}
