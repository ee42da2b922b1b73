//! Predictors and histories at rest that were spoilt are refused by name, or written as they were read.

#![allow(clippy::unwrap_used, reason = "a test's failure is its answer")]

use rewind_hostile_bytes::{Answer, Parser};
use rewind_job::{Layout, OperationType};
use rewind_predictor::{Architecture, History, Predictor, Sample};
use tch::Tensor;

fn predictor(architecture: Architecture) -> Vec<u8> {
    Predictor::untrained(architecture, 3, &[3], 1)
        .join(Predictor::untrained(architecture, 4, &[3, 5], 2))
        .unwrap()
        .to_bytes()
        .unwrap()
}

fn history() -> Vec<u8> {
    let layout = Layout::new([("w".into(), vec![3, 2]), ("b".into(), vec![2])]);
    let run: Vec<Tensor> = (0..5_u8).map(|at| Tensor::from_slice(&[f32::from(at) / 4.0; 8])).collect();
    let mut history = History::default();
    history.record(&layout, &run[2..5], &run[0], 2, Sample::All).unwrap();
    history.to_bytes().unwrap()
}

fn read_predictor(bytes: &[u8]) -> Answer {
    let read = Predictor::from_bytes(bytes).map_err(|error| error.to_string())?;
    let written = read.to_bytes().unwrap();
    assert_eq!(Predictor::from_bytes(&written).unwrap().to_bytes().unwrap(), written);
    for snapshots in read.snapshots() {
        let networks = read.for_snapshots(snapshots).unwrap();
        for operation in OperationType::ALL {
            assert!(!networks.of(operation).parameters().is_empty());
        }
    }
    Ok(())
}

fn read_history(bytes: &[u8]) -> Answer {
    let read = History::from_bytes(bytes).map_err(|error| error.to_string())?;
    let written = read.to_bytes().unwrap();
    assert_eq!(History::from_bytes(&written).unwrap().to_bytes().unwrap(), written);
    Ok(())
}

/// A file's header and its data apart.
fn parts(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (bytes[8..8 + length].to_vec(), bytes[8 + length..].to_vec())
}

fn joined(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

#[test]
fn spoilt_predictors_are_refused_or_written_as_they_were_read() {
    let seeds =
        [Architecture::Paper, Architecture::Wnn, Architecture::Equivariant, Architecture::Conditioned].map(predictor);
    Parser::of("predictors").cases(600).memory(8 << 20).run(&seeds, read_predictor);
    let (header, data) = parts(&predictor(Architecture::Conditioned));
    Parser::of("headers of predictors")
        .cases(1500)
        .memory(8 << 20)
        .run(&[header], |header| read_predictor(&joined(header, &data)));
}

#[test]
fn spoilt_histories_are_refused_or_written_as_they_were_read() {
    Parser::of("windows").cases(800).memory(8 << 20).run(&[history()], read_history);
    let (header, data) = parts(&history());
    Parser::of("headers of windows")
        .cases(1500)
        .memory(8 << 20)
        .run(&[header], |header| read_history(&joined(header, &data)));
}

/// Tensors that follow one another up to the end of all numbers: the sum of their lengths has no room.
#[test]
fn tensors_whose_ends_are_beyond_all_numbers_are_refused() {
    // A tensor of more bytes has too many bits, and is refused for that.
    let step = usize::MAX / 8;
    let tensor = |index: usize| {
        let offsets = [index * step, (index + 1) * step];
        format!(r#""t{index}":{{"dtype":"U8","shape":[{step}],"data_offsets":{offsets:?}}}"#)
    };
    let tensors: Vec<String> = (0..8).map(tensor).collect();
    let file = joined(format!("{{{}}}", tensors.join(",")).as_bytes(), b"");
    for refusal in [read_predictor(&file).unwrap_err(), read_history(&file).unwrap_err()] {
        assert!(refusal.contains("safetensors"), "{refusal}");
    }
}

#[test]
fn empty_tensors_with_impossible_sides_are_refused_by_name() {
    let (header, data) = parts(&history());
    let header = String::from_utf8(header).unwrap();
    for side in ["18446744073709551615", "4611686018427387904,4611686018427387904"] {
        let tensor = format!(r#""window.9.snapshots":{{"dtype":"F32","shape":[0,{side}],"data_offsets":[0,0]}}"#);
        let more = header.trim_end().strip_suffix('}').unwrap().to_owned() + "," + &tensor + "}";
        let more = more.replace("window.9.snapshots", "window.0.odd").replace("window.0.snapshots", "window.0.other");
        let more = more.replace("window.0.odd", "window.0.snapshots");
        let refusal = History::from_bytes(&joined(more.as_bytes(), &data)).unwrap_err().to_string();
        assert!(refusal.contains("window.0.snapshots"), "{refusal}");
    }
}

#[test]
fn more_snapshots_than_any_history_has_are_refused() {
    for architecture in [Architecture::Conditioned, Architecture::Equivariant, Architecture::Paper] {
        let (header, data) = parts(&Predictor::untrained(architecture, 3, &[3], 1).to_bytes().unwrap());
        let header = String::from_utf8(header).unwrap();
        let vast = header.replace(r#"\"3\":"#, r#"\"9223372036854775808\":"#);
        assert_ne!(vast, header);
        let refusal = read_predictor(&joined(vast.as_bytes(), &data)).unwrap_err();
        assert!(refusal.contains("9223372036854775808 snapshots"), "{refusal}");
    }
}
