//! What a certificate does not prove, for readers who are no engineers.

use rewind_job::{Action, Generation, Measured, Report, Step};

/// Below this balanced accuracy (percent) the attack does not tell members from others; as in the report's warnings.
const ATTACK_SAYS_SOMETHING: f64 = 55.0;

/// Plain sentences; first those that hold for every certificate, then those of this job.
pub fn not_proven(report: &Report, generation: Generation) -> Vec<String> {
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
         one's own choice takes their place. Without the disclosure a replay compares how many samples were forgotten and \
         read, and not which.",
        "That nobody finds out which samples were forgotten. The seals hold against those who have this certificate alone. \
         Whoever has the data as well can often derive the samples from the specification, where their rule and its seed \
         stand, or recognise forget files by their SHA-256; and a report may picture some of them.",
        "More by a replay than that the stated computation on the stated files gives these weights, \
         by this program: another build of it, or another kind of machine, may give other bits. A replay does not show that \
         the computation was enough to forget, nor when and where it was first done.",
        "Who holds the signing key. A signature means something only if the public key was obtained from its owner by \
         another way, and the private one was kept.",
    ]
    .map(str::to_owned)
    .to_vec();
    if generation.0 > 1 {
        sentences.push(format!(
            "That the data files stayed the same while the job ran. It was begun {} times, and these are the digests of what \
             was read the last time.",
            generation.0
        ));
    }
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
    let steps = &report.specification.steps;
    let is_given = |step: &Step| matches!(step.action, Action::Given(_)) || step.start().is_some();
    if report.specification.model.weights.is_some() || steps.iter().any(is_given) {
        sentences.push(
            "How the weights that the job began with were made, and on what: they were given to it as a file."
                .to_owned(),
        );
    }
    if steps.iter().any(|step| step.predictor().is_some()) {
        sentences.push(
            "What the predictor was made from. Rewinding and nowcasting use, besides the data, a file of numbers that was \
             learned earlier, from other trainings; the file's SHA-256 is in the list of data files unless it came from \
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
            "That members cannot be told from others, by MIA (SVC, confidence): on samples that were held out the attack is \
             right about as often as a guess for {}. Its figures say little there.",
            weak.join(", ")
        ));
    } else if unlearned.iter().any(|measured| measured.mia.is_none()) {
        sentences.push("That members cannot be told from others: no membership inference was run.".to_owned());
    }
    sentences
}
