//! What networks look at, and the plane in which weights moved: a backdoor is unlearned by one worker and by two.

use rewind_job::{ActivationReport, LandscapePath, LandscapeReport, Measured, Report};
use rewind_tests::{Fleet, repository};

/// Coordinates of `depthwise-small` on digits.
const COORDINATES: f64 = 18_826.0;

const NAMES: [&str; 4] = ["pretrained", "retrain", "task-vector", "neg-grad"];

/// Two methods of two rounds; the evaluation names their order otherwise than the specification.
fn job(world_size: u32, read: &str) -> String {
    let root = repository();
    let root = root.display();
    format!(
        r#"
name = "pictures"
seed = 5
[fleet]
world-size = {world_size}
[model]
architecture = "depthwise-small"
[data]
pool = {{ images = "{root}/.data/digits/images-idx3-ubyte", labels = "{root}/.data/digits/labels-idx1-ubyte" }}
split = {{ train = 600, test = 100, validation = 100, attack = 0 }}
forget = {{ backdoor = {{ share = 0.2, seed = 3, label = 7, width = 2, value = 250 }} }}
[[step]]
name = "pretrained"
pretrain = {{ epochs = 6, batch-size = 32, optimiser = {{ adam = {{ learning-rate = 3e-3 }} }}, schedule = "cosine" }}
[[step]]
name = "task-vector"
[step.unlearn]
from = "pretrained"
method = {{ task-vector = {{ lambda = 0.5 }} }}
forward = {{ optimiser = {{ adam = {{ learning-rate = 1e-3 }} }}, batch-size = 32, batch-norm = "recompute" }}
stop = {{ rounds = 3 }}
roll-back = "best-validation"
[[step]]
name = "retrain"
retrain = {{ epochs = 6, batch-size = 32, optimiser = {{ adam = {{ learning-rate = 3e-3 }} }}, schedule = "cosine" }}
[[step]]
name = "neg-grad"
[step.unlearn]
from = "pretrained"
method = {{ neg-grad = {{}} }}
forward = {{ optimiser = {{ sgd = {{ learning-rate = 1e-3 }} }}, batch-size = 32 }}
stop = {{ rounds = 2 }}
[[step]]
name = "evaluation"
[step.evaluate]
read = "{read}"
activation-maps = {{ samples = 5 }}
landscape = {{ points = 3, samples = 60 }}
"#
    )
}

fn has_maps(activation: &ActivationReport) {
    assert_eq!(activation.samples.len(), 5);
    for sample in &activation.samples {
        assert_eq!((sample.label, sample.shape), (7, [1, 28, 28]));
        assert!(sample.truth < 10 && sample.truth != 7);
        let rows: Vec<&[u8]> = sample.pixels.chunks(28).collect();
        assert_eq!(rows.len(), 28);
        assert!(rows.iter().all(|row| row[..2] == [250, 250]), "the line is drawn at the left edge");
    }
    assert_eq!(activation.steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), NAMES);
    for step in &activation.steps {
        assert_eq!(step.maps.len(), 5);
        for map in &step.maps {
            assert_eq!((map.shape, map.values.len()), ([4, 4], 16));
            assert!(map.answer < 10 && (0.0..=1.0).contains(&map.probability));
            let largest = map.values.iter().max().copied();
            assert!(matches!(largest, Some(0 | 255)), "{map:?}");
        }
    }
    // The poisoned network answers with the backdoor's label, and something speaks for it.
    let poisoned = &activation.steps[0].maps;
    assert!(poisoned.iter().filter(|map| map.answer == 7 && map.values.contains(&255)).count() >= 3, "{poisoned:?}");
    assert_ne!(activation.steps[0].maps, activation.steps[1].maps);
}

