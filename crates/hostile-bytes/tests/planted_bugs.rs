//! That hostile bytes find bugs: parsers with one known bug each, which must be found.

use std::{fs, panic};

use rewind_hostile_bytes::{Answer, Parser};

/// `count`, `size` (four bytes each, little-endian), then `count` records of `size` bytes.
fn records(bytes: &[u8]) -> Result<(u32, u32, &[u8]), String> {
    let field = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    match (field(0), field(4)) {
        (Some(count), Some(size)) => Ok((count, size, &bytes[8..])),
        _ => Err("ends inside its header".into()),
    }
}

fn sound(bytes: &[u8]) -> Answer {
    let (count, size, rest) = records(bytes)?;
    let expected = u64::from(count) * u64::from(size);
    if rest.len() as u64 == expected { Ok(()) } else { Err(format!("has {} bytes, not {expected}", rest.len())) }
}

fn multiplies_without_a_look(bytes: &[u8]) -> Answer {
    let (count, size, rest) = records(bytes)?;
    if rest.len() == (count * size) as usize { Ok(()) } else { Err("has another length".into()) }
}

fn reserves_what_it_is_told(bytes: &[u8]) -> Answer {
    let (count, size, rest) = records(bytes)?;
    let mut data: Vec<u8> = Vec::with_capacity((u64::from(count) * u64::from(size)).min(1 << 30) as usize);
    data.extend(rest);
    sound(bytes)
}

fn cuts_past_the_end(bytes: &[u8]) -> Answer {
    let (count, size, rest) = records(bytes)?;
    let whole = u64::from(count) * u64::from(size);
    (0..u64::from(count).min(8)).for_each(|i| drop(rest[(i * u64::from(size)) as usize..].to_vec()));
    if rest.len() as u64 == whole { Ok(()) } else { Err("has another length".into()) }
}

fn says_nothing(bytes: &[u8]) -> Answer {
    sound(bytes).map_err(|_| String::new())
}

fn goes_on_for_ever(bytes: &[u8]) -> Answer {
    let (count, ..) = records(bytes)?;
    (0..count.min(400_000_000)).for_each(|i| drop(std::hint::black_box(vec![i])));
    sound(bytes)
}

fn unwraps_a_number(bytes: &[u8]) -> Answer {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let (_, number) = text.split_once("size = ").ok_or("has no size")?;
    let number: u64 = number.trim().parse().map_err(|_| "its size is no number")?;
    if u8::try_from(number).expect("a size is small") > 0 { Ok(()) } else { Err("its size is 0".into()) }
}

fn found(seed: &[u8], read: fn(&[u8]) -> Answer, what: &str) {
    let seeds = [seed.to_vec()];
    let failure = panic::catch_unwind(|| Parser::of("planted bugs").cases(2000).run(&seeds, read)).expect_err(what);
    let message = failure.downcast_ref::<String>().expect("a panic has words");
    assert!(message.contains(what) && message.contains("HOSTILE_SEED="), "{message}");
    let bytes = message.lines().find_map(|line| line.trim().strip_prefix("its bytes: ")).expect("names the case");
    fs::remove_file(bytes).expect("the case is kept");
}

#[test]
fn planted_bugs_are_found() {
    let seed = [[3, 0, 0, 0, 2, 0, 0, 0].as_slice(), b"abcdef"].concat();
    Parser::of("planted bugs").run(std::slice::from_ref(&seed), sound);
    found(&seed, multiplies_without_a_look, "attempt to multiply with overflow");
    found(&seed, reserves_what_it_is_told, "bytes of memory");
    found(&seed, cuts_past_the_end, "out of range");
    found(&seed, says_nothing, "refused without a reason");
    found(&seed, goes_on_for_ever, "of processor time");
    found(b"name = \"a\"\nsize = 12\n", unwraps_a_number, "a size is small");
}

#[test]
fn a_parser_that_refuses_nothing_is_found() {
    let everything = panic::catch_unwind(|| Parser::of("everything").cases(50).run(&[b"valid".to_vec()], |_| Ok(())));
    let message = everything.expect_err("it reads everything");
    assert!(message.downcast_ref::<String>().is_some_and(|text| text.contains("none of 50")));
}
