//! Where samples come from, and what is done to them, as specifications say it.

use std::path::Path;

use rewind_job::{Augment, Pool, Specification};

fn text(model: &str, pool: &str, training: &str) -> String {
    format!(
        r#"
        name = "sources"
        [model]
        architecture = "resnet18"
        image = [3, 32, 32]
        {model}
        [data]
        pool = {pool}
        split = {{ train = 100, test = 10, validation = 10, attack = 10 }}
        forget = {{ random = {{ share = 0.5, seed = 1 }} }}
        [[step]]
        name = "pretrained"
        pretrain = {{ epochs = 1, batch-size = 8, optimiser = {{ sgd = {{ learning-rate = 0.1 }} }}{training} }}
        "#
    )
}

const IDX: &str = r#"{ images = "i", labels = "l" }"#;

fn parse(text: &str) -> Result<Specification, String> {
    Specification::parse(text, Path::new("/here")).map_err(|refusal| refusal.to_string())
}

#[test]
fn a_specification_without_the_options_is_written_as_ever() {
    let written = parse(&text("", IDX, "")).expect("is valid").to_toml();
    let expected = r#"
[data.pool]
images = "/here/i"
labels = "/here/l"

[data.split]"#;
    assert!(written.contains(expected), "{written}");
    for option in ["normalise", "augment", "cifar", "imagenet", "resize", "start", "decay-one-dimensional"] {
        assert!(!written.contains(option), "{option}: {written}");
    }
}

