//! Each event of a log is one line, with the fields of the spans around it.

mod fields;

use std::{fmt::Write as _, io::Write as _};

use fields::Fields;
use serde_json::{Map, Value as Json};
use tracing::{Event, Level, Metadata, Subscriber, span};
use tracing_subscriber::{
    Layer,
    fmt::{
        MakeWriter,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    layer::Context,
    registry::LookupSpan,
};

use crate::Format;

/// What every line of JSON has; a field of such a name gets [`RENAMED`] before it.
const ALWAYS: [&str; 5] = ["timestamp", "level", "target", "message", "span"];
const RENAMED: &str = "field.";

/// Writes the lines. Whatever is said in a message or a field, it stays within its line.
pub struct LogLines<W> {
    pub format: Format,
    pub writer: W,
    pub colours: bool,
}

impl<S, W> Layer<S> for LogLines<W>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        // Before the span is locked: what writes a value may log too.
        let mut recorded = Fields::default();
        values.record(&mut recorded);
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            fields.replace(recorded);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut said = Fields::default();
        event.record(&mut said);
        let mut spans = Vec::new();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            spans.push((span.name(), span.extensions().get::<Fields>().cloned().unwrap_or_default()));
        }
        let mut line = match self.format {
            Format::Text => text(event.metadata(), &spans, &said, self.colours),
            Format::Json => json(event.metadata(), spans, said),
        };
        line.push('\n');
        // A log that cannot be written must not stop the program.
        let _ = self.writer.make_writer_for(event.metadata()).write_all(line.as_bytes());
    }
}

fn now() -> String {
    let mut time = String::new();
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    time
}

/// All fields stand side by side: those of inner spans replace those of outer ones, and the event's replace them all.
fn json(metadata: &Metadata<'_>, spans: Vec<(&'static str, Fields)>, said: Fields) -> String {
    let names: Vec<&str> = spans.iter().map(|(name, _)| *name).collect();
    let (target, message) = (said.target.as_deref().unwrap_or(metadata.target()), said.message.as_deref());
    let always = [
        ("timestamp", now()),
        ("level", metadata.level().to_string()),
        ("target", target.to_owned()),
        ("message", message.unwrap_or_default().to_owned()),
        ("span", names.join(":")),
    ];
    let mut line = String::from("{");
    for (name, value) in always.iter().filter(|(name, value)| *name != "span" || !value.is_empty()) {
        let _ = write!(line, "{}:{},", Json::from(*name), Json::from(value.as_str()));
    }
    let mut all = Map::new();
    for fields in spans.into_iter().map(|(_, fields)| fields).chain([said]) {
        for (name, value) in fields.values {
            let name = if ALWAYS.contains(&name) { format!("{RENAMED}{name}") } else { name.to_owned() };
            all.insert(name, value.into_json());
        }
    }
    for (name, value) in all {
        let _ = write!(line, "{}:{value},", Json::from(name));
    }
    line.pop();
    line.push('}');
    escape_json(&line)
}

/// JSON allows some characters that terminals and some readers of lines take for more than text; none of them stands
/// outside of a string.
fn escape_json(line: &str) -> String {
    let mut escaped = String::with_capacity(line.len());
    for character in line.chars() {
        if fields::is_unsafe(character) {
            let _ = write!(escaped, "\\u{:04x}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

const BOLD: &str = "1";
const DIM: &str = "2";
const ITALIC: &str = "3";

/// `TIME LEVEL span{field=value}: target: message field=value`
fn text(metadata: &Metadata<'_>, spans: &[(&'static str, Fields)], said: &Fields, colours: bool) -> String {
    let paint = |style: &str, text: &str| if colours { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() };
    let show = |fields: &Fields| {
        let shown =
            fields.values.iter().map(|(name, value)| format!("{}{}{value}", paint(ITALIC, name), paint(DIM, "=")));
        shown.collect::<Vec<_>>().join(" ")
    };
    let level = paint(colour(*metadata.level()), &format!("{:>5}", metadata.level().as_str()));
    let mut line = format!("{} {level} ", paint(DIM, &now()));
    for (name, fields) in spans {
        line.push_str(&paint(BOLD, name));
        if !fields.values.is_empty() {
            let _ = write!(line, "{}{}{}", paint(BOLD, "{"), show(fields), paint(BOLD, "}"));
        }
        line.push_str(&paint(DIM, ":"));
    }
    if !spans.is_empty() {
        line.push(' ');
    }
    let target = said.target.as_deref().unwrap_or(metadata.target());
    let _ = write!(line, "{}{}", paint(DIM, &fields::escaped(target)), paint(DIM, ":"));
    if let Some(message) = &said.message {
        let _ = write!(line, " {}", fields::escaped(message));
    }
    if !said.values.is_empty() {
        let _ = write!(line, " {}", show(said));
    }
    line
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "31",
        Level::WARN => "33",
        Level::INFO => "32",
        Level::DEBUG => "34",
        Level::TRACE => "35",
    }
}

#[cfg(test)]
mod tests;
