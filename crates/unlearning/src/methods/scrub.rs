//! SCRUB: away from the teacher on `D_f`, with it on the remaining data (Kurmanji et al., 2023, algorithm 1).

use rewind_models::{Mode, Network};
use tch::{Kind, Reduction, Tensor, no_grad};

use crate::{Batch, Descent, LabelledSamples, Learner, Pass, RoundMethod, UnlearningError, learner::Span};

pub struct Scrub<'a> {
    settings: rewind_job::Scrub,
    pass: Pass,
    forget: &'a LabelledSamples,
    remaining: &'a LabelledSamples,
    /// The model as it was; never moves.
    teacher: Network,
}

impl<'a> Scrub<'a> {
    pub fn new(
        settings: rewind_job::Scrub,
        pass: Pass,
        forget: &'a LabelledSamples,
        remaining: &'a LabelledSamples,
        teacher: Network,
    ) -> Self {
        Self { settings, pass, forget, remaining, teacher }
    }
}

impl RoundMethod for Scrub<'_> {
    /// Returns the mean loss on the remaining data.
    fn round(&mut self, learner: &mut Learner) -> Result<f64, UnlearningError> {
        let (gamma, alpha, temperature) = (self.settings.gamma(), self.settings.alpha(), self.settings.temperature());
        let teacher = &self.teacher;
        let (epoch, ascends) = self.place_of(learner.epochs());
        let (away, with) = (self.pass(self.settings.forget_batch_size), self.pass(self.settings.remaining_batch_size));
        let batches = |pass: &Pass, data: &LabelledSamples| data.len().div_ceil(pass.batch_size);
        let before = if ascends { batches(&away, self.forget) } else { 0 };
        let span = Span { epoch, before, batches: before + batches(&with, self.remaining) };
        if ascends {
            let away = Pass { descent: Descent::Up, ..away };
            let first = Span { before: 0, ..span };
            learner.pass_over(self.forget, &away, first, &mut |batch: &Batch| {
                let student = batch.network.forward(&batch.images, batch.mode);
                Ok(divergence(teacher, batch, &student, temperature))
            })?;
        }
        learner.pass_over(self.remaining, &with, span, &mut |batch: &Batch| {
            let student = batch.network.forward(&batch.images, batch.mode);
            let labels = student.f_cross_entropy_loss::<Tensor>(&batch.labels, None, Reduction::Sum, -100, 0.0)?;
            Ok(labels * gamma + divergence(teacher, batch, &student, temperature) * alpha)
        })
    }

    fn forget_epochs(&self, rounds: u32) -> f64 {
        f64::from(rounds.min(self.settings.ascent_rounds()))
    }
}

impl Scrub<'_> {
    /// Rounds before the one that begins after so many epochs, and whether it begins with an epoch on `D_f`: each round
    /// has trained two epochs while there were such.
    fn place_of(&self, epochs: u32) -> (u32, bool) {
        let ascents = self.settings.ascent_rounds();
        if epochs / 2 < ascents { (epochs / 2, true) } else { (epochs - ascents, false) }
    }

    fn pass(&self, batch_size: Option<u32>) -> Pass {
        let batch_size = batch_size.map_or(self.pass.batch_size, |size| size as usize);
        Pass { batch_size, ..self.pass.clone() }
    }
}

/// T² · KL(teacher/T ‖ student/T), summed over the batch (Hinton et al., 2015). `student` is the logits `[n, classes]`.
fn divergence(teacher: &Network, batch: &Batch, student: &Tensor, temperature: f64) -> Tensor {
    let teacher = no_grad(|| teacher.forward(&batch.images, Mode::Inference));
    let soft = |logits: &Tensor| (logits / temperature).log_softmax(1, Kind::Float);
    soft(student).kl_div(&soft(&teacher), Reduction::Sum, true) * (temperature * temperature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rewind_job::Architecture;
    use tch::Device;

    #[test]
    fn the_divergence_agrees_with_its_sum_by_hand_and_is_0_to_oneself() {
        let build = |seed| Network::build(Architecture::Mlp, 3, [1, 8, 8], seed);
        let (teacher, student) = (build(1), build(2));
        let images = (Tensor::arange(4 * 64, (Kind::Float, Device::Cpu)) * 0.31).sin().view([4, 1, 8, 8]);
        let data = LabelledSamples::new(images, Tensor::from_slice(&[0_i64, 1, 2, 0]));
        let batch = data.batch(&[0, 1, 2, 3], &student, Mode::Inference);
        let of = |network: &Network| no_grad(|| network.forward(&batch.images, Mode::Inference));
        let found = divergence(&teacher, &batch, &of(&student), 4.0).double_value(&[]);
        let probabilities = |network: &Network| -> Vec<f64> {
            let soft = (of(network) / 4.0).softmax(1, Kind::Double);
            Vec::try_from(soft.view([-1])).expect("float64")
        };
        let by_hand: f64 = probabilities(&teacher)
            .iter()
            .zip(probabilities(&student))
            .map(|(teacher, student)| 16.0 * teacher * (teacher / student).ln())
            .sum();
        assert!(by_hand > 1e-4 && (found - by_hand).abs() < 1e-3 * by_hand, "{found} and {by_hand}");
        assert!(divergence(&teacher, &batch, &of(&teacher), 4.0).double_value(&[]).abs() < 1e-6);
    }
}
