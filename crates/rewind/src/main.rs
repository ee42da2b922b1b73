mod page;

fn main() {
    let _ = page::render as fn(&rewind_job::Report) -> String;
}
