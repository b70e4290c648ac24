//! A proof in a file, verified by a process of its own, and forgeries of it.

use anyhow::{Context, Result, bail};
use coprocessor_api::ProofView;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// A proof as `GET /api/v1/tasks/{id}/proof` answers it, in a file.
pub(super) struct ProofFile(PathBuf);

/// What `coprocessor verify` came to.
pub(super) struct Verdict {
    /// Whether the proof holds.
    pub(super) valid: bool,
    /// What it wrote.
    pub(super) said: String,
}

impl ProofFile {
    /// Writes it.
    pub(super) fn write(path: &Path, proof: &ProofView) -> Result<Self> {
        std::fs::write(path, serde_json::to_vec(proof)?).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Deletes it.
    pub(super) fn remove(self) -> Result<()> {
        Ok(std::fs::remove_file(self.0)?)
    }

    /// Verifies it in a process of its own, as a proof of that kind and no other.
    pub(super) async fn verify(&self, coprocessor: &Path, kind: &str) -> Result<Verdict> {
        let mut command = Command::new(coprocessor);
        command.arg("verify").arg(&self.0).args(["--kind", kind]).kill_on_drop(true);
        let output = command.output().await.with_context(|| format!("cannot start {}", coprocessor.display()))?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        match output.status.code() {
            Some(0) => Ok(Verdict { valid: true, said }),
            Some(1) => Ok(Verdict { valid: false, said }),
            _ => bail!("`coprocessor verify` did not decide ({}): {said}", output.status),
        }
    }
}

/// The proof with one bit changed in each of its parts, with the part's name. What it says of itself is made to fit, so
/// that nothing but the verification can refuse it.
pub(super) fn forgeries(proof: &ProofView) -> Vec<(&'static str, ProofView)> {
    let mut forgeries = Vec::new();
    let mut forge = |part, change: &dyn Fn(&mut ProofView)| {
        let mut forged = proof.clone();
        change(&mut forged);
        forgeries.push((part, forged));
    };
    forge("proof", &|forged| {
        let middle = forged.proof.0.len() / 2;
        forged.proof.0[middle] ^= 1;
    });
    forge("root", &|forged| {
        forged.public_inputs.0[0] ^= 1;
        forged.root = hex(&forged.public_inputs.0[..ROOT]);
    });
    if !proof.output.0.is_empty() {
        forge("output", &|forged| {
            forged.output.0[0] ^= 1;
            forged.public_inputs.0[ROOT] ^= 1;
        });
    }
    // A mock proof is bound to no key.
    if proof.kind != "mock" && proof.verifying_key.as_ref().is_some_and(|key| !key.0.is_empty()) {
        forge("verifying key", &|forged| {
            if let Some(key) = &mut forged.verifying_key {
                let middle = key.0.len() / 2;
                key.0[middle] ^= 1;
            }
        });
    }
    forgeries
}

/// Length of a root in public inputs, in bytes.
const ROOT: usize = 32;

/// Bytes in hexadecimal, and as text where they are some.
pub(super) fn readable(bytes: &[u8]) -> String {
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty() && !text.chars().any(char::is_control));
    match text {
        Some(text) => format!("{text:?} (hex {})", hex(bytes)),
        None => format!("hex {}", hex(bytes)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof() -> ProofView {
        let output = b"Hello".to_vec();
        let root = [7; ROOT];
        ProofView {
            task: "t".into(),
            program: "p".into(),
            backend: "sp1".into(),
            kind: "core".into(),
            root: hex(&root),
            public_inputs: [&root[..], &output].concat().into(),
            output: output.into(),
            proof: vec![1, 2, 3].into(),
            circuit: "c".into(),
            verifying_key: Some(vec![4; 8].into()),
            sp1_on_chain: None,
        }
    }

    #[test]
    fn every_part_is_forged_by_one_bit_and_fits_itself() {
        let original = proof();
        let forgeries = forgeries(&original);
        assert_eq!(
            forgeries.iter().map(|(part, _)| *part).collect::<Vec<_>>(),
            ["proof", "root", "output", "verifying key"]
        );
        for (part, forged) in forgeries {
            let bytes = |view: &ProofView| {
                [&view.proof.0[..], &view.public_inputs.0, &view.verifying_key.as_ref().unwrap().0].concat()
            };
            let changed: u32 = bytes(&original).iter().zip(bytes(&forged)).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert_eq!(changed, 1, "{part}");
            assert_eq!(forged.root, hex(&forged.public_inputs.0[..ROOT]), "{part}");
            assert_eq!(forged.output.0, forged.public_inputs.0[ROOT..], "{part}");
        }
    }

    #[test]
    fn text_is_shown_as_text() {
        assert_eq!(readable(b"Hi"), "\"Hi\" (hex 4869)");
        assert_eq!(readable(&[0, 255]), "hex 00ff");
        assert_eq!(readable(b""), "hex ");
    }
}
