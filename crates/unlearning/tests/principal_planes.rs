//! The plane of the first two principal components: computed by hand, and by numpy's SVD in float64
//! (tests/golden/principal_plane.py) to 1e-9 of the largest coordinate, points of it to 1e-5: what float32 leaves.

use rewind_unlearning::{PrincipalPlane, places};
use serde_json::Value;
use tch::{Kind, Tensor};

static GOLDEN: &str = include_str!("../../../tests/golden/principal_plane.json");

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
}

/// Each `[P]`.
fn snapshots(rows: &[&[f32]]) -> Vec<Tensor> {
    rows.iter().map(|row| Tensor::from_slice(row)).collect()
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= tolerance, "{found:?} is not {expected:?}");
    }
}

fn weights_at(plane: &PrincipalPlane, point: [f64; 2]) -> Vec<f64> {
    Vec::try_from(plane.at(point).to_kind(Kind::Double)).expect("numbers")
}

#[test]
fn snapshots_on_a_line_are_explained_by_the_first_component_alone() {
    // (1, 2, 2) has length 3: at −3, 0 and 3 from their mean (1, 0, 0).
    let all = snapshots(&[&[0.0, -2.0, -2.0], &[1.0, 0.0, 0.0], &[2.0, 2.0, 2.0]]);
    for (anchor, x) in [(0, [-3.0, 0.0, 3.0]), (2, [3.0, 0.0, -3.0])] {
        let found = places(&all, anchor).expect("are placed");
        assert_close(&found.explained, &[1.0, 0.0], 1e-12);
        assert_close(&found.coordinates.concat(), &[x[0], 0.0, x[1], 0.0, x[2], 0.0], 1e-12);
        let plane = PrincipalPlane::through(&all, &found.coordinates, 1);
        assert_close(&weights_at(&plane, [x[2], 0.0]), &[2.0, 2.0, 2.0], 1e-6);
        // The second direction is drawn: of length 1, and orthogonal to the first.
        let [middle, beside] = [weights_at(&plane, [0.0, 0.0]), weights_at(&plane, [0.0, 1.0])];
        let second: Vec<f64> = beside.iter().zip(&middle).map(|(a, b)| a - b).collect();
        assert_close(&[second.iter().map(|v| v * v).sum::<f64>()], &[1.0], 1e-5);
        assert_close(&[second[0] + 2.0 * second[1] + 2.0 * second[2]], &[0.0], 1e-5);
    }
}

#[test]
fn a_plane_among_many_coordinates_is_found() {
    // A rectangle of 8 by 2 around (5, …): along coordinate 70,001 and along (3, 4) / 5 of coordinates 7 and 90,000.
    let corners = [[-4.0, -1.0], [4.0, -1.0], [4.0, 1.0], [-4.0, 1.0]];
    let all: Vec<Tensor> = corners
        .iter()
        .map(|&[long, short]: &[f32; 2]| {
            let mut weights = vec![5.0_f32; 100_000];
            weights[70_001] += long;
            weights[7] += 0.6 * short;
            weights[90_000] += 0.8 * short;
            Tensor::from_slice(&weights)
        })
        .collect();
    let found = places(&all, 0).expect("are placed");
    // Variance 16 along the first, 1 along the second.
    assert_close(&found.explained, &[16.0 / 17.0, 1.0 / 17.0], 1e-6);
    let expected: Vec<f64> = corners.iter().flatten().map(|&at| f64::from(at)).collect();
    assert_close(&found.coordinates.concat(), &expected, 1e-6);
    let plane = PrincipalPlane::through(&all, &found.coordinates, 1);
    let weights = weights_at(&plane, [2.0, 10.0]);
    assert_close(&[weights[70_001], weights[7], weights[90_000], weights[0]], &[7.0, 11.0, 13.0, 5.0], 1e-5);
}

#[test]
fn one_snapshot_alone_is_the_middle_of_a_plane_that_is_drawn() {
    let all = snapshots(&[&[1.0, 2.0, 3.0, 4.0]]);
    let found = places(&all, 0).expect("is placed");
    assert_eq!((found.explained, found.coordinates.as_slice()), ([0.0; 2], [[0.0; 2]].as_slice()));
    let plane = PrincipalPlane::through(&all, &found.coordinates, 1);
    assert_eq!(weights_at(&plane, [0.0, 0.0]), [1.0, 2.0, 3.0, 4.0]);
    let moved = weights_at(&plane, [3.0, 4.0]);
    let distance = moved.iter().zip([1.0, 2.0, 3.0, 4.0]).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
    assert_close(&[distance], &[5.0], 1e-5);
}

#[test]
fn coordinates_shares_and_points_agree_with_numpys_decomposition() {
    let golden: Value = serde_json::from_str(GOLDEN).expect("the golden file is JSON");
    let all: Vec<Tensor> = (0..9)
        .map(|i| {
            let i = f64::from(i);
            let weight = |j: i32| {
                let j = f64::from(j);
                let moved = i / 9.0 * (0.0071 * j).sin() + 0.3 * (1.9 * i).cos() * (0.0037 * j).cos();
                ((0.7 * i + 0.013 * j).sin() + moved) as f32
            };
            Tensor::from_slice(&(0..100_000).map(weight).collect::<Vec<_>>())
        })
        .collect();
    let found = places(&all, 2).expect("are placed");
    let expected: Vec<f64> = golden["coordinates"].as_array().expect("a list").iter().flat_map(numbers).collect();
    let largest = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    assert_close(&found.coordinates.concat(), &expected, 1e-9 * largest);
    assert_close(&found.explained, &numbers(&golden["explained"]), 1e-9);
    let plane = PrincipalPlane::through(&all, &found.coordinates, 1);
    let weights = weights_at(&plane, [2.0, -3.0]);
    assert_close(&[weights[0], weights[50_000], weights[99_999]], &numbers(&golden["at"]), 1e-5);
}
