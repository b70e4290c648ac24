//! coprocessor-engine
