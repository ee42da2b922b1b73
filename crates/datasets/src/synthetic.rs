//! Tasks of images that are drawn by a program.

use std::f64::consts::{PI, TAU};

use rand::{Rng, RngExt};
use rewind_job::{Synthetic, SyntheticTask};

use crate::{DataError, Samples, generator, normal};

/// Standard deviation of the noise on a pixel, where black is 0 and white is 1.
const PIXEL_NOISE: f64 = 0.08;

/// Draws the samples of a task: `[samples, 1, side, side]`, labels 0, 1, 2 … in turn. A longer task begins with the
/// samples of a shorter one.
///
/// # Errors
/// Names the field: values that the task cannot have.
pub fn synthesise(synthetic: &Synthetic) -> Result<Samples, DataError> {
    synthetic
        .check("synthetic")
        .map_err(|refused| DataError::Specification { field: refused.field, problem: refused.problem })?;
    let side = synthetic.side as usize;
    let mut images = Vec::with_capacity(synthetic.samples as usize * side * side);
    let labels: Vec<u8> = (0..synthetic.samples).map(|index| (index % synthetic.classes) as u8).collect();
    for (index, &label) in (0..).zip(&labels) {
        draw(synthetic, label, index, &mut images);
    }
    Ok(Samples { shape: [1, side, side], images, labels })
}

/// Appends the pixels of one image.
fn draw(synthetic: &Synthetic, label: u8, index: u32, pixels: &mut Vec<u8>) {
    let name = match synthetic.task {
        SyntheticTask::Blobs => "blobs",
        SyntheticTask::Stripes => "stripes",
        SyntheticTask::Shapes => "shapes",
        SyntheticTask::Spirals => "spirals",
    };
    let mut rng = generator(synthetic.seed, &format!("synthetic/{name}/{index}"));
    let class = Class { label, share: f64::from(label) / f64::from(synthetic.classes) };
    let picture = match synthetic.task {
        SyntheticTask::Blobs => blob(class, &mut rng),
        SyntheticTask::Stripes => stripes(class, synthetic.classes, &mut rng),
        SyntheticTask::Shapes => shape(class, &mut rng),
        SyntheticTask::Spirals => spiral(class, &mut rng),
    };
    // The middles of pixels, from the upper left: -1 to 1.
    let place = |step: u32| (2.0 * f64::from(step) + 1.0) / f64::from(synthetic.side) - 1.0;
    for row in 0..synthetic.side {
        for column in 0..synthetic.side {
            let light = picture(place(column), place(row)) + PIXEL_NOISE * normal(&mut rng);
            pixels.push((light.clamp(0.0, 1.0) * 255.0).round() as u8);
        }
    }
}

#[derive(Clone, Copy)]
struct Class {
    label: u8,
    /// Which part of a circle is its own: label / classes.
    share: f64,
}

/// How light a picture is at x and y, each from -1 to 1.
type Picture = Box<dyn Fn(f64, f64) -> f64>;

fn blob(class: Class, rng: &mut impl Rng) -> Picture {
    let (sin, cos) = (TAU * class.share).sin_cos();
    let centre = [0.5 * cos + 0.06 * normal(rng), 0.5 * sin + 0.06 * normal(rng)];
    spot(centre, rng.random_range(0.12..0.25), rng.random_range(0.6..1.0))
}

fn stripes(class: Class, classes: u32, rng: &mut impl Rng) -> Picture {
    let wobble = PI / f64::from(classes) * rng.random_range(-0.25..0.25);
    let (sin, cos) = (PI * class.share + wobble).sin_cos();
    let (waves, phase) = (rng.random_range(1.5..3.0), rng.random_range(0.0..TAU));
    let contrast = rng.random_range(0.25..0.5);
    Box::new(move |x, y| 0.5 + contrast * (PI * waves * (x * cos + y * sin) + phase).sin())
}

fn shape(class: Class, rng: &mut impl Rng) -> Picture {
    let (left, up) = (rng.random_range(-0.25..0.25), rng.random_range(-0.25..0.25));
    let size = rng.random_range(0.5..0.75);
    let (dark, light) = (rng.random_range(0.0..0.2), rng.random_range(0.5..1.0));
    let inside = FIGURES[usize::from(class.label)];
    Box::new(move |x, y| if inside((x - left) / size, (y - up) / size) { light } else { dark })
}

