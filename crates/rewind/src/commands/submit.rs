//! `rewind submit`: reads, checks and sends a specification.

use std::path::{Path, PathBuf};

use rewind_job::Specification;

use rewind_client::Client;

use crate::{
    arguments::Submit,
    commands::{
        follow::{finished, follow_interruptibly, succeeded},
        report::fetch,
    },
    error::Error,
    output,
    screen::Screen,
};

pub async fn run(submit: Submit) -> Result<(), Error> {
    let (specification, renamed) = read(&submit.specification)?;
    let screen = Screen::new();
    for sentence in renamed {
        screen.say(&sentence);
    }
    for sentence in specification.propose_goals() {
        screen.say(&sentence);
    }
    let mut client = Client::connect(&submit.at.address()).await?;
    let job = client.submit(&specification).await?;
    if !submit.watch && submit.out.is_none() {
        if submit.json {
            output::json(&serde_json::json!({ "job": job }));
        } else {
            output::line(&job);
            screen.say(&format!("follow it with `rewind watch {job}{}`", submit.at.said()));
        }
        return Ok(());
    }
    let status = follow_interruptibly(&mut client, &job, &screen).await?;
    if submit.json {
        output::json(&status);
    } else {
        output::line(&job);
    }
    finished(&status)?;
    match &submit.out {
        Some(out) => drop(fetch(&mut client, &job, out, false, &screen).await?),
        None => screen.say(&format!("write its report with `rewind report {job} --out DIR{}`", submit.at.said())),
    }
    succeeded(&status)
}

/// Where the paths of a specification begin: in its folder, or, of a pipe, in the working directory.
pub fn folder_of(file: &Path) -> std::io::Result<PathBuf> {
    if !std::fs::metadata(file)?.is_file() {
        return std::env::current_dir();
    }
    let file = file.canonicalize()?;
    Ok(file.parent().unwrap_or(Path::new("/")).to_owned())
}

/// Reads a specification, and what is called otherwise since it was written; its paths become absolute, as the workers
/// need them.
fn read(path: &Path) -> Result<(Specification, Vec<String>), Error> {
    let usage = |error: std::io::Error| Error::Usage(format!("failed to read {}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(usage)?;
    Specification::parse_telling(&text, &folder_of(path).map_err(usage)?)
        .map_err(|error| Error::Specification(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_a_specification_with_absolute_paths() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
        let mut examples = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let (specification, _) = read(&path).unwrap();
                assert_eq!(specification.propose_goals(), [""; 0], "{}", path.display());
                assert!(specification.files().iter().all(|(_, file)| file.is_absolute()), "{}", path.display());
                examples += 1;
            }
        }
        assert!(examples >= 4);
    }

    #[test]
    fn a_missing_file_is_wrong_usage() {
        assert_eq!(read(Path::new("no-such.toml")).unwrap_err().exit_code(), 2);
    }
}
