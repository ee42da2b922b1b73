//! What earlier versions have left at rest, in tests/kept: read, taken up, and meant as it was meant.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use rewind_certificate::{Certificate, Disclosure, PublicKey};
use rewind_job::{Report, Specification};
use rewind_tests::{Fleet, complaint, copy_folder, report_in, repository, rewind};
use safetensors::SafeTensors;

/// Where stored jobs of tests/kept look for their data.
const DATA: &str = "/var/tmp/rewind-kept";
/// Between machines of different kinds, whose kernels round otherwise: percentage points, and weights.
const POINTS: f64 = 3.2;
const WEIGHTS: f32 = 2e-3;

/// A folder for each version that wrote something.
fn versions() -> Vec<PathBuf> {
    let kept = repository().join("tests/kept");
    let folders = fs::read_dir(kept).unwrap().map(|entry| entry.unwrap().path());
    let folders: Vec<PathBuf> = folders.filter(|path| path.is_dir()).collect();
    assert!(!folders.is_empty());
    folders
}

/// Files of a folder and of those in it, with this ending.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found
}

#[test]
fn specifications_are_read_or_refused_by_a_field() {
    let mut read = 0;
    for version in versions() {
        for path in files(&version, "toml") {
            let text = fs::read_to_string(&path).unwrap();
            // Comparisons are read by a test of their own, in the command line.
            if text.contains("\n[base]") {
                continue;
            }
            let specification = Specification::parse(&text, path.parent().unwrap());
            let specification = specification.unwrap_or_else(|refusal| panic!("{}: {refusal}", path.display()));
            assert_eq!(Specification::parse(&specification.to_toml(), Path::new("/")), Ok(specification));
            read += 1;
        }
    }
    assert!(read > 8, "{read}");
}

#[test]
fn reports_certificates_and_disclosures_are_read_and_verified() {
    for version in versions() {
        let folder = version.join("report");
        let report = report_in(&folder);
        let certificate = Certificate::parse(&fs::read(folder.join("certificate.json")).unwrap()).unwrap();
        assert_eq!(certificate.statement.version, report.version);
        let key = PublicKey::from_pem(&fs::read_to_string(folder.join("signing.pub.pem")).unwrap()).unwrap();
        assert_eq!(certificate.verify(Some(key)), Ok(key));
        let disclosure = Disclosure::parse(&fs::read(folder.join("disclosure.json")).unwrap()).unwrap();
        disclosure.check(&certificate.statement).unwrap();
        let key = folder.join("signing.pub.pem");
        let verified = rewind(&["verify", folder.to_str().unwrap(), "--signed-by", key.to_str().unwrap()]);
        assert!(verified.status.success(), "{}{}", String::from_utf8_lossy(&verified.stdout), complaint(&verified));
    }
}

#[test]
fn a_store_is_taken_up_and_its_job_goes_on_as_it_began() {
    // Stored jobs name files here: one test at a time puts them there.
    for version in versions() {
        copy_folder(&version.join("data"), Path::new(DATA));
        let fleet = Fleet::start_on(&version.join("store"), 2);
        let histories = fleet.ask(&["histories", "list"]);
        assert!(histories.status.success(), "{}", complaint(&histories));
        let listed = String::from_utf8(histories.stdout).unwrap().lines().filter(|line| line.contains("mlp")).count();
        assert_eq!(listed, 2);
        let verified = fleet.ask(&["histories", "verify"]);
        assert!(verified.status.success(), "{}", complaint(&verified));

        // The same job, which ran through on a fleet of that version.
        let (whole, resumed) = (report_in(&version.join("report")), fleet.report("job-2"));
        assert_eq!(whole.specification.to_toml(), resumed.specification.to_toml());
        assert_eq!(whole.data, resumed.data, "the same samples in the same parts");
        let same_bits =
            serde_json::to_value(&whole.machine).unwrap() == serde_json::to_value(&resumed.machine).unwrap();
        for (then, now) in whole.measured().zip(resumed.measured()) {
            assert_eq!((&then.name, then.rounds.len()), (&now.name, now.rounds.len()));
            if same_bits {
                assert_eq!((then.selected, &then.weights), (now.selected, &now.weights), "{}", then.name);
            }
            for (then, now) in [(then.ra, now.ra), (then.ua, now.ua), (then.ta, now.ta), (then.va, now.va)] {
                let (then, now) = (then.unwrap(), now.unwrap());
                assert!((then - now).abs() <= POINTS, "{then} then, {now} now");
            }
            let name = format!("weights/{}.safetensors", then.name);
            let apart = distance(&version.join("report").join(&name), &fleet.report_folder("job-2").join(&name));
            assert!(apart < WEIGHTS, "{}: {apart}", then.name);
        }

        // A replay by this version compares nothing, and says so.
        let folder = version.join("report");
        let replay = fleet.ask(&["verify", folder.to_str().unwrap(), "--replay"]);
        let said = String::from_utf8_lossy(&replay.stdout).into_owned();
        assert!(replay.status.success(), "{said}{}", complaint(&replay));
        assert!(said.contains("– replay: not comparable: it ran version ") && !said.contains('✗'), "{said}");
        fs::remove_dir_all(DATA).unwrap();
    }
}

/// The largest difference of two networks' weights.
fn distance(one: &Path, other: &Path) -> f32 {
    let [one, other] = [one, other].map(|path| fs::read(path).unwrap());
    let [one, other] = [&one, &other].map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    let value = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
    let mut largest = 0.0_f32;
    for (name, tensor) in one.tensors() {
        let other = other.tensor(&name).unwrap();
        assert_eq!(tensor.shape(), other.shape(), "{name}");
        let pairs = tensor.data().chunks_exact(4).zip(other.data().chunks_exact(4));
        largest = pairs.fold(largest, |largest, (one, other)| largest.max((value(one) - value(other)).abs()));
    }
    largest
}

/// What the report calls the methods now: words that bear a published name no longer mean what version 0.1 did under it.
#[test]
fn old_words_are_told_by_their_present_names() {
    let report: Report = report_in(&repository().join("tests/kept/0.1/report"));
    let specification = report.specification.to_toml();
    for word in ["salun-forget-only", "random-label-forget-only", "batch-norm = \"inference\"", "form = \"clamped\""] {
        assert!(specification.contains(word), "{word} in\n{specification}");
    }
    for word in ["\"frozen\"", "salun]", "random-label]"] {
        assert!(!specification.contains(word), "{word} in\n{specification}");
    }
}
