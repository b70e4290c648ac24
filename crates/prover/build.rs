//! Compiles the protocol, without a protoc on the machine.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["prover.proto"], ["proto"])?;
    let descriptors = PathBuf::from(env::var("OUT_DIR")?).join("prover.bin");
    fs::write(descriptors, protox::prost::Message::encode_to_vec(&files))?;
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    Ok(())
}