fn has_a_plane(landscape: &LandscapeReport, methods: &[Measured]) {
    let [first, second] = landscape.explained;
    assert!(first >= second && second > 0.0 && first + second <= 1.0 + 1e-9, "{:?}", landscape.explained);
    assert_eq!(landscape.paths.iter().map(|path| path.name.as_str()).collect::<Vec<_>>(), NAMES);
    let points = |path: &LandscapePath| path.points.clone();
    let start = points(&landscape.paths[0])[0];
    assert!(start[0] < 0.0 && start[1] <= 0.0, "{start:?}");
    for path in &landscape.paths[..2] {
        assert_eq!((path.points.len(), path.selected), (1, 0));
    }
    for path in &landscape.paths[2..] {
        let method = methods.iter().find(|method| method.name == path.name).expect("is measured");
        assert_eq!(path.points.len(), method.rounds.len() + 1);
        assert_eq!((path.points[0], path.selected), (start, method.selected.0 as usize));
        // No step seems longer on the plane than it was.
        for (ends, round) in path.points.windows(2).zip(&method.rounds) {
            let seen = (ends[1][0] - ends[0][0]).hypot(ends[1][1] - ends[0][1]);
            let moved = round.weight_change * COORDINATES.sqrt();
            assert!(seen <= moved * (1.0 + 1e-4) + 1e-9, "{}: {seen} of {moved}", path.name);
        }
    }
    // All snapshots are seen from their mean, what paths share once.
    let all: Vec<[f64; 2]> = std::iter::once(start)
        .chain(points(&landscape.paths[1]))
        .chain(landscape.paths[2..].iter().flat_map(|path| path.points[1..].to_vec()))
        .collect();
    for (axis, lines) in [&landscape.x, &landscape.y].into_iter().enumerate() {
        let along = all.iter().map(|point| point[axis]);
        let size = along.clone().fold(0.0, |most: f64, value| most.max(value.abs()));
        assert!(along.clone().sum::<f64>().abs() < 1e-6 * size, "{all:?}");
        assert_eq!(lines.len(), 3);
        assert!(lines[0] < lines[1] && lines[1] < lines[2]);
        assert!(along.clone().all(|value| lines[0] < value && value < lines[2]), "the grid covers all paths");
    }
    has_percentages(&landscape.forget_accuracy);
}

fn has_percentages(grid: &[Vec<f64>]) {
    assert_eq!(grid.iter().map(Vec::len).collect::<Vec<_>>(), [3; 3]);
    assert!(grid.iter().flatten().all(|accuracy| (0.0..=100.0).contains(accuracy)), "{grid:?}");
}

fn pictures(report: &Report) -> (&ActivationReport, &LandscapeReport) {
    (
        report.activation.as_ref().expect("maps were asked for"),
        report.landscape.as_ref().expect("a plane was asked for"),
    )
}

#[test]
fn maps_and_the_plane_are_drawn_by_one_worker_and_by_two() {
    let fleet = Fleet::start(2);
    let [alone, together] = [job(1, "test"), job(2, "validation")].map(|job| fleet.submit(&job));
    let (alone, together) = (fleet.report(&alone), fleet.report(&together));
    for report in [&alone, &together] {
        let (activation, landscape) = pictures(report);
        has_maps(activation);
        has_a_plane(landscape, &report.methods);
    }
    // Samples are drawn by the job's seed alone.
    assert_eq!(pictures(&alone).0.samples, pictures(&together).0.samples);
    has_percentages(pictures(&alone).1.test_accuracy.as_ref().expect("test data may be read"));
    assert_eq!(pictures(&together).1.test_accuracy, None);
    // Both gangs train nearly the same network.
    let lengths = |report: &Report| {
        let paths = &pictures(report).1.paths;
        (paths[0].points[0][0] - paths[1].points[0][0]).hypot(paths[0].points[0][1] - paths[1].points[0][1])
    };
    let (one, two) = (lengths(&alone), lengths(&together));
    assert!((one / two - 1.0).abs() < 0.2, "{one} and {two}");
}
