/// Bytes of a complaint that repeats what it complains about, as an answer's header has them. A field and what is wrong
/// with it, both shortened, stay below 4 KB; clients take a header of 16 KB, and gRPC writes `é` as `%C3%A9`.
const LONGEST_COMPLAINT: usize = 1500;

/// The beginning of a text that somebody else may have made as long as he likes: fit for an answer's header.
pub fn shortened(text: String) -> String {
    let mut bytes = 0;
    let end = text.char_indices().find(|(_, character)| {
        bytes += in_a_header(*character);
        bytes > LONGEST_COMPLAINT
    });
    cut(text, end)
}

/// The same, of so many characters.
pub fn shortened_to(characters: usize, text: String) -> String {
    let end = text.char_indices().nth(characters);
    cut(text, end)
}

fn cut(text: String, end: Option<(usize, char)>) -> String {
    match end {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}

/// At most: some signs are written as they are, too.
fn in_a_header(character: char) -> usize {
    if character.is_ascii_alphanumeric() { 1 } else { 3 * character.len_utf8() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_fits_a_header_whatever_its_letters() {
        for letter in ["x", " ", "é", "🦀"] {
            let short = shortened(letter.repeat(100_000));
            let in_header: usize = short.chars().map(in_a_header).sum();
            assert!((1400..1600).contains(&in_header), "{letter}: {in_header}");
            assert!(short.starts_with(letter) && short.ends_with(&format!("({} bytes)", 100_000 * letter.len())));
        }
        let fits = "x".repeat(LONGEST_COMPLAINT);
        assert_eq!(shortened(fits.clone()), fits);
    }
}
