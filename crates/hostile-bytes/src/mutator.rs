//! Ways to spoil bytes.

use std::ops::Range;

use rand::{Rng, RngExt, seq::IndexedRandom};

/// Spoils seeds: bits, lengths, ends, repetitions, pieces of other seeds; and where there is text, its numbers, strings,
/// nesting and lines.
pub struct Mutator<'a> {
    seeds: &'a [Vec<u8>],
}

/// No case is longer than this, or twice its seed.
const LONGEST: usize = 1 << 20;

const NUMBERS: [&str; 22] = [
    "0",
    "-1",
    "1",
    "255",
    "256",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "0.1",
    "-0.0",
    "1e308",
    "1e999",
    "nan",
    "inf",
    "null",
];

const TEXTS: [&str; 16] = [
    "",
    " ",
    "\\u0000",
    "../../etc/passwd",
    "/",
    "é\u{2028}\u{202e}",
    "sha256:",
    "job-18446744073709551615",
    "584542046090years",
    "18446744073709551615s",
    "0s",
    "-1s",
    "1970-01-01T00:00:00Z",
    "\\ud800",
    "%00%ff",
    "<script>alert(1)</script>",
];

/// What opens and closes a nest, for JSON and for TOML.
const NESTS: [(&str, &str); 4] =
    [("[", "]"), ("{\"a\":", "}"), ("{a=", "}"), ("{\"warm-up\":{\"epochs\":1,\"then\":", "}}")];

impl<'a> Mutator<'a> {
    /// # Panics
    /// There are no seeds.
    pub fn new(seeds: &'a [Vec<u8>]) -> Self {
        assert!(!seeds.is_empty(), "there must be something valid to spoil");
        Self { seeds }
    }

    /// A spoilt seed: a function of the random numbers.
    pub fn spoilt(&self, random: &mut impl Rng) -> Vec<u8> {
        let mut bytes = self.seeds.choose(random).cloned().unwrap_or_default();
        let longest = LONGEST.max(2 * bytes.len());
        // Mostly few: what is spoilt too much is refused at once.
        let mutations = [1, 1, 1, 2, 2, 3, 5, 8].choose(random).copied().unwrap_or(1);
        for _ in 0..mutations {
            self.mutate(&mut bytes, random);
            bytes.truncate(longest);
        }
        bytes
    }

    fn mutate(&self, bytes: &mut Vec<u8>, random: &mut impl Rng) {
        if random.random_bool(0.5) && mutate_text(bytes, random) {
            return;
        }
        match random.random_range(0..9) {
            0 => flip(bytes, random),
            1 => bytes.truncate(random.random_range(0..=bytes.len())),
            2 => drop(bytes.drain(some_range(bytes.len(), random))),
            3 => repeat(bytes, random),
            4 => insert(bytes, random),
            5 => self.splice(bytes, random),
            6 | 7 => set_integer(bytes, random),
            _ => nudge_integer(bytes, random),
        }
    }

    /// A piece of another seed in place of a piece of this one.
    fn splice(&self, bytes: &mut Vec<u8>, random: &mut impl Rng) {
        let Some(other) = self.seeds.choose(random) else { return };
        let piece = other[some_range(other.len(), random)].to_vec();
        bytes.splice(some_range(bytes.len(), random), piece);
    }
}

/// A range that is mostly short, anywhere.
fn some_range(length: usize, random: &mut impl Rng) -> Range<usize> {
    let start = random.random_range(0..=length);
    let longest = if random.random_bool(0.7) { 16 } else { length };
    start..(start + random.random_range(0..=longest)).min(length)
}

fn flip(bytes: &mut [u8], random: &mut impl Rng) {
    if let Some(at) = place(bytes.len(), 1, random) {
        bytes[at] ^= 1 << random.random_range(0..8);
    }
}

/// Mostly one of the first places, where headers are.
fn place(length: usize, width: usize, random: &mut impl Rng) -> Option<usize> {
    let last = length.checked_sub(width)?;
    let last = if random.random_bool(0.5) { last.min(64) } else { last };
    Some(random.random_range(0..=last))
}

fn repeat(bytes: &mut Vec<u8>, random: &mut impl Rng) {
    let range = some_range(bytes.len(), random);
    let times = *[1, 1, 2, 50].choose(random).unwrap_or(&1);
    let piece = bytes[range.clone()].repeat(times);
    bytes.splice(range.end..range.end, piece);
}

fn insert(bytes: &mut Vec<u8>, random: &mut impl Rng) {
    let at = random.random_range(0..=bytes.len());
    let piece: Vec<u8> = (0..random.random_range(1..=16)).map(|_| random.random()).collect();
    bytes.splice(at..at, piece);
}

/// A length, a count or an offset becomes an extreme one.
fn set_integer(bytes: &mut [u8], random: &mut impl Rng) {
    let width = *[1, 2, 4, 8].choose(random).unwrap_or(&4);
    let Some(at) = place(bytes.len(), width, random) else { return };
    let ones = u64::MAX >> (64 - 8 * width);
    let length = bytes.len() as u64;
    let extremes = [0, 1, ones, ones >> 1, (ones >> 1) + 1, ones - 7, ones / 3, length, length + 1, ones & (1 << 31)];
    let value = extremes.choose(random).copied().unwrap_or(ones);
    write_integer(&mut bytes[at..at + width], value, random.random());
}