/// Whether a place is inside a figure that reaches from -1 to 1; a figure a class.
const FIGURES: [fn(f64, f64) -> bool; 10] = [
    // Disc, saltire, frame, horizontal bar, triangle.
    |x, y| x.hypot(y) < 1.0,
    |x, y| in_square(x, y) && (x.abs() - y.abs()).abs() < 0.35,
    |x, y| in_square(x, y) && x.abs().max(y.abs()) > 0.6,
    |x, y| in_square(x, y) && y.abs() < 0.35,
    |x, y| in_square(x, y) && y > 2.0 * x.abs() - 1.0,
    // Cross, ring, vertical bar, square, chequers.
    |x, y| in_square(x, y) && x.abs().min(y.abs()) < 0.3,
    |x, y| (0.55..1.0).contains(&x.hypot(y)),
    |x, y| in_square(x, y) && x.abs() < 0.35,
    |x, y| in_square(x, y),
    |x, y| in_square(x, y) && x * y > 0.0,
];

fn in_square(x: f64, y: f64) -> bool {
    x.abs() < 1.0 && y.abs() < 1.0
}

/// The spirals of all classes are one spiral, turned; each goes once around.
fn spiral(class: Class, rng: &mut impl Rng) -> Picture {
    let along: f64 = rng.random();
    let (sin, cos) = (TAU * (class.share + along)).sin_cos();
    let radius = 0.15 + 0.75 * along;
    let centre = [radius * cos + 0.02 * normal(rng), radius * sin + 0.02 * normal(rng)];
    spot(centre, 0.13, rng.random_range(0.8..1.0))
}

fn spot([x0, y0]: [f64; 2], width: f64, light: f64) -> Picture {
    Box::new(move |x, y| light * (-((x - x0).powi(2) + (y - y0).powi(2)) / (2.0 * width * width)).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(task: SyntheticTask) -> Synthetic {
        Synthetic { task, classes: 4, side: 12, samples: 20, seed: 1 }
    }

    #[test]
    fn a_task_is_a_function_of_its_fields() {
        for kind in SyntheticTask::ALL {
            let first = task(kind);
            let samples = synthesise(&first).expect("is drawn");
            assert_eq!(samples, synthesise(&first).expect("is drawn"));
            assert_eq!((samples.shape, samples.images.len(), samples.len()), ([1, 12, 12], 20 * 144, 20));
            assert_eq!(samples.labels[..6], [0, 1, 2, 3, 0, 1]);
            let longer = synthesise(&Synthetic { samples: 30, ..first }).expect("is drawn");
            assert_eq!(samples.images, longer.images[..20 * 144]);
            let other = synthesise(&Synthetic { seed: 2, ..first }).expect("is drawn");
            assert_ne!(samples.images, other.images);
            let mut different: Vec<&[u8]> = (0..20).map(|index| samples.image(index)).collect();
            different.sort_unstable();
            different.dedup();
            assert_eq!(different.len(), 20, "{kind:?}");
        }
    }

    #[test]
    fn the_classes_of_a_task_look_different() {
        // Pictures of two classes drawn with the same luck: their labels alone set them apart.
        for kind in SyntheticTask::ALL {
            let classes = kind.most_classes();
            let synthetic = Synthetic { classes, side: 16, ..task(kind) };
            let image = |label: u32| {
                let mut pixels = Vec::new();
                draw(&synthetic, label as u8, 0, &mut pixels);
                pixels
            };
            for (a, b) in (0..classes).flat_map(|a| (0..a).map(move |b| (a, b))) {
                let distance: f64 =
                    image(a).iter().zip(image(b)).map(|(&x, y)| (f64::from(x) - f64::from(y)).abs() / 255.0).sum();
                assert!(distance > 5.0, "{kind:?} {a} {b}: {distance} pixels");
            }
        }
    }

    #[test]
    fn pixels_are_neither_all_dark_nor_all_light() {
        for kind in SyntheticTask::ALL {
            let samples = synthesise(&task(kind)).expect("is drawn");
            for index in 0..samples.len() {
                let image = samples.image(index);
                let (darkest, lightest) = (image.iter().min(), image.iter().max());
                assert!(darkest < Some(&110) && lightest > Some(&110), "{kind:?} {index}: {darkest:?} {lightest:?}");
            }
        }
    }

    #[test]
    fn impossible_tasks_are_refused_by_their_field() {
        let refused = |synthetic| synthesise(&synthetic).expect_err("refused").to_string();
        let blobs = task(SyntheticTask::Blobs);
        assert_eq!(
            refused(Synthetic { classes: 11, ..blobs }),
            "synthetic.classes: must be from 2 to 10 for this task"
        );
        assert_eq!(
            refused(Synthetic { classes: 5, ..task(SyntheticTask::Spirals) }),
            "synthetic.classes: must be from 2 to 4 for this task"
        );
        assert_eq!(refused(Synthetic { side: 7, ..blobs }), "synthetic.side: must be from 8 to 256");
        assert_eq!(
            refused(Synthetic { samples: 3, ..blobs }),
            "synthetic.samples: must be from one a class to 1000000"
        );
    }
}
