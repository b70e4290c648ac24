//! How to go on after the demo.

use crate::{
    cargo::Programs,
    service::Backend,
    terminal::{field, heading, line},
};
use std::path::Path;

/// While both programs still run.
pub(super) fn show_running(programs: &Programs, url: &str, prover_url: &str, kept: &Path) {
    heading("Both programs run until Ctrl-C");
    field("reader's page", format!("{url}/"));
    field("prover node", prover_url);
    field("logs", kept.display());
    line("");
    line(format!("  export COPROCESSOR_URL={url}"));
    line("  cargo coprocessor tasks");
    line("  cargo coprocessor --help");
    line(format!("  curl -s {url}/api/v1/programs"));
    line(format!("  {} verify {}", programs.coprocessor.display(), kept.join("proof.json").display()));
}

/// After both have ended.
pub(super) fn show_how_to_start(programs: &Programs, backend: Backend, guest: &str) {
    heading("To go on by hand");
    line("  export VALENCE_PROVER_SECRET=$(head -c 32 /dev/urandom | base64)");
    line(format!("  {} --backend {} --data-dir data/prover &", programs.prover.display(), backend.as_str()));
    line(format!(
        "  {} serve --data-dir data/coprocessor --prover http://127.0.0.1:37282 &",
        programs.coprocessor.display()
    ));
    line("");
    line(format!(
        "  cargo coprocessor deploy --controller guests/{guest}/artifacts/controller.wasm \\\n      \
         --circuit guests/{guest}/artifacts/circuit.elf"
    ));
    line("  cargo coprocessor prove --help");
    line("  cargo coprocessor new my-guest        # a guest program of your own");
    line("\n`cargo xtask demo --keep` leaves both running, with this program deployed.");
}
