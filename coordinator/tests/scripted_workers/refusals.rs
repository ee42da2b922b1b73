//! Bad input is refused with the name of what is bad, and changes nothing.

use std::fs;

use rewind_proto::v1::ListRequest;
use tonic::Code;

use crate::program::{Coordinator, run};

#[tokio::test]
async fn bad_specifications_are_refused_by_field() {
    let coordinator = Coordinator::start().await;
    let good = coordinator.specification(1);
    let folder = coordinator.folder.path();
    let path = |name: &str| folder.join(name).display().to_string();
    fs::write(folder.join("none.safetensors"), b"not safetensors").expect("writes");
    fs::write(folder.join("cut"), &fs::read(folder.join("images")).expect("reads")[..5000]).expect("writes");
    fs::write(folder.join("few"), [&[0, 0, 8, 1, 0, 0, 0, 3][..], &[1, 2, 3]].concat()).expect("writes");
    fs::write(folder.join("log.json"), "{").expect("writes");
    // What torch.save writes: a zip archive with a pickle in it. It would run code; it is never opened.
    fs::write(folder.join("model.pt"), b"PK\x03\x04model/data.pkl\x80\x02cposix\nsystem\n").expect("writes");

    let with_weights = |weights: &str| good.replace("\"mlp\"", &format!("\"mlp\", weights = \"{weights}\""));
    let with_predictor = |predictor: &str| {
        let method = format!("rewinding = {{ predictor = \"{predictor}\", trajectory = {{ snapshots = 5 }} }}");
        good.replace("neg-grad = {}", &method)
    };
    let predictor = "step[1].unlearn.method.rewinding.predictor: ";
    let unreadable = |name: &str| format!("model.weights: {}: not a valid safetensors file", path(name));
    let missing = format!("sha256:{}", "ab".repeat(32));
    let cases = [
        (String::new(), "specification: missing field `name`"),
        (format!("{good}\n# {}", "x".repeat(300_000)), "specification: has "),
        ("name = ".into(), "specification: "),
        // An answer's header has no room for all of it.
        (format!("{} = 1\n{good}", "x".repeat(100_000)), "xxx"),
        (good.replace("\"mlp\"", &format!("\"{}\"", "x".repeat(100_000))), "model.architecture: unknown variant `xxx"),
        (good.replace("epochs", "epoch"), "step[0]"),
        (good.replace("batch-size = 8, ", "batch-size = 0, "), "step[0].pretrain.batch-size: must be at least 1"),
        (good.replace("test = 10", "test = 90"), "data.split: its parts sum to 180, but the pool has 100 samples"),
        (good.replace("share = 0.2", "share = 0.001"), "data.forget.random.share: 0.001 of 80 training samples are 0"),
        (good.replace("share = 0.2", "share = 0.999"), "data.forget.random.share: 0.999 of 80 training samples are 80"),
        (good.replace("\"mlp\"", "\"mlp\", classes = 5"), "data.pool.labels: label 9 is not below model.classes (5)"),
        (
            good.replace("\"mlp\"", "\"mlp\", image = [3, 28, 28]"),
            "data.pool.images: images are [1, 28, 28], but model.image is [3, 28, 28]",
        ),
        (good.replace(&path("images"), &path("nowhere")), "data.pool.images: "),
        (good.replace(&path("images"), &path("")), "data.pool.images: "),
        (good.replace(&path("images"), &path("cut")), "data.pool: "),
        (good.replace(&path("images"), &path("labels")), "data.pool: "),
        (good.replace(&path("labels"), &path("few")), "data.pool: "),
        (with_weights(&path("none.safetensors")), &unreadable("none.safetensors")),
        (with_weights(&path("model.pt")), &unreadable("model.pt")),
        (with_weights(&missing), "model.weights: artifact abab"),
        (with_weights("sha256:../../etc/passwd"), "model.weights: `../../etc/passwd` is not a SHA-256"),
        (with_predictor(&path("nowhere")), predictor),
        (with_predictor(&path("none.safetensors")), predictor),
        (format!("search-log = \"{}\"\n{good}", path("log.json")), "search-log: "),
    ];
    for (text, message) in cases {
        let refused = coordinator.try_submit(text.clone()).await.expect_err(&text);
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(message), "wanted {message}\n got {}", refused.message());
    }
    // gRPC writes each byte of such a letter as three.
    for letter in ["é", "🦀"] {
        let long = letter.repeat(100_000 / letter.len());
        let texts = [
            good.replace("\"mlp\"", &format!("\"{long}\"")),
            format!("{good}\n[step.\"{long}\".\"{long}\"]"),
            format!("\"{long}\" = 1\n{good}"),
        ];
        for text in texts {
            let refused = coordinator.try_submit(text).await.expect_err("is no specification");
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
            let in_header = |byte: u8| if byte.is_ascii_alphanumeric() { 1 } else { 3 };
            let header: usize = refused.message().bytes().map(in_header).sum();
            assert!(refused.message().contains(letter) && header < 4096, "{header}: {refused}");
        }
    }
    let jobs = coordinator.jobs().await.list(ListRequest {}).await.expect("lists").into_inner();
    assert!(jobs.status_json.is_empty(), "nothing was stored");
    coordinator.submit(1).await;
}

