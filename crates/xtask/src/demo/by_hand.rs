//! How to go on after the demo.

use crate::{
    cargo::Programs,
    service::{Backend, Guest},
    terminal::{field, heading, line},
};
use std::path::Path;

/// While both programs still run.
pub(super) fn show_running(programs: &Programs, client_url: &str, prover_url: &str, guest: &Guest, kept: &Path) {
    heading("Both programs run until Ctrl-C");
    field("reader's page", format!("{client_url}/"));
    field("prover node", prover_url);
    field("logs", kept.display());
    line("");
    line(format!("  export COPROCESSOR_URL={client_url}"));
    show_requests(guest);
    line("  cargo coprocessor tasks");
    line(format!("  {} verify {}", programs.coprocessor.display(), kept.join("proof.json").display()));
}

/// After both have ended.
pub(super) fn show_how_to_start(programs: &Programs, backend: Backend, guest: &Guest) {
    heading("To go on by hand");
    line("  export VALENCE_PROVER_SECRET=$(head -c 32 /dev/urandom | base64)");
    line(format!("  {} --backend {} --data-dir data/prover &", programs.prover.display(), backend.as_str()));
    line(format!(
        "  {} serve --data-dir data/coprocessor --prover http://127.0.0.1:37282 &",
        programs.coprocessor.display()
    ));
    line("");
    match backend {
        Backend::Groth16 => line(format!(
            "  cargo coprocessor deploy --name {} --controller examples/threshold/artifacts/controller.wasm --circuit {}",
            guest.name,
            guest.circuit_path.display()
        )),
        Backend::Sp1 | Backend::Mock => line(format!("  cargo coprocessor deploy guests/{}", guest.name)),
    }
    show_requests(guest);
    line("  cargo coprocessor new my-guest        # a guest program of your own");
    line("\n`cargo xtask demo --keep` leaves both running, with this program deployed.");
}

/// After all has ended, of a guest whose chain has ended too.
pub(super) fn show_how_to_keep(guest: &Guest, backend: Backend) {
    let mock = if backend == Backend::Mock { " --mock" } else { "" };
    heading("To go on by hand");
    line(format!("  cargo xtask demo --guest {}{mock} --keep", guest.name));
    line(
        "\nleaves both programs and the chain running, with this program deployed. The README says how a service gets to chains of its own.",
    );
}

fn show_requests(guest: &Guest) {
    let name = &guest.name;
    line(format!("  cargo coprocessor prove {name} --args '{}' --store /proofs/second.bin", guest.example));
    line(format!("  cargo coprocessor files -p {name} ls /proofs"));
}
