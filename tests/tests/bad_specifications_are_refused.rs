//! Each bad specification with its message, refused at submission by field; nothing starts.

use std::fs;

use rewind_datasets::{Samples, idx};
use rewind_tests::{Fleet, complaint, small_job};

#[test]
fn bad_specifications_are_refused_by_field() {
    let fleet = Fleet::start(1);
    let folder = fleet.folder.path();
    fs::write(folder.join("short-images"), [0, 0, 8, 3, 0, 0, 0, 9, 0, 0, 0, 28, 0, 0, 0, 28, 1, 2]).expect("writes");
    fs::write(folder.join("no-weights"), b"not safetensors").expect("writes");
    fs::write(folder.join("wide-images"), [&[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2][..], &[1, 2]].concat())
        .expect("writes");
    fs::write(folder.join("one-label"), [0, 0, 8, 1, 0, 0, 0, 1, 4]).expect("writes");
    let good = small_job(1);
    let images = good.split("images = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a path").to_owned();
    let labels = images.replace("images-idx3", "labels-idx1");
    let in_folder = |name: &str| folder.join(name).display().to_string();
    // One sample of class 0, and all others of class 4.
    let labels_of_two = (0..900).map(|at| if at == 0 { 0 } else { 4 }).collect();
    let two = Samples { shape: [1, 28, 28], images: vec![0; 900 * 784], labels: labels_of_two };
    idx::write(&two, &folder.join("images-of-two"), &folder.join("labels-of-two")).expect("writes");
    let of_two = |label: u32| {
        let class = format!("class = {{ label = {label}, held-out = \"apart\" }}");
        let text = good.replace(&images, &in_folder("images-of-two")).replace(&labels, &in_folder("labels-of-two"));
        let text = text.replace("label-noise = { share = 0.2, seed = 3 }", &class);
        if text.contains("format =") { text } else { format!("format = 2\n{text}") }
    };

    let cases: Vec<(&str, String, &str)> = vec![
        ("not TOML", "name = ".into(), "specification"),
        ("unknown key", good.replace("architecture =", "depth = 3\narchitecture ="), "unknown field `depth`"),
        ("unknown key in a step", good.replace("epochs = 6,", "epochs = 6, epoch = 6,"), "unknown field `epoch`"),
        ("wrong type", good.replacen("epochs = 6", "epochs = \"six\"", 1), "step[0].pretrain.epochs"),
        ("unknown architecture", good.replace("depthwise-small", "resnet-9000"), "model.architecture"),
        ("no workers", good.replace("world-size = 1", "world-size = 0"), "fleet.world-size: must be from 1 to 4096"),
        ("share of all", good.replace("share = 0.2", "share = 1.0"), "data.forget.label-noise.share: must be between"),
        ("no such step", good.replace("from = \"pretrained\"", "from = \"pretraind\""), "step[2].unlearn.from"),
        ("name twice", good.replace("name = \"retrain\"", "name = \"pretrained\""), "step[1].name: `pretrained`"),
        ("negative rate", good.replacen("3e-3", "-3e-3", 1), "step[0].pretrain.optimiser.adam.learning-rate"),
        ("two actions", good.replace("evaluate = {}", "evaluate = {}\nunlearn = {}"), "step[5]"),
        ("no snapshots", good.replace("lambda = 0.2", "lambda = 0.2, trajectory = { snapshots = 1 }"), "snapshots"),
        ("no rounds", good.replace("rounds = 3 }", "rounds = 0 }"), "step[2].unlearn.stop.rounds: must be at least 1"),
        ("split too large", good.replace("train = 600", "train = 6000"), "data.split: its parts sum to 6300"),
        ("too many classes", good.replace("[data]", "classes = 4000000000\n[data]"), "model.classes: must be from 2"),
        ("a tiny attack set", good.replace("attack = 100", "attack = 3"), "data.split.attack: must be 0"),
        ("pretrained twice", good.replace("\nretrain = {", "\npretrain = {"), "step[1].pretrain: there is one already"),
        ("few classes", good.replace("[data]", "classes = 4\n[data]"), "data.pool.labels: label 9"),
        ("missing images", good.replace(&images, &in_folder("nowhere")), "data.pool.images"),
        ("short images", good.replace(&images, &in_folder("short-images")), "data.pool"),
        (
            "wrong shape",
            good.replace(&images, &in_folder("wide-images")).replace(&labels, &in_folder("one-label")),
            "data.pool.images: images are [1, 1, 2], but model.image is [1, 28, 28]",
        ),
        (
            "weights that are none",
            good.replace("[data]", &format!("weights = \"{}\"\n[data]", in_folder("no-weights"))),
            "model.weights",
        ),
        ("a class that nobody has", of_two(9), "data.forget.class: no training sample would be forgotten"),
        ("a class that is most of it", of_two(4), "data.forget.class: class 4 leaves test data, and all 100 samples"),
        (
            "a rule without samples",
            of_two(0).replacen("rounds = 3 }", "rounds = 3, like-unseen = 0.05 }", 1),
            "step[2].unlearn.stop.like-unseen: compares with validation samples of class 0",
        ),
        (
            "missing predictor",
            good.replace("equivariant.safetensors", "nowhere.safetensors"),
            "step[2].unlearn.method.rewinding.predictor",
        ),
    ];
    for (name, text, message) in cases {
        assert_ne!(text, good, "{name} changes nothing");
        let file = folder.join("bad.toml");
        fs::write(&file, text).expect("writes");
        let output = fleet.ask(&["submit", file.to_str().expect("printable")]);
        assert_eq!(output.status.code(), Some(2), "{name}: {}", complaint(&output));
        assert!(complaint(&output).contains(message), "{name}: {}", complaint(&output));
    }
    let jobs = fleet.ask(&["jobs", "--json"]);
    assert_eq!(String::from_utf8_lossy(&jobs.stdout).trim(), "[]", "nothing was started");
}