#[test]
fn every_source_is_written_as_it_is_read_and_names_the_files_it_needs() {
    for (pool, source, files) in [
        (r#"{ cifar10 = "c" }"#, Pool::Cifar10("/here/c".into()), vec!["data_batch_1.bin", "test_batch.bin"]),
        (r#"{ cifar100 = "c" }"#, Pool::Cifar100("/here/c".into()), vec!["train.bin", "test.bin"]),
        (
            r#"{ tiny-imagenet = "c" }"#,
            Pool::TinyImagenet("/here/c".into()),
            vec!["wnids.txt", "val/val_annotations.txt"],
        ),
    ] {
        let specification = parse(&text("", pool, "")).expect("is valid");
        assert_eq!(specification.data.pool.as_ref(), Some(&source));
        assert_eq!(parse(&specification.to_toml()), Ok(specification.clone()));
        let named = specification.files();
        for file in files {
            assert!(named.iter().any(|(_, path)| *path == Path::new("/here/c").join(file)), "{file}: {named:?}");
        }
        let (field, _) = source.folder().expect("is a folder");
        assert!(named.iter().all(|(name, _)| name == field), "{named:?}");
    }
}

#[test]
fn half_a_source_and_two_sources_are_refused() {
    for (pool, said) in [
        (r#"{ images = "i" }"#, "data.pool: missing field `labels`"),
        (r#"{ labels = "l" }"#, "data.pool: missing field `images`"),
        (r#"{ images = "i", labels = "l", cifar10 = "c" }"#, "data.pool: needs images and labels, or exactly one of"),
        (r#"{ cifar10 = "c", cifar100 = "d" }"#, "data.pool: needs images and labels, or exactly one of"),
        ("{}", "data.pool: needs images and labels, or exactly one of"),
        (r#"{ cifar = "c" }"#, "unknown field `cifar`"),
    ] {
        let refusal = parse(&text("", pool, "")).expect_err(pool);
        assert!(refusal.contains(said), "{refusal} should say {said}");
    }
}

#[test]
fn augmentation_and_normalisation_come_back_and_impossible_ones_are_refused_by_field() {
    let model = "normalise = { mean = [0.5, 0.4, 0.3], std = [0.2, 0.2, 0.3] }";
    let specification = parse(&text(model, IDX, ", augment = { crop = 4, flip = true }")).expect("is valid");
    assert_eq!(parse(&specification.to_toml()), Ok(specification.clone()));
    let rewind_job::Action::Pretrain(training) = &specification.steps[0].action else { panic!("trains") };
    assert_eq!(training.augment, Some(Augment { crop: 4, flip: true, ..Augment::default() }));
    for (model, training, said) in [
        ("normalise = { mean = [0.5], std = [0.2] }", "", "model.normalise.mean: must have one number a channel"),
        ("normalise = { mean = [0.5, 0.4, 0.3], std = [0.2, 0.0, 0.3] }", "", "model.normalise.std: must be greater"),
        ("", ", augment = {}", "step[0].pretrain.augment: changes nothing"),
        ("", ", augment = { crop = 32 }", "step[0].pretrain.augment.crop: must be less than the image's"),
        ("", ", augment = { rotate = -1.0 }", "step[0].pretrain.augment.rotate: must be from 0 to 180 degrees"),
        ("", ", augment = { flip = true, shift = 1.5 }", "step[0].pretrain.augment.shift: must be from 0 to 1"),
        ("", ", augment = { shear = 90.0 }", "step[0].pretrain.augment.shear: must be from 0 to 89 degrees"),
        ("", ", augment = { zoom = 1.0 }", "step[0].pretrain.augment.zoom: must be from 0 to 0.9"),
        ("resize = 4", "", "model.resize: must be from 8 to 1024"),
    ] {
        let refusal = parse(&text(model, IDX, training)).expect_err(said);
        assert!(refusal.contains(said), "{refusal} should say {said}");
    }
}

#[test]
fn an_affine_map_a_size_and_given_weights_come_back() {
    let training = r#", start = { weights = "pvt.safetensors", without-head = true },
        augment = { rotate = 10.0, shift = 0.15, flip = true, shear = 0.1, zoom = 0.3 }"#;
    let specification = parse(&text("resize = 224", IDX, &training.replace('\n', ""))).expect("is valid");
    assert_eq!(parse(&specification.to_toml()), Ok(specification.clone()));
    assert_eq!(specification.model.resize, Some(224));
    let rewind_job::Action::Pretrain(training) = &specification.steps[0].action else { panic!("trains") };
    let expected = Augment { crop: 0, flip: true, rotate: 10.0, shift: 0.15, shear: 0.1, zoom: 0.3 };
    assert_eq!(training.augment, Some(expected));
    let (field, file) = ("step[0].pretrain.start.weights", Path::new("/here/pvt.safetensors"));
    assert!(specification.files().iter().any(|(name, path)| name == field && path == file));
    let start = training.start.as_ref().expect("is given");
    assert!(start.without_head && start.weights == rewind_job::Source::File(file.into()));

    let digest = "ab".repeat(32);
    let training = format!(", start = {{ weights = \"sha256:{digest}\" }}");
    let specification = parse(&text("", IDX, &training)).expect("is valid");
    assert_eq!(specification.artifacts().map(|digest| digest.0.as_str()).collect::<Vec<_>>(), [digest]);
}

#[test]
fn the_decay_of_tensors_of_one_dimension_is_an_option_of_adamw_alone() {
    let with = |optimiser: &str| parse(&text("", IDX, "").replace("{ sgd = { learning-rate = 0.1 } }", optimiser));
    let spares = "{ adamw = { learning-rate = 0.1, weight-decay = 0.05, decay-one-dimensional = false } }";
    let specification = with(spares).expect("is valid");
    assert_eq!(parse(&specification.to_toml()), Ok(specification.clone()));
    assert!(specification.to_toml().contains("decay-one-dimensional = false"));
    let plain = with("{ adamw = { learning-rate = 0.1, weight-decay = 0.05 } }").expect("is valid");
    let rewind_job::Action::Pretrain(training) = &plain.steps[0].action else { panic!("trains") };
    let rewind_job::Optimiser::Adamw(adamw) = &training.optimiser else { panic!("is AdamW") };
    assert!(adamw.decay_one_dimensional, "left out, every tensor decays, as ever");
    let refusal =
        with("{ adam = { learning-rate = 0.1, decay-one-dimensional = false } }").expect_err("has no such field");
    assert!(refusal.contains("decay-one-dimensional"), "{refusal}");
    let refusal = with("{ adamw = { learning-rate = 0.1, beta2 = 1.0 } }").expect_err("is impossible");
    assert!(refusal.contains("optimiser.adamw.beta2"), "{refusal}");
}
