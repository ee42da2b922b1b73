//! Progress for people, on standard error: bars on a terminal, plain lines elsewhere.

use std::{
    cell::RefCell,
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rewind_job::{JobState, JobStatus};

use rewind_page::seconds;

use crate::output::{in_one_line, shown};

/// Where lines go while bars may be drawn.
pub struct Screen {
    bars: Option<MultiProgress>,
    board: RefCell<Board>,
}

#[derive(Default)]
struct Board {
    head: Option<ProgressBar>,
    steps: Vec<ProgressBar>,
    current: Option<(usize, Instant)>,
    /// Plain lines: what was said last.
    said: Option<(JobState, String, usize, u64)>,
}

const TENTHS: f64 = 10.0;

impl Screen {
    pub fn new() -> Self {
        let can_move = std::env::var("TERM").is_ok_and(|term| !term.is_empty() && term != "dumb");
        let bars = (can_move && std::io::stderr().is_terminal()).then(MultiProgress::new);
        Self { bars, board: RefCell::default() }
    }

    /// One line for people.
    pub fn say(&self, text: &str) {
        match &self.bars {
            Some(bars) if self.board.borrow().head.is_some() => {
                // Nobody to tell when standard error is gone.
                let _ = bars.println(shown(text));
            }
            _ => say_plainly(text),
        }
    }

    /// Shows where a job stands.
    pub fn show(&self, status: &JobStatus) {
        let mut board = self.board.borrow_mut();
        match &self.bars {
            Some(bars) => board.draw(bars, status),
            None => board.print(status),
        }
    }

    /// Leaves the bars as they are and goes on below them.
    pub fn rest(&self) {
        let board = std::mem::take(&mut *self.board.borrow_mut());
        for bar in board.steps.iter().chain(&board.head) {
            bar.abandon();
        }
    }
}

impl Board {
    fn draw(&mut self, bars: &MultiProgress, status: &JobStatus) {
        if self.head.is_none() {
            let head = bars.add(ProgressBar::new_spinner().with_style(style("{spinner} {msg}")));
            head.enable_steady_tick(Duration::from_millis(120));
            self.head = Some(head);
            let width = status.steps.iter().map(|step| step.chars().count()).max().unwrap_or(0);
            for step in &status.steps {
                let bar = ProgressBar::new(1000)
                    .with_style(style("  · {prefix}"))
                    .with_prefix(in_one_line(&format!("{step:<width$}")));
                self.steps.push(bars.add(bar));
            }
            self.steps.iter().for_each(ProgressBar::tick);
        }
        if let Some(head) = &self.head {
            let text = format!("{} · {} · {}", status.job, state_name(status.state), status.reason);
            head.set_message(in_one_line(&text));
        }
        let now = Instant::now();
        let place = place(status);
        if let Some(place) = place
            && self.current.is_none_or(|(current, _)| current != place)
        {
            let since = self.current.filter(|(current, _)| *current < place).map(|(_, since)| since);
            for (index, bar) in self.steps.iter().enumerate().take(place) {
                let is_just_done = self.current.is_some_and(|(current, _)| current == index);
                bar.set_style(style("  ✓ {prefix}  {msg}"));
                if let Some(since) = since.filter(|_| is_just_done) {
                    bar.set_message(seconds(now.duration_since(since).as_secs_f64()));
                } else if bar.position() == 0 {
                    bar.set_message(if self.current.is_none() { "done before" } else { "done" });
                }
                bar.abandon();
            }
            if let Some(bar) = self.steps.get(place) {
                bar.set_style(style("  ▸ {prefix}  {bar:28.cyan/dim}  {msg}"));
            }
            self.current = Some((place, now));
        }
        if let (Some(progress), Some(place)) = (&status.progress, place)
            && let Some(bar) = self.steps.get(place)
        {
            bar.set_position((progress.fraction.clamp(0.0, 1.0) * 1000.0) as u64);
            bar.set_message(in_one_line(strip_step(&progress.text)));
        }
        if status.state.is_final()
            && let Some(head) = &self.head
        {
            head.abandon();
        }
    }

    fn print(&mut self, status: &JobStatus) {
        let step = place(status).unwrap_or(0);
        let tenth = status.progress.as_ref().map_or(0, |progress| (progress.fraction * TENTHS) as u64);
        let news = (status.state, status.reason.clone(), step, tenth);
        if self.said.as_ref() == Some(&news) {
            return;
        }
        let state_is_news = self.said.as_ref().is_none_or(|(state, reason, ..)| *state != news.0 || *reason != news.1);
        if state_is_news {
            say_plainly(&in_one_line(&format!("{}: {}: {}", status.job, state_name(status.state), status.reason)));
        } else if let Some(progress) = &status.progress {
            let percent = (progress.fraction * 100.0).clamp(0.0, 100.0);
            let (job, text, all) = (&status.job, &progress.text, status.steps.len());
            say_plainly(&in_one_line(&format!("{job}: {text} ({percent:.0} % of step {} of {all})", step + 1)));
        }
        self.said = Some(news);
    }
}

/// One line on standard error, which may be gone: nobody is left to be told so.
pub fn say_plainly(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", shown(text));
}

/// The step a job is in, counted from 0; all of them when it has finished.
fn place(status: &JobStatus) -> Option<usize> {
    if status.state == JobState::Finished {
        return Some(status.steps.len());
    }
    let progress = status.progress.as_ref().map(|progress| progress.step);
    progress.or(status.committed.map(|(step, _)| step)).map(|step| step.0 as usize)
}

/// `pretrained: epoch 3 of 20` beside the step's name needs no name.
fn strip_step(text: &str) -> &str {
    text.split_once(": ").map_or(text, |(_, rest)| rest)
}

pub fn state_name(state: JobState) -> &'static str {
    state.name()
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("━╸─")
}