fn nudge_integer(bytes: &mut [u8], random: &mut impl Rng) {
    let width = *[1, 2, 4, 8].choose(random).unwrap_or(&4);
    let Some(at) = place(bytes.len(), width, random) else { return };
    let (field, big_endian) = (&mut bytes[at..at + width], random.random());
    let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    let value = if big_endian { field.iter().fold(0, fold) } else { field.iter().rev().fold(0, fold) };
    let by = *[1, 2, 4, 8, 16].choose(random).unwrap_or(&1);
    let nudged = if random.random() { value.wrapping_add(by) } else { value.wrapping_sub(by) };
    write_integer(field, nudged, big_endian);
}

fn write_integer(field: &mut [u8], value: u64, big_endian: bool) {
    let width = field.len();
    match big_endian {
        true => field.copy_from_slice(&value.to_be_bytes()[8 - width..]),
        false => field.copy_from_slice(&value.to_le_bytes()[..width]),
    }
}

/// False: there is no text there.
fn mutate_text(bytes: &mut Vec<u8>, random: &mut impl Rng) -> bool {
    let Some(start) = place(bytes.len(), 1, random) else { return false };
    match random.random_range(0..7) {
        0..=2 => replace_number(bytes, start, random),
        3 => replace_string(bytes, start, random),
        4 => nest(bytes, start, random),
        5 => move_line(bytes, start, random),
        _ => misspell(bytes, start, random),
    }
}

/// The next run of bytes that `is_in` from `start` on.
fn run(bytes: &[u8], start: usize, is_in: impl Fn(&u8) -> bool) -> Option<Range<usize>> {
    let first = start + bytes[start..].iter().position(&is_in)?;
    let length = bytes[first..].iter().position(|byte| !is_in(byte)).unwrap_or(bytes.len() - first);
    Some(first..first + length)
}

fn replace_number(bytes: &mut Vec<u8>, start: usize, random: &mut impl Rng) -> bool {
    let Some(number) = run(bytes, start, |byte| byte.is_ascii_digit() || b".-".contains(byte)) else { return false };
    if random.random_bool(0.4) {
        // Of the same length, so that lengths elsewhere still fit.
        let digit = random.random_range(b'0'..=b'9');
        let one = number.start + random.random_range(0..number.len());
        let which = if random.random() { number } else { one..one + 1 };
        bytes[which].fill(digit);
    } else {
        let other = NUMBERS.choose(random).copied().unwrap_or_default();
        bytes.splice(number, other.bytes());
    }
    true
}

fn replace_string(bytes: &mut Vec<u8>, start: usize, random: &mut impl Rng) -> bool {
    let Some(open) = bytes[start..].iter().position(|&byte| byte == b'"').map(|at| start + at + 1) else {
        return false;
    };
    let Some(length) = bytes[open..].iter().position(|&byte| byte == b'"') else { return false };
    let mut other = TEXTS.choose(random).copied().unwrap_or_default().as_bytes().to_vec();
    if random.random_bool(0.1) {
        other = vec![random.random_range(b'0'..=b'z'); 100_000];
    }
    bytes.splice(open..open + length, other);
    true
}

/// Wraps a value, or opens many nests at once that nobody closes.
fn nest(bytes: &mut Vec<u8>, start: usize, random: &mut impl Rng) -> bool {
    let opens = |byte: &u8| b":=,[".contains(byte);
    let Some(at) = bytes[start..].iter().position(opens).map(|at| start + at + 1) else { return false };
    let (open, close) = NESTS.choose(random).copied().unwrap_or_default();
    let depth = *[1, 2, 100, 200, 20_000].choose(random).unwrap_or(&1);
    let closed = if random.random() { close.repeat(depth) } else { String::new() };
    bytes.splice(at..at, format!("{}1{closed}", open.repeat(depth)).into_bytes());
    true
}

/// A line, or what stands between two commas, is doubled, left out, or put elsewhere.
fn move_line(bytes: &mut Vec<u8>, start: usize, random: &mut impl Rng) -> bool {
    let end = if random.random() { b'\n' } else { b',' };
    let Some(line) = run(bytes, start, |&byte| byte != end) else { return false };
    let mut text = bytes[line.clone()].to_vec();
    text.push(end);
    let after = (line.end + 1).min(bytes.len());
    match random.random_range(0..3) {
        0 => drop(bytes.splice(after..after, text)),
        1 => drop(bytes.drain(line.start..after)),
        _ => {
            bytes.drain(line.start..after);
            let to = random.random_range(0..=bytes.len());
            let to = bytes[to..].iter().position(|&byte| byte == end).map_or(bytes.len(), |at| to + at + 1);
            bytes.splice(to..to, text);
        }
    }
    true
}

fn misspell(bytes: &mut Vec<u8>, start: usize, random: &mut impl Rng) -> bool {
    let Some(word) = run(bytes, start, |byte| byte.is_ascii_alphabetic() || b"-_".contains(byte)) else { return false };
    match random.random_range(0..3) {
        0 => drop(bytes.drain(word)),
        1 => bytes[word].reverse(),
        _ => {
            let other = run(bytes, random.random_range(0..bytes.len()), u8::is_ascii_alphabetic);
            let other = other.map(|other| bytes[other].to_vec()).unwrap_or_default();
            bytes.splice(word, other);
        }
    }
    true
}
