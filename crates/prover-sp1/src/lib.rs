//! coprocessor-prover-sp1
