//! Writing to standard output, which may be closed at any time.

use std::{
    borrow::Cow,
    io::{self, Write},
    sync::OnceLock,
};

/// Why standard output could not be written, the first time.
static FAILURE: OnceLock<String> = OnceLock::new();

/// Prints one line. A reader that has gone (`rewind jobs | head -1`) wants no more, and that is no failure; what cannot be
/// written for another reason is remembered for the end of the program. Neither ends what is under way.
pub fn line(text: impl std::fmt::Display) {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{}", shown(&text.to_string())).and_then(|()| out.flush());
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        // Of several failures the first one counts.
        let _ = FAILURE.set(error.to_string());
    }
}

/// What kept something from being printed; none where all was, or its reader has gone.
pub fn failure() -> Option<&'static str> {
    FAILURE.get().map(String::as_str)
}

/// What others have named must not move a terminal's cursor: control characters are shown as text, but for the ends of
/// lines and tabulators.
pub fn shown(text: &str) -> Cow<'_, str> {
    escape(text, |c| c.is_control() && !matches!(c, '\n' | '\t'))
}

/// The same, in one line.
pub fn in_one_line(text: &str) -> String {
    escape(text, char::is_control).into_owned()
}

fn escape(text: &str, is_odd: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_odd) {
        return Cow::Borrowed(text);
    }
    let one = |c: char| if is_odd(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(one).collect())
}

/// Prints a value as JSON.
pub fn json(value: &impl serde::Serialize) {
    line(serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}")));
}

/// Columns as wide as their longest cell; the first is aligned left, the others right.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let lines = rows.iter().map(|row| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(
                |(column, (cell, width))| {
                    if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                },
            )
            .collect();
        cells.join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Names and values, the values below one another.
pub fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines: Vec<String> = pairs.iter().map(|(name, value)| format!("{name:<width$}  {value}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_others_have_named_cannot_move_the_cursor() {
        assert_eq!(super::shown("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\nc");
        assert_eq!(super::in_one_line("a\nb\u{7}"), "a\\nb\\u{7}");
        assert_eq!(super::shown("λ = 0.3 ± 1"), "λ = 0.3 ± 1");
    }

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["a".into(), "–".into()], vec!["long".into(), "12.5".into()]];
        assert_eq!(super::table(&rows), "a        –\nlong  12.5");
    }
}
