//! Host calls, one file for each group. What a module imports beside them traps with its name when called.

mod context;
mod history;
mod http;
mod image;
mod io;
mod log;
mod pack;
mod rpc;
mod storage;

use crate::abi::MODULE;
use crate::guest::Guest;
use wasmtime::{Engine, FuncType, Linker, ValType};

/// A linker with every host call.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    io::link(&mut linker)?;
    log::link(&mut linker)?;
    context::link(&mut linker)?;
    storage::link(&mut linker)?;
    image::link(&mut linker)?;
    http::link(&mut linker)?;
    history::link(&mut linker)?;
    rpc::link(&mut linker)?;
    Ok(linker)
}

/// A linker for one module: every host call in the form that the module imports it, and a trap for every function that
/// is none.
pub(crate) fn linker_for(base: &Linker<Guest>, module: &wasmtime::Module) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = base.clone();
    let silent = FuncType::new(module.engine(), [ValType::I32, ValType::I32], []);
    for import in module.imports() {
        let wants_silent_log = import.module() == MODULE
            && import.name() == "log"
            && import.ty().func().is_some_and(|ty| FuncType::eq(ty, &silent));
        if wants_silent_log {
            log::link_silent(&mut linker)?;
        }
    }
    linker.define_unknown_imports_as_traps(module)?;
    Ok(linker)
}
