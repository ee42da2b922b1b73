//! `rewind demo`: fleet, job, report, and the fleet is gone again.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Instant,
};

use rewind_job::{Action, IdxFiles, Measured, Method, Pool, Report, Source, Specification, Unlearn, WorldSize};

use rewind_client::Client;

use crate::{
    arguments::Demo,
    commands::{
        follow::{finished, follow},
        report::fetch,
        search::search,
    },
    devices::LocalDevice,
    error::Error,
    fleet::{Fleet, clear},
    output,
    screen::Screen,
    signals::Signals,
};

const SPECIFICATION: &str = include_str!("../../../../examples/demo.toml");

pub async fn run(demo: Demo) -> Result<(), Error> {
    let started = Instant::now();
    let specification = specification(&demo)?;
    let screen = Screen::new();
    let mut signals = Signals::listen()?;
    let dir = demo.out.join("fleet");
    clear(&dir)?;
    screen.say(&format!("starting a coordinator and {} workers in {}", demo.workers, dir.display()));
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut fleet = tokio::select! {
        fleet = Fleet::start(&dir, demo.workers, LocalDevice::Cpu, any_port, false) => fleet?,
        () = signals.next() => return Err(Error::Interrupted),
    };
    let address = fleet.address.clone();
    let result = tokio::select! {
        result = work(&demo, specification, &address, &screen) => result,
        never = fleet.keep(&screen) => match never {},
        () = signals.next() => Err(Error::Interrupted),
    };
    screen.rest();
    tokio::select! {
        () = fleet.stop(&screen) => {}
        () = signals.next() => {}
    }
    let text = result?;
    output::line(format!("{text}\nIt took {}.", rewind_page::seconds(started.elapsed().as_secs_f64())));
    Ok(())
}

async fn work(demo: &Demo, specification: Specification, address: &str, screen: &Screen) -> Result<String, Error> {
    let mut client = Client::connect_to(address).await?;
    if demo.search {
        return search(&mut client, &specification, &demo.grid, &demo.out, screen).await;
    }
    let job = client.submit(&specification).await?;
    finished(&follow(&mut client, &job, screen).await?)?;
    let report = fetch(&mut client, &job, &demo.out, false, screen).await?;
    Ok(summary(&report, &demo.out))
}

/// The example, with its files where the user has them.
fn specification(demo: &Demo) -> Result<Specification, Error> {
    let here = std::env::current_dir().map_err(|source| Error::System { what: "find the current folder", source })?;
    let refused = |error: rewind_job::SpecificationError| Error::Specification(error.to_string());
    let mut specification = Specification::parse(SPECIFICATION, &here.join("examples")).map_err(refused)?;
    if let Some(Pool::Idx(IdxFiles { images, labels })) = &mut specification.data.pool {
        for file in [images, labels] {
            *file = moved(file, &here.join(&demo.data));
        }
    }
    for step in &mut specification.steps {
        if let Action::Unlearn(Unlearn { method: Method::Rewinding(rewinding), .. }) = &mut step.action
            && let Source::File(predictor) = &mut rewinding.predictor
        {
            *predictor = moved(predictor, &here.join(&demo.predictors));
        }
    }
    // The log belongs to the checkout; the demonstration runs without it, too.
    specification.search_log = specification.search_log.filter(|log| log.is_file());
    specification.fleet.world_size = WorldSize(demo.workers);
    specification.check().map_err(refused)?;
    for (field, file) in specification.files() {
        if !file.is_file() {
            return Err(Error::Usage(format!(
                "{field}: {} is missing; `rewind doctor` says what to do, --data and --predictors name other folders",
                file.display()
            )));
        }
    }
    Ok(specification)
}

fn moved(file: &Path, folder: &Path) -> PathBuf {
    file.file_name().map_or_else(|| folder.to_owned(), |name| folder.join(name))
}

fn summary(report: &Report, out: &Path) -> String {
    let mia = ["MIA (SVC, confidence)", "MIA (logistic, loss)"];
    let head = ["method", "RA", "UA", "TA", mia[0], "average gap", mia[1], "time", "epochs on D_f", "moved"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(report.measured().map(row));
    let mut text = format!("\n{}\n", output::table(&rows));
    if !report.recovered.is_empty() {
        text.push_str("\nWon back of Retrain's gain in test accuracy:\n");
        let rows: Vec<Vec<String>> = report
            .recovered
            .iter()
            .map(|recovered| {
                vec![
                    format!("  {}", recovered.name),
                    format!("{} %", rewind_page::decimal(recovered.percent, 1)),
                    format!("(best round in hindsight: {} %)", rewind_page::decimal(recovered.oracle_percent, 1)),
                ]
            })
            .collect();
        text.push_str(&format!("{}\n", output::table(&rows)));
    }
    for warning in &report.warnings {
        text.push_str(&format!("\nwarning: {warning}"));
    }
    text.push_str(&format!("\nThe whole report: {}", out.join("report.html").display()));
    text
}

fn row(measured: &Measured) -> Vec<String> {
    let on_losses = measured.loss_attack.as_ref().and_then(|attack| attack.accuracy);
    let figures = [measured.ra, measured.ua, measured.ta, measured.mia, measured.average_gap, on_losses];
    std::iter::once(measured.name.clone())
        .chain(figures.map(|figure| rewind_page::decimal(figure, 1)))
        .chain([
            rewind_page::seconds(measured.seconds),
            rewind_page::decimal(measured.forget_epochs, 0),
            rewind_page::bytes(measured.bytes_moved),
        ])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demonstration_has_the_four_methods_and_an_evaluation() {
        let specification = Specification::parse(SPECIFICATION, Path::new("examples")).unwrap();
        let names: Vec<&str> = specification.steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "pretrained",
                "retrain",
                "rewinding",
                "task-vector",
                "task-vector-per-operation",
                "neg-grad",
                "evaluation"
            ]
        );
    }

    #[test]
    fn files_keep_their_names_in_another_folder() {
        assert_eq!(moved(Path::new("/a/../b/c.bin"), Path::new("/d")), Path::new("/d/c.bin"));
    }
}
