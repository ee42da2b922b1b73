//! Steps as files.

/// Most bytes of a step's name: with an ending it must be a file's name.
pub const LONGEST_STEP_NAME: usize = 200;

/// A step's name as a file name that stays in its folder.
pub fn file_name(step: &str) -> String {
    let name: String =
        step.chars().map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' }).collect();
    if name.starts_with('.') { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_names_cannot_leave_their_folder() {
        assert_eq!(file_name("task-vector"), "task-vector");
        assert_eq!(file_name("../../x"), "_.._.._x");
        assert_eq!(file_name("a/b c"), "a_b_c");
    }
}
