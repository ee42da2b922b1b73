//! `rewind report` and `rewind page`: what a finished job leaves.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use rewind_job::{JobId, Report, file_name, shortened};

use rewind_proto::v1::JobReport;

use rewind_comparison::Compared;

use rewind_client::{Client, read_report};

use crate::{arguments, error::Error, output, screen::Screen};

pub async fn run(arguments: arguments::Report) -> Result<(), Error> {
    let screen = Screen::new();
    let mut client = Client::connect(&arguments.at.address()).await?;
    fetch(&mut client, &JobId(arguments.job), &arguments.out, arguments.weights, &screen).await?;
    Ok(())
}

/// Writes report.json, report.html and the certificate, and the weights if they are wanted.
pub async fn fetch(
    client: &mut Client,
    job: &JobId,
    out: &Path,
    weights: bool,
    screen: &Screen,
) -> Result<Report, Error> {
    let files = client.report_files(job).await?;
    let (report, step_weights) = read_report(&files)?;
    write(&report, &files, out, screen)?;
    if weights {
        let folder = out.join("weights");
        std::fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
        for step in &step_weights {
            let file = folder.join(format!("{}.safetensors", file_name(&step.step)));
            client.artifact(&step.weights, &file).await?;
            screen.say(&format!("wrote {}", file.display()));
        }
    }
    output::line(out.join("report.html").display());
    Ok(report)
}

/// What the coordinator gave, byte for byte: the certificate is about these bytes.
fn write(report: &Report, files: &JobReport, out: &Path, screen: &Screen) -> Result<(), Error> {
    fs::create_dir_all(out).map_err(Error::file("create", out))?;
    let page = rewind_page::draw_report(report);
    for (name, bytes) in [("report.json", files.report_json.as_bytes()), ("report.html", page.as_bytes())] {
        let file = out.join(name);
        fs::write(&file, bytes).map_err(Error::file("write", file))?;
    }
    let [certificate, disclosure] = ["certificate.json", "disclosure.json"].map(|name| out.join(name));
    if files.certificate.is_empty() {
        // An older coordinator does not say why.
        let why =
            if files.no_certificate.is_empty() { "the coordinator gives no reason" } else { &files.no_certificate };
        screen.say(&format!("{} has no certificate: {why}", report.job));
        for file in [certificate, disclosure] {
            make_way(&file, &report.job, screen)?;
        }
        return Ok(());
    }
    fs::write(&certificate, &files.certificate).map_err(Error::file("write", certificate))?;
    forget(&disclosure)?;
    let created = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&disclosure);
    created.and_then(|mut file| file.write_all(&files.disclosure)).map_err(Error::file("write", disclosure))
}

/// Removes another job's certificate or disclosure; what was issued for this job before is not thrown away.
fn make_way(file: &Path, job: &str, screen: &Screen) -> Result<(), Error> {
    let Ok(bytes) = fs::read(file) else { return Ok(()) };
    let content: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let of = content.pointer("/statement/job").or(content.pointer("/job")).and_then(serde_json::Value::as_str);
    match of {
        Some(of) if of != job => {
            screen.say(&format!("removed {}: it is of {of}", file.display()));
            forget(file)
        }
        _ => {
            screen.say(&format!("left {} as it was; it may not belong to this report.json", file.display()));
            Ok(())
        }
    }
}

/// Removes a file that may be there.
fn forget(file: &Path) -> Result<(), Error> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::file("remove", file)(error)),
        _ => Ok(()),
    }
}

/// Draws the page of a report.json or a comparison.json again.
pub fn page(arguments: &arguments::Page) -> Result<(), Error> {
    let json = std::fs::read_to_string(&arguments.report).map_err(Error::file("read", &arguments.report))?;
    let drawn = drawn(&json).map_err(|problem| Error::NotAReport { path: arguments.report.clone(), problem })?;
    let out = arguments.out.clone().unwrap_or_else(|| arguments.report.with_extension("html"));
    std::fs::write(&out, drawn).map_err(Error::file("write", &out))?;
    output::line(out.display());
    Ok(())
}

/// A list is what comparisons found, anything else a job's report.
pub fn drawn(json: &str) -> Result<String, String> {
    let refuse = |error: serde_json::Error| shortened(error.to_string());
    if json.trim_start().starts_with('[') {
        return Ok(rewind_page::draw_comparisons(
            &Compared::read_all(json).map_err(shortened)?,
            rewind_version::VERSION_AND_COMMIT,
        ));
    }
    Ok(rewind_page::draw_report(&serde_json::from_str::<Report>(json).map_err(refuse)?))
}

#[cfg(test)]
mod tests {
    use super::{drawn, make_way};
    use crate::screen::Screen;

    #[test]
    fn a_comparison_is_drawn_again_as_it_was_without_a_fleet() {
        let all = rewind_page::samples::sample_comparisons();
        let json = serde_json::to_string(&all).unwrap();
        assert_eq!(drawn(&json).unwrap(), rewind_page::draw_comparisons(&all, rewind_version::VERSION_AND_COMMIT));
    }

    #[test]
    fn what_is_neither_report_nor_comparison_is_refused() {
        assert!(drawn("[{}]").is_err() && drawn("{}").is_err() && drawn("").is_err());
    }

    #[test]
    fn only_another_jobs_certificate_makes_way_when_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let remains = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            make_way(&file, "job-1", &Screen::new()).unwrap();
            file.exists()
        };
        assert!(remains("certificate.json", r#"{"statement":{"job":"job-1"}}"#));
        assert!(remains("disclosure.json", r#"{"job":"job-1"}"#));
        assert!(!remains("certificate.json", r#"{"statement":{"job":"job-2"}}"#));
        assert!(!remains("disclosure.json", r#"{"job":"job-2"}"#));
        assert!(remains("certificate.json", "not one of ours"));
    }
}
