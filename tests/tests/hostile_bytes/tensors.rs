use std::collections::BTreeMap;

use rewind_artifacts::{
    Buffers, Confidence, Shard, assemble, read_confidences, read_header, read_weights, write_confidences, write_weights,
};
use rewind_hostile_bytes::{Answer, Parser};
use rewind_job::Layout;

use crate::words;

fn layout() -> Layout {
    Layout::new([("a.weight".into(), vec![2, 3]), ("a.bias".into(), vec![2])])
}

fn weights() -> Vec<u8> {
    let buffers = Buffers::from([("bn.running_mean".into(), (vec![1, 2], vec![0.5, 1.5]))]);
    let metadata = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    write_weights(&layout(), &[1., 2., 3., 4., 5., 6., 7., 8.], &buffers, &metadata).expect("writes")
}

fn shard() -> Shard {
    Shard {
        start: 3,
        weights: vec![1.0, 2.0, 3.0],
        optimiser: BTreeMap::from([("momentum".into(), vec![0.1, 0.2, 0.3])]),
        buffers: Buffers::from([("bn.running_var".into(), (vec![2], vec![1.0, 2.0]))]),
        aside: Buffers::from([("extra".into(), (vec![1, 2], vec![1.0, 2.0]))]),
        counters: BTreeMap::from([("epochs".into(), 3)]),
    }
}

fn confidences() -> Vec<u8> {
    let of = |sample| Confidence { sample, confidence: f64::from(sample) / 3.0, forgotten: sample % 2 == 0 };
    write_confidences(&[of(7), of(0), of(9)]).expect("writes")
}

/// Shapes that come out of a file can be given to others: they are not negative, and hold what is there.
fn are_sound(buffers: &Buffers) {
    for (name, (shape, values)) in buffers {
        assert!(shape.iter().all(|side| *side >= 0), "{name}: {shape:?}");
        assert_eq!(shape.iter().product::<i64>(), values.len() as i64, "{name}: {shape:?}");
    }
}

fn read_as_weights(bytes: &[u8]) -> Answer {
    let (weights, buffers) = read_weights(bytes, &layout()).map_err(words)?;
    assert_eq!(weights.len(), 8);
    are_sound(&buffers);
    let written = write_weights(&layout(), &weights, &buffers, &BTreeMap::new()).expect("writes");
    let (again, same) = read_weights(&written, &layout()).expect("is read");
    assert!(again.iter().zip(&weights).all(|(a, b)| a.to_bits() == b.to_bits()));
    assert!(same.keys().eq(buffers.keys()));
    Ok(())
}

fn read_as_shard(bytes: &[u8]) -> Answer {
    let read = Shard::from_bytes(bytes).map_err(words)?;
    are_sound(&read.buffers);
    are_sound(&read.aside);
    let written = read.to_bytes().expect("writes");
    assert_eq!(Shard::from_bytes(&written).expect("is read").to_bytes().expect("writes"), written);
    // As a worker that takes up a checkpoint does.
    let _ = assemble(vec![read]).and_then(|whole| whole.expect_whole(6));
    Ok(())
}

fn read_as_confidences(bytes: &[u8]) -> Answer {
    let read = read_confidences(bytes).map_err(words)?;
    let written = write_confidences(&read).expect("writes");
    assert_eq!(read_confidences(&written).expect("is read").len(), read.len());
    Ok(())
}

fn read_its_header(bytes: &[u8]) -> Answer {
    read_header(&mut &*bytes, bytes.len() as u64).map(drop).map_err(words)
}

#[test]
fn safetensors_are_refused_or_written_as_they_were_read() {
    Parser::of("weights").cases(3000).run(&[weights()], read_as_weights);
    Parser::of("checkpoints").cases(3000).run(&[shard().to_bytes().expect("writes")], read_as_shard);
    Parser::of("confidences").cases(2000).run(&[confidences()], read_as_confidences);
    let all = [weights(), shard().to_bytes().expect("writes"), confidences()];
    Parser::of("headers").cases(3000).run(&all, read_its_header);
}

/// A file's header and its data apart: mutations of the header leave a file whose length of the header is right.
fn parts(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    (bytes[8..8 + length].to_vec(), bytes[8 + length..].to_vec())
}

fn joined(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

#[test]
fn headers_that_lie_about_their_tensors_are_refused() {
    type Reader = fn(&[u8]) -> Answer;
    let readers: [(&'static str, Vec<u8>, Reader); 3] = [
        ("headers of weights", weights(), read_as_weights),
        ("headers of checkpoints", shard().to_bytes().expect("writes"), read_as_shard),
        ("headers of confidences", confidences(), read_as_confidences),
    ];
    for (name, seed, read) in readers {
        let (header, data) = parts(&seed);
        Parser::of(name).cases(3000).run(&[header], |header| {
            let bytes = joined(header, &data);
            let answer = read(&bytes);
            assert!(answer.is_err() || read_its_header(&bytes).is_ok(), "a header that is refused was read");
            answer
        });
    }
}

/// Tensors that follow one another up to the end of all numbers: the sum of their lengths has no room.
#[test]
fn tensors_whose_ends_are_beyond_all_numbers_are_refused() {
    let step = usize::MAX / 8;
    let tensor = |index: usize| {
        let (start, end) = (index * step, (index + 1) * step);
        format!("\"t{index}\":{{\"dtype\":\"U8\",\"shape\":[{step}],\"data_offsets\":[{start},{end}]}}")
    };
    let mut tensors: Vec<String> = (0..8).map(tensor).collect();
    let start = 8 * step;
    for last in [usize::MAX, usize::MAX - 8, usize::MAX - 900] {
        tensors.truncate(8);
        if last > start {
            let (shape, offsets) = (last - start, [start, last]);
            tensors.push(format!("\"t8\":{{\"dtype\":\"U8\",\"shape\":[{shape}],\"data_offsets\":{offsets:?}}}"));
        }
        let file = joined(format!("{{{}}}", tensors.join(",")).as_bytes(), b"");
        for read in [read_as_weights, read_as_shard, read_as_confidences, read_its_header] {
            let refusal = read(&file).expect_err("no file is so long");
            assert!(refusal.contains("safetensors"), "{refusal}");
        }
    }
}

#[test]
fn empty_tensors_with_impossible_sides_are_refused_by_name() {
    let header = r#"{"bn.mean":{"dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0]},"weights":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#;
    let file = joined(header.as_bytes(), b"");
    let refusal = read_weights(&file, &Layout::default()).expect_err("no such shape").to_string();
    assert!(refusal.contains("bn.mean"), "{refusal}");
}
