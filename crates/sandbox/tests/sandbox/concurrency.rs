//! Many runs at once.

use crate::harness::*;
use coprocessor_sandbox::{Host, HostError, Module, RunError, Sandbox, SandboxConfig};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn runs_on_many_threads_do_not_meet() {
    let module = load_in(sandbox(), &controller("(drop (call $ret (i32.const 4096) (call $args (i32.const 4096))))"));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let module = &module;
            scope.spawn(move || {
                for round in 0..100 {
                    let args = json!([thread, round]);
                    let run = sandbox().call(module, call(args.clone()), &mut Memory::default());
                    assert_eq!(run.result, Ok(Some(args)));
                }
            });
        }
    });
}

/// Runs the same controller again from within its host call.
struct Nesting {
    sandbox: Sandbox,
    module: Module,
    depth: usize,
    deepest: Arc<AtomicUsize>,
}

impl Host for Nesting {
    fn read_file(&mut self, _: &str) -> Result<Option<Vec<u8>>, HostError> {
        Ok(None)
    }

    fn write_file(&mut self, _: &str, _: &[u8]) -> Result<(), HostError> {
        Ok(())
    }

    fn raw_storage(&mut self) -> Result<Option<Vec<u8>>, HostError> {
        let (sandbox, module) = (self.sandbox.clone(), self.module.clone());
        let mut inner = Self {
            sandbox: sandbox.clone(),
            module: module.clone(),
            depth: self.depth + 1,
            deepest: self.deepest.clone(),
        };
        match sandbox.call(&module, call(Value::Null), &mut inner).result {
            Err(RunError::Busy) => self.deepest.store(self.depth, Ordering::SeqCst),
            other => assert_eq!(other, Ok(Some(json!(0)))),
        }
        Ok(None)
    }

    fn set_raw_storage(&mut self, _: &[u8]) -> Result<(), HostError> {
        Ok(())
    }
}

#[test]
fn more_runs_than_there_is_room_for_are_refused_and_the_others_end() {
    let sandbox = Sandbox::new(SandboxConfig { threads: 2, waiting: 0, ..SandboxConfig::default() }).unwrap();
    let module = load_in(&sandbox, &controller("(call $tell (call $get_raw (i32.const 0)))"));
    let deepest = Arc::new(AtomicUsize::new(0));
    let mut host = Nesting { sandbox: sandbox.clone(), module: module.clone(), depth: 1, deepest: deepest.clone() };
    assert_eq!(sandbox.call(&module, call(Value::Null), &mut host).result, Ok(Some(json!(0))));
    assert_eq!(deepest.load(Ordering::SeqCst), 4);
}
