//! coprocessor-vfs