#[tokio::test]
async fn a_second_coordinator_in_the_same_folder_is_refused() {
    let coordinator = Coordinator::start().await;
    let output = run(coordinator.folder.path(), &["--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains("state.redb is in use by another coordinator"), "{complaint}");
    // The first one was not disturbed.
    assert!(coordinator.dir().join("coordinator.addr").exists());
    coordinator.submit(1).await;
}

#[tokio::test]
async fn files_outside_the_data_roots_are_refused_whether_they_exist_or_not() {
    let mut coordinator = Coordinator::start().await;
    let root = coordinator.folder.path().join("root");
    fs::create_dir(&root).expect("makes");
    let specification = coordinator.specification(1);
    coordinator.restart_with(&["--data-root", root.to_str().expect("printable")]).await;
    let images = coordinator.folder.path().join("images").display().to_string();
    let refusal = |path: &str| format!("data.pool.images: {path} does not lie in a data root of the coordinator");
    let refused = coordinator.try_submit(specification.clone()).await.expect_err("outside");
    assert_eq!(refused.message(), refusal(&images));
    let nowhere = specification.replace(&images, "/nowhere");
    assert_eq!(coordinator.try_submit(nowhere).await.expect_err("nowhere").message(), refusal("/nowhere"));
    // A link does not lead out, nor do dots.
    std::os::unix::fs::symlink(&images, root.join("link")).expect("links");
    for way_out in [root.join("link"), root.join("../images")] {
        let way_out = way_out.display().to_string();
        let text = specification.replace(&images, &way_out);
        assert_eq!(coordinator.try_submit(text).await.expect_err("outside").message(), refusal(&way_out));
    }
    for name in ["images", "labels"] {
        fs::copy(coordinator.folder.path().join(name), root.join(name)).expect("copies");
    }
    let inside = specification.replace(&images, &root.join("images").display().to_string());
    let labels = coordinator.folder.path().join("labels").display().to_string();
    let inside = inside.replace(&labels, &root.join("labels").display().to_string());
    coordinator.try_submit(inside).await.expect("lies inside");
}

#[test]
fn an_address_that_others_reach_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(folder.path(), &["--listen", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--insecure"));
    assert!(!folder.path().join("dir").exists(), "nothing was made before");
}

#[test]
fn a_store_that_cannot_be_read_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("dir")).expect("makes");
    fs::write(folder.path().join("dir/state.redb"), vec![7; 8192]).expect("writes");
    let output = run(folder.path(), &["--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains("state.redb"), "{complaint}");
}
