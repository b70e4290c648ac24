//! coprocessor-cli
fn main() {}
