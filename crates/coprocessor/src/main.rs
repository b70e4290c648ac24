//! coprocessor
fn main() {}
