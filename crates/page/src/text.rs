//! How words and numbers are written on the page. Everything that was not written here is escaped.

use std::fmt;

use rewind_comparison::Interval;

/// What stands where nothing was measured.
pub const NOTHING: &str = "–";

/// Text from outside, safe in HTML and in quoted attributes.
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' | '\t' => f.write_char(character)?,
                control if control.is_control() => f.write_char('\u{fffd}')?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// A name from outside; its writing direction cannot leak into the page.
pub fn name(text: &str) -> String {
    format!("<bdi>{}</bdi>", Escaped(text))
}

/// `97.8`; a minus sign that is one; a dash where nothing finite was measured.
pub fn decimal(value: impl Into<Option<f64>>, places: usize) -> String {
    match value.into() {
        Some(value) if value.is_finite() => {
            let text = format!("{value:.places$}");
            match text.strip_prefix('-') {
                Some(zero) if zero.chars().all(|c| c == '0' || c == '.') => zero.to_owned(),
                Some(positive) => format!("−{positive}"),
                None => text,
            }
        }
        _ => NOTHING.to_owned(),
    }
}

/// `94.6 ± 0.4`: a mean and half its interval, which one value does not have.
pub fn with_half(interval: Interval, places: usize) -> String {
    let half = interval.half().map_or(String::new(), |half| format!(" ± {}", decimal(half, places)));
    decimal(interval.mean, places) + &half
}

/// `a`, `a and b`, `a, b and c`.
pub fn list(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// `97.8 %` or a dash.
pub fn percent(value: impl Into<Option<f64>>) -> String {
    match value.into() {
        Some(value) if value.is_finite() => format!("{} %", decimal(value, 1)),
        _ => NOTHING.to_owned(),
    }
}

/// `0.4 s`, `42 s`, `3 min 05 s`, `2 h 10 min`.
pub fn seconds(value: f64) -> String {
    if !value.is_finite() || value < 0.0 {
        return NOTHING.to_owned();
    }
    if value < 9.95 {
        return format!("{value:.1} s");
    }
    let whole = value.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `812 B`, `3.4 MB`, powers of a thousand.
pub fn bytes(value: u64) -> String {
    let mut scaled = value as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if scaled < 999.5 {
            return if unit == "B" || scaled >= 99.95 {
                format!("{scaled:.0} {unit}")
            } else {
                format!("{scaled:.1} {unit}")
            };
        }
        scaled /= 1000.0;
    }
    format!("{scaled:.1} TB")
}

/// `4,000`.
pub fn count(value: impl Into<Option<u64>>) -> String {
    let Some(value) = value.into() else { return NOTHING.to_owned() };
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 worker`, `2 workers`.
pub fn plural(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { many })
}

/// `2026-11-23 06:31:05 UTC` of unix milliseconds.
pub fn instant(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days as i64);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3600, second % 3600 / 60, second % 60)
}

/// The Gregorian date of a day counted from 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(decimal(97.849, 1), "97.8");
        assert_eq!(decimal(-3.25, 1), "−3.2");
        assert_eq!(decimal(-0.01, 1), "0.0");
        assert_eq!(decimal(None, 1), "–");
        assert_eq!(decimal(f64::NAN, 1), "–");
        assert_eq!(seconds(0.44), "0.4 s");
        assert_eq!(seconds(59.6), "1 min 00 s");
        assert_eq!(seconds(3725.0), "1 h 02 min");
        assert_eq!(bytes(812), "812 B");
        assert_eq!(bytes(3_400_000), "3.4 MB");
        assert_eq!(bytes(999_600), "1.0 MB");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(None), "–");
        assert_eq!(with_half(Interval { mean: 2.5, low: Some(2.0), high: Some(3.0) }, 1), "2.5 ± 0.5");
        assert_eq!(with_half(Interval { mean: 2.5, low: None, high: None }, 1), "2.5");
        assert_eq!(list(&["a".into(), "b".into(), "c".into()]), "a, b and c");
    }

    #[test]
    fn instants_are_dates() {
        assert_eq!(instant(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(instant(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(instant(1_795_415_465_123), "2026-11-23 06:31:05 UTC");
    }

    #[test]
    fn markup_becomes_text() {
        let hostile = "<script>alert('x')</script>&\"\u{7}";
        assert_eq!(Escaped(hostile).to_string(), "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;\u{fffd}");
    }
}
