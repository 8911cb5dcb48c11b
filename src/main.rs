//! todoke
fn main() {}
