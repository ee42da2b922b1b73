use rewind_datasets::synthesise;
use rewind_hostile_bytes::Parser;
use rewind_job::{Architecture, Specification, Synthetic, SyntheticTask, TaskIndex, Timeouts};

use crate::{examples, json, parse, text, words};

/// What other programs compute from a specification that was accepted.
fn use_it(specification: &Specification) {
    let _ = (specification.files(), specification.artifacts().count());
    if let Some(collect) = specification.collect() {
        for task in [0, collect.tasks() - 1] {
            let networks = collect.networks_of(TaskIndex(task));
            collect.recipe(networks.end - 1, Architecture::Mlp, specification.seed);
        }
    }
}

#[test]
fn a_specification_is_refused_by_its_field_or_written_as_it_was_read() {
    Parser::of("specification").cases(4000).memory(8 << 20).run(&examples(), |bytes| {
        // As coordinators refuse it unread.
        if bytes.len() > 256 << 10 {
            return Err("has too many bytes".into());
        }
        let specification = parse(text(bytes)?).map_err(|refused| {
            assert!(!refused.field.is_empty() && !refused.problem.is_empty(), "{refused:?}");
            refused.to_string()
        })?;
        use_it(&specification);
        let written = specification.to_toml();
        assert_eq!(parse(&written).expect("what is written is valid").to_toml(), written);
        Ok(())
    });
}

#[test]
fn a_specification_in_json_is_refused_or_checked() {
    let seeds: Vec<Vec<u8>> = examples()
        .iter()
        .map(|example| serde_json::to_vec(&parse(text(example).expect("text")).expect("valid")).expect("writes"))
        .collect();
    Parser::of("specification in JSON").cases(2000).memory(8 << 20).run(&seeds, |bytes| {
        let specification: Specification = json(bytes)?;
        specification.check().map_err(words)?;
        use_it(&specification);
        let again = serde_json::to_vec(&specification).expect("what was checked is written");
        assert_eq!(serde_json::from_slice::<Specification>(&again).expect("is read"), specification);
        Ok(())
    });
}

#[test]
fn a_refusal_repeats_the_beginning_of_what_it_refuses() {
    let long = "x".repeat(100_000);
    for specification in [format!("{long} = 1"), format!("name = \"a\"\n[model]\narchitecture = \"{long}\"")] {
        let refusal = parse(&specification).expect_err("is refused").to_string();
        assert!(refusal.len() < 3500 && refusal.contains("bytes)"), "{} bytes", refusal.len());
    }
}

#[test]
fn timeouts_are_refused_by_their_field_or_in_order() {
    let seed = "heartbeat = \"500ms\"\nlease = \"3s\"\ndetection = \"5s\"\nsoft-abort = \"10s\"\ndrain = \"15s\"\n\
                hard-kill = \"20s\"\nrendezvous = \"1m\"\nprepare = \"10m\"\nretention = \"60s\"\n";
    Parser::of("timeouts").memory(8 << 20).run(&[seed.into(), Vec::new()], |bytes| {
        let timeouts = Timeouts::parse(text(bytes)?).map_err(words)?;
        assert!(timeouts.in_order().windows(2).all(|pair| pair[0].1 < pair[1].1));
        Ok(())
    });
}

#[test]
fn timeouts_longer_than_time_itself_are_refused() {
    let mut years = 300_000_000_000_u64;
    let names = ["lease", "detection", "soft-abort", "drain", "hard-kill", "rendezvous", "prepare", "retention"];
    let lines = names.map(|name| {
        years += 1_000_000_000;
        format!("{name} = \"{years}years\"\n")
    });
    let refusal = Timeouts::parse(&lines.concat()).expect_err("nobody waits so long").to_string();
    assert!(refusal.starts_with("timeouts."), "{refusal}");
}

/// A parser takes a hundred bytes for each nest that is opened.
#[test]
fn timeouts_of_a_mebibyte_are_refused_before_they_are_read() {
    let refusal = Timeouts::parse(&format!("lease = {}", "[".repeat(1 << 20))).expect_err("so long").to_string();
    assert!(refusal.starts_with("timeouts: has 1048584 bytes"), "{refusal}");
}

#[test]
fn drawn_tasks_are_refused_by_their_field_or_drawn() {
    let valid = Synthetic { task: SyntheticTask::Blobs, classes: 4, side: 8, samples: 20, seed: 1 };
    let seed = serde_json::to_vec(&valid).expect("writes");
    Parser::of("drawn tasks").memory(8 << 20).run(&[seed], |bytes| {
        let synthetic: Synthetic = json(bytes)?;
        synthetic.check("synthetic").map_err(words)?;
        if synthetic.samples > 100 {
            return Ok(());
        }
        let samples = synthesise(&synthetic).expect("what was checked is drawn");
        assert_eq!(samples.len(), synthetic.samples as usize);
        Ok(())
    });
}
