//! Where a section stands and who is in it: ids, heading level, and the series of every name.

use rewind_job::Report;

use super::{chart::Series, text::name};
use rewind_comparison::Compared;

/// Sections that a job's page and a comparison's page share are drawn on one of these.
pub struct Stage {
    /// Begins the ids of its drawings.
    pub id: String,
    /// `h2` or `h3`.
    heading: &'static str,
    /// References first, then methods.
    cast: Vec<(String, Series)>,
}

impl Stage {
    pub fn of_job(report: &Report) -> Self {
        let references = [(&report.pretrained, Series::PRETRAINED), (&report.retrain, Series::RETRAIN)];
        let references = references.into_iter().filter_map(|(measured, series)| Some((measured.as_ref()?, series)));
        let methods = report.methods.iter().enumerate().map(|(index, method)| (method, Series(index)));
        let cast = references.chain(methods).map(|(measured, series)| (measured.name.clone(), series)).collect();
        Self { id: String::new(), heading: "h2", cast }
    }

    pub fn of_comparison(index: usize, compared: &Compared) -> Self {
        let contestants = compared.contestants();
        let references = contestants.iter().filter(|(_, group, _)| *group == "reference").map(|(name, _, _)| *name);
        let references = references.zip([Series::PRETRAINED, Series::RETRAIN]);
        let methods = compared.methods.iter().enumerate().map(|(at, method)| (method.name.as_str(), Series(at)));
        let cast = references.chain(methods).map(|(name, series)| (name.to_owned(), series)).collect();
        Self { id: format!("comparison-{index}-"), heading: "h3", cast }
    }

    /// Names that are not in it come after all that are.
    pub fn series(&self, name: &str) -> Series {
        let found = self.cast.iter().find(|(known, _)| known == name);
        found.map_or(Series(self.cast.len()), |(_, series)| *series)
    }

    pub fn section(&self, title: &str, body: &str) -> String {
        format!("<section>\n<{0}>{title}</{0}>\n{body}</section>\n", self.heading)
    }

    /// Entries for the names that are drawn.
    pub fn legend<'a>(&self, names: impl IntoIterator<Item = &'a str>, further: &str) -> String {
        let entries: String =
            names.into_iter().map(|who| format!("<li>{}{}</li>\n", self.series(who).key(), name(who))).collect();
        format!("<ul class=\"legend\">\n{entries}{further}</ul>\n")
    }
}
