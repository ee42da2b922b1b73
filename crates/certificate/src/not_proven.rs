//! What a certificate does not prove, for readers who are no engineers.

use rewind_job::{Action, Measured, Method, Report};

/// Below this balanced accuracy (percent) the attack does not tell members from others; as in the report's warnings.
const ATTACK_SAYS_SOMETHING: f64 = 55.0;

/// Plain sentences; first those that hold for every certificate, then those of this job.
pub fn not_proven(report: &Report) -> Vec<String> {
    let mut sentences: Vec<String> = [
        "That no trace of the forget data is left in the weights. Accuracies, losses and membership inference measure \
         how the model behaves; they are evidence, and no proof. A stronger attack may find what these did not.",
        "A formal guarantee. None of the methods used here bounds what can still be learned about a sample, as \
         differential privacy or certified removal would.",
        "That the model in use is the one named here. This certificate knows weights by their SHA-256 (`weights_after`): \
         whoever runs a model must compare its file, or have it compared with `rewind verify --weights`.",
        "That older weights are gone. Copies, checkpoints and backups of earlier weights still hold what was learned, and \
         so does every model that was fine-tuned or distilled from them.",
        "That the forget data itself was deleted. Unlearning changes a model; files, caches and copies of the data are \
         untouched.",
        "That the forget data is complete. It is what the specification names: whether these are all samples of a person \
         or a subject, and whether near-duplicates stay in the training data, was not examined.",
        "That the workers told the truth. The signature is the coordinator's, and vouches that these are the figures, \
         digests and read samples that its workers reported. Workers are trusted; `rewind verify --replay` on machines of \
         one's own choice takes their place.",
        "More by a replay than that the stated computation on the stated files gives these weights. A replay does not show \
         that the computation was enough to forget, nor when and where it was first done.",
        "Who holds the signing key. A signature means something only if the public key was obtained from its owner by \
         another way, and the private one was kept.",
    ]
    .map(str::to_owned)
    .to_vec();
    sentences.extend(of_this_job(report));
    sentences
}

fn of_this_job(report: &Report) -> Vec<String> {
    let mut sentences = Vec::new();
    let unlearned: Vec<&Measured> = report.methods.iter().filter(|measured| measured.group != "reference").collect();
    if report.retrain.is_none() {
        sentences.push(
            "How far the result is from a model that never saw the forget data: this job has no retrained reference."
                .to_owned(),
        );
    }
    if report.specification.model.weights.is_some() {
        sentences.push(
            "How the weights that the job began with were made, and on what: they were given to it as a file."
                .to_owned(),
        );
    }
    let uses_predictor =
        |action: &Action| matches!(action, Action::Unlearn(unlearn) if matches!(unlearn.method, Method::Rewinding(_)));
    if report.specification.steps.iter().any(|step| uses_predictor(&step.action)) {
        sentences.push(
            "What the predictor was made from. Rewinding reads the forget data alone, and besides it a file of numbers that \
             was learned earlier, from other trainings; the file's SHA-256 is in the list of data files unless it came from \
             the artifact store, where its name is its SHA-256."
                .to_owned(),
        );
    }
    if unlearned.iter().any(|measured| measured.ta.is_none()) {
        sentences
            .push("How well the result works on unseen data: no accuracy on test data was measured for it.".to_owned());
    }
    let weak: Vec<String> = unlearned
        .iter()
        .filter_map(|measured| {
            let accuracy = measured.mia_attack_accuracy.filter(|accuracy| *accuracy < ATTACK_SAYS_SOMETHING)?;
            Some(format!("{} ({accuracy:.1} %)", measured.name))
        })
        .collect();
    if !weak.is_empty() {
        sentences.push(format!(
            "That members cannot be told from others, by MIA: on samples that were held out the attack is right about as \
             often as a guess for {}. Its figures say little there.",
            weak.join(", ")
        ));
    } else if unlearned.iter().any(|measured| measured.mia.is_none()) {
        sentences.push("That members cannot be told from others: no membership inference was run.".to_owned());
    }
    sentences
}
