//! coprocessor-prover-node
fn main() {}
