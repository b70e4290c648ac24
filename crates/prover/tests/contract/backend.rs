//! A backend that does as its circuit's input says, and waits where the test wants it to.

use bytes::Bytes;
use coprocessor_prover::{
    BackendError, BackendInfo, Cancellation, Execution, ExecutionLimits, KindOffer, Progress, Proof, ProvingBackend,
    Setup,
};
use coprocessor_types::{Backend, ProofKind};
use std::{
    sync::{
        Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// Memory it asks for: for core proofs, and for compressed ones.
pub(crate) const CORE_MEMORY: u64 = 4 << 30;
pub(crate) const COMPRESSED_MEMORY: u64 = 100 << 30;
/// Length of its proofs: many chunks.
pub(crate) const PROOF_LENGTH: usize = 9 << 20;

/// Time it says it spent on keys.
pub(crate) const SET_UP: Duration = Duration::from_micros(7);

/// Inputs begin with one of these.
pub(crate) const PROVE: u8 = 0;
pub(crate) const FAIL_CIRCUIT: u8 = 1;
pub(crate) const FAIL_PROVING: u8 = 2;
pub(crate) const PANIC_PROVING: u8 = 3;
pub(crate) const PANIC_EXECUTING: u8 = 4;
/// Proving waits until the gate is opened or the job is cancelled.
pub(crate) const GATED: u8 = 5;
/// The same, but cancelling does not help.
pub(crate) const STUBBORN: u8 = 6;
/// Executing waits until the gate is opened.
pub(crate) const GATED_EXECUTING: u8 = 7;

#[derive(Default)]
pub(crate) struct TestBackend {
    pub(crate) set_ups: AtomicU32,
    pub(crate) executions: AtomicU32,
    pub(crate) proofs: AtomicU32,
    pub(crate) most_at_once: AtomicU32,
    pub(crate) at_once: AtomicU32,
    open: Mutex<bool>,
    changed: Condvar,
}

impl TestBackend {
    pub(crate) fn open_gate(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn wait(&self, stop: impl Fn() -> bool) -> bool {
        let mut open = self.open.lock().unwrap();
        while !*open {
            if stop() {
                return false;
            }
            (open, _) = self.changed.wait_timeout(open, Duration::from_millis(5)).unwrap();
        }
        true
    }
}

impl ProvingBackend for TestBackend {
    fn info(&self) -> BackendInfo {
        BackendInfo {
            backend: Some(Backend::Sp1),
            version: "test 1".into(),
            offers: vec![
                KindOffer { kind: ProofKind::Core, memory: CORE_MEMORY },
                KindOffer { kind: ProofKind::Compressed, memory: COMPRESSED_MEMORY },
            ],
            missing: vec![(ProofKind::Plonk, "no circuit artifacts".into())],
        }
    }

    fn warm_up(&self) -> Result<(), BackendError> {
        Ok(())
    }

    fn set_up(&self, circuit: &Bytes) -> Result<Setup, BackendError> {
        self.set_ups.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        Ok(Setup { verifying_key: circuit.slice(..4) })
    }

    fn execute(&self, _: &Bytes, input: &[u8], limits: ExecutionLimits) -> Result<Execution, BackendError> {
        self.executions.fetch_add(1, Ordering::SeqCst);
        if limits.cycles < 10 {
            return Err(BackendError::CycleLimit { limit: limits.cycles });
        }
        match input.first() {
            Some(&FAIL_CIRCUIT) => Err(BackendError::CircuitFailed { message: "no such name: Zoë".into() }),
            Some(&PANIC_EXECUTING) => panic!("executing went wrong"),
            Some(&GATED_EXECUTING) if !self.wait(|| false) => Err(BackendError::Cancelled),
            _ => Ok(Execution { public_inputs: Bytes::copy_from_slice(input), cycles: 10 }),
        }
    }

    fn prove(
        &self,
        _: &Bytes,
        input: &[u8],
        kind: ProofKind,
        progress: &Progress<'_>,
        cancellation: &Cancellation,
    ) -> Result<Proof, BackendError> {
        self.proofs.fetch_add(1, Ordering::SeqCst);
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        progress.step("proving");
        let result = match input.first() {
            Some(&FAIL_PROVING) => Err(BackendError::Failed { reason: "by chance".into() }),
            Some(&PANIC_PROVING) => {
                self.at_once.fetch_sub(1, Ordering::SeqCst);
                panic!("proving went wrong")
            }
            Some(&GATED) if !self.wait(|| cancellation.is_cancelled()) => Err(BackendError::Cancelled),
            Some(&STUBBORN) if !self.wait(|| false) => Err(BackendError::Cancelled),
            _ => Ok(()),
        };
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        result.map(|()| Proof {
            kind,
            bytes: (0..PROOF_LENGTH).map(|i| (i / 7) as u8).collect(),
            public_inputs: Bytes::copy_from_slice(input),
            cycles: 10,
            proving: Duration::from_millis(3),
            set_up: SET_UP,
            peak_memory: 0,
        })
    }
}
