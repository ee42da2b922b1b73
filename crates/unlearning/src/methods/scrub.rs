//! SCRUB: away from the teacher on `D_f`, with it on the remaining data (Kurmanji et al., 2023, algorithm 1).

use rewind_models::{Mode, Network};
use tch::{Kind, Reduction, Tensor, no_grad};

use crate::{Batch, Descent, LabelledSamples, Learner, Pass, RoundMethod, UnlearningError};

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
        let rewind_job::Scrub { ascent_rounds, gamma, alpha, temperature } = self.settings;
        let teacher = &self.teacher;
        // Each round before has trained two epochs, while there were epochs on `D_f`.
        if learner.epochs() < 2 * ascent_rounds {
            let away = Pass { descent: Descent::Up, ..self.pass.clone() };
            learner.epoch_of(self.forget, &away, &mut |batch: &Batch| {
                let student = batch.network.forward(&batch.images, batch.mode);
                Ok(divergence(teacher, batch, &student, temperature))
            })?;
        }
        learner.epoch_of(self.remaining, &self.pass, &mut |batch: &Batch| {
            let student = batch.network.forward(&batch.images, batch.mode);
            let labels = student.f_cross_entropy_loss::<Tensor>(&batch.labels, None, Reduction::Sum, -100, 0.0)?;
            Ok(labels * gamma + divergence(teacher, batch, &student, temperature) * alpha)
        })
    }

    fn forget_epochs(&self, rounds: u32) -> f64 {
        f64::from(rounds.min(self.settings.ascent_rounds))
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
