/// Characters of a complaint that repeats what it complains about: an answer's header has room for so many.
const LONGEST_COMPLAINT: usize = 1000;

/// The beginning of a text that somebody else may have made as long as he likes.
pub fn shortened(text: String) -> String {
    shortened_to(LONGEST_COMPLAINT, text)
}

/// The same, of so many characters.
pub fn shortened_to(characters: usize, text: String) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}
