//! Accuracies on the plane in which the rounds' weights moved most (Li et al., 2018), and each step's path on it.

use rewind_artifacts::Shard;
use rewind_job::{
    Action, Landscape, LandscapePath, LandscapeReport, MeasuredOn, Round, Specification, StepIndex, Unlearn,
};
use rewind_models::Network;
use rewind_unlearning::{
    Gang, LabelledSamples, Places, PrincipalPlane, UnlearningError, accuracy, places, recompute_batch_norm,
};
use tch::{Tensor, no_grad};

use super::{drawn, last_wish};
use crate::{
    run::{RECOMPUTE_BATCH, Run},
    run_error::RunError,
};

/// On each side of the paths, as a share of their extent.
const MARGIN: f64 = 0.15;

/// The steps that the landscape is about.
pub fn pictured(specification: &Specification) -> Vec<StepIndex> {
    last_wish(specification, |evaluate| evaluate.landscape.as_ref()).map(|wish| wish.of).unwrap_or_default()
}

/// The landscape for the evaluation that asks for it; `network` is left with other weights. All ranks act together.
pub fn measure(run: &Run, gang: &mut Gang, network: &Network) -> Result<Option<LandscapeReport>, RunError> {
    let specification = &run.assignment.specification;
    let Some(wish) = last_wish(specification, |evaluate| evaluate.landscape.as_ref()) else {
        return Ok(None);
    };
    let &Landscape { points, samples } = wish.options;
    let (snapshots, paths) = snapshots_of(run, &wish.of)?;
    let anchor = paths.iter().find(|path| path.is_unlearning).map_or(0, |path| path.places[0]);
    let places = as_rank_0_says(places(&snapshots, anchor)?, gang)?;
    let plane = PrincipalPlane::through(&snapshots, &places.coordinates, specification.seed);
    drop(snapshots);

    let [x, y] = axes(&places.coordinates, points as usize);
    let part = |data: &LabelledSamples, purpose: &str| data.at(&drawn(specification, purpose, data.len(), samples));
    let forget = part(&run.data.forget, "landscape-forget");
    let test = run.data.test.as_ref().filter(|_| wish.read == MeasuredOn::Test);
    let test = test.map(|test| part(test, "landscape-test"));
    let (mut forget_accuracy, mut test_accuracy) = (Vec::new(), Vec::new());
    for &at_y in &y {
        let (mut forget_row, mut test_row) = (Vec::new(), Vec::new());
        for &at_x in &x {
            if let Some(ended) = run.link.ended() {
                return Err(ended.into());
            }
            no_grad(|| network.flat().shallow_clone().copy_(&plane.at([at_x, at_y])));
            recompute_batch_norm(network, gang, &run.data.forget, RECOMPUTE_BATCH)?;
            forget_row.push(accuracy(network, gang, &forget)?);
            if let Some(test) = &test {
                test_row.push(accuracy(network, gang, test)?);
            }
            let (done, all) = (forget_accuracy.len() * x.len() + forget_row.len(), x.len() * y.len());
            run.mention(wish.step, &format!("landscape, point {done} of {all}"), done as f64 / all as f64);
        }
        forget_accuracy.push(forget_row);
        test_accuracy.push(test_row);
    }
    let on_plane = |path: Path| LandscapePath {
        name: path.name,
        points: path.places.iter().map(|&place| places.coordinates[place]).collect(),
        selected: path.selected,
    };
    Ok(Some(LandscapeReport {
        explained: places.explained,
        x,
        y,
        forget_accuracy,
        test_accuracy: test.is_some().then_some(test_accuracy),
        paths: paths.into_iter().map(on_plane).collect(),
    }))
}

/// A step's weights, round by round, as places among the snapshots.
struct Path {
    name: String,
    is_unlearning: bool,
    places: Vec<usize>,
    /// Among `places`.
    selected: usize,
}

/// Weights as whole tensors `[P]`; what several paths share is there once.
#[derive(Default)]
struct Snapshots {
    /// The step that made them, none for `model.weights`, and the round.
    made_by: Vec<(Option<StepIndex>, Round)>,
    weights: Vec<Tensor>,
}

impl Snapshots {
    /// The place of some weights, loaded if they are not there yet.
    fn place(
        &mut self,
        made_by: (Option<StepIndex>, Round),
        load: impl FnOnce() -> Result<Shard, RunError>,
    ) -> Result<usize, RunError> {
        if let Some(place) = self.made_by.iter().position(|known| *known == made_by) {
            return Ok(place);
        }
        self.weights.push(Tensor::from_slice(&load()?.weights));
        self.made_by.push(made_by);
        Ok(self.weights.len() - 1)
    }

