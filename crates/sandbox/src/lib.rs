//! coprocessor-sandbox