    /// Of a step's result.
    fn result(&mut self, run: &Run, step: StepIndex) -> Result<usize, RunError> {
        let outcome = run.manifests_of(step).pop().and_then(|last| last.outcome);
        let round = outcome.map_or(Round(0), |outcome| outcome.selected);
        self.place((Some(step), round), || Ok(run.result_of(step)?))
    }

    /// Of what an unlearning step starts from.
    fn start(&mut self, run: &Run, unlearn: &Unlearn) -> Result<usize, RunError> {
        match unlearn.from.as_ref().and_then(|name| run.assignment.specification.step_named(name)) {
            Some(step) => self.result(run, step),
            None => self.place((None, Round(0)), || run.start_of(unlearn)),
        }
    }
}

/// All weights of the steps' paths.
fn snapshots_of(run: &Run, steps: &[StepIndex]) -> Result<(Vec<Tensor>, Vec<Path>), RunError> {
    let (mut snapshots, mut paths) = (Snapshots::default(), Vec::new());
    for &index in steps {
        let step = &run.assignment.specification.steps[index.0 as usize];
        let mut path = Path {
            name: step.name.clone(),
            is_unlearning: false,
            places: vec![snapshots.result(run, index)?],
            selected: 0,
        };
        if let Action::Unlearn(unlearn) = &step.action {
            let result = path.places[0];
            path.is_unlearning = true;
            path.places = vec![snapshots.start(run, unlearn)?];
            for manifest in run.manifests_of(index) {
                path.places.push(snapshots.place((Some(index), manifest.round), || Ok(run.load(&manifest)?))?);
            }
            path.selected = path.places.iter().rposition(|&place| place == result).expect("the result is a round's");
        }
        paths.push(path);
    }
    Ok((snapshots.weights, paths))
}

/// Every rank measures on rank 0's plane: machines may differ in their last bits, and two components that explain
/// nearly the same could turn.
fn as_rank_0_says(places: Places, gang: &mut Gang) -> Result<Places, UnlearningError> {
    let mut numbers: Vec<f64> = places.coordinates.iter().flatten().chain(&places.explained).copied().collect();
    if gang.rank().0 != 0 {
        numbers.fill(0.0);
    }
    let mut pairs: Vec<[f64; 2]> = gang.sum(&numbers)?.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect();
    let explained = pairs.pop().expect("the shares stand last");
    Ok(Places { coordinates: pairs, explained })
}

/// The grid's lines along each component: evenly spaced, over all coordinates and a margin. Where all are equal the
/// other component's extent is taken, or 1.
fn axes(coordinates: &[[f64; 2]], points: usize) -> [Vec<f64>; 2] {
    let ends = [0, 1].map(|a| {
        let along = coordinates.iter().map(|place| place[a]);
        along.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)))
    });
    let extents = ends.map(|(least, most)| most - least);
    [0, 1].map(|a| {
        let extent = if extents[a] > 0.0 { extents[a] } else { extents[1 - a] };
        let extent = if extent > 0.0 { extent } else { 1.0 };
        let middle = (ends[a].0 + ends[a].1) / 2.0;
        let half = extent * (0.5 + MARGIN);
        (0..points).map(|point| middle + half * (2.0 * point as f64 / (points - 1) as f64 - 1.0)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_covers_all_paths_with_a_margin_on_each_side() {
        let [x, y] = axes(&[[-3.0, 0.5], [7.0, 1.0], [0.0, -1.5]], 5);
        for (found, expected) in
            x.iter().chain(&y).zip([-4.5, -1.25, 2.0, 5.25, 8.5, -1.875, -1.0625, -0.25, 0.5625, 1.375])
        {
            assert!((found - expected).abs() < 1e-12, "{x:?} {y:?}");
        }
    }

    #[test]
    fn where_paths_have_no_breadth_the_grid_is_square() {
        let [x, y] = axes(&[[0.0, 0.0], [4.0, 0.0]], 3);
        for (found, expected) in x.iter().chain(&y).zip([-0.6, 2.0, 4.6, -2.6, 0.0, 2.6]) {
            assert!((found - expected).abs() < 1e-12, "{x:?} {y:?}");
        }
        let alone = axes(&[[1.0, 2.0]], 3);
        assert!((alone[0][0] - 0.35).abs() < 1e-12 && (alone[1][2] - 2.65).abs() < 1e-12, "{alone:?}");
    }
}
