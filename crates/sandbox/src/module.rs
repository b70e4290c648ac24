//! What makes WebAssembly a controller.

use crate::error::ModuleError;
use crate::guest::Guest;
use crate::run::Role;
use coprocessor_types::BlobDigest;
use std::sync::Arc;
use wasmtime::{Engine, ExternType, InstancePre};

/// A controller ready to run. Cheap to clone; it stays alive while anyone holds it, whatever the cache does.
#[derive(Clone)]
pub struct Module(Arc<Ready>);

struct Ready {
    pre: InstancePre<Guest>,
    digest: BlobDigest,
    code_bytes: usize,
}

impl Module {
    /// Its machine code, in bytes.
    pub fn code_bytes(&self) -> usize {
        self.0.code_bytes
    }

    /// Checks that it exports what a controller in that role must.
    ///
    /// # Errors
    /// [`ModuleError::MissingExport`], [`ModuleError::ExportType`].
    pub fn check(&self, role: Role) -> Result<(), ModuleError> {
        check_role(self.0.pre.module(), role)
    }

    pub(crate) fn new(pre: InstancePre<Guest>, digest: BlobDigest, code_bytes: usize) -> Self {
        Self(Arc::new(Ready { pre, digest, code_bytes }))
    }

    /// SHA-256 of its WebAssembly.
    pub(crate) fn digest(&self) -> BlobDigest {
        self.0.digest
    }

    pub(crate) fn pre(&self) -> &InstancePre<Guest> {
        &self.0.pre
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Module({} bytes of code)", self.0.code_bytes)
    }
}

/// Validates and compiles. Text is not accepted, though the engine could read it.
pub(crate) fn compile(engine: &Engine, wasm: &[u8], limit: usize) -> Result<wasmtime::Module, ModuleError> {
    if wasm.len() > limit {
        return Err(ModuleError::TooLarge { got: wasm.len(), limit });
    }
    let version = wasm.strip_prefix(b"\0asm").ok_or(ModuleError::NotWasm)?;
    let version = version.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)).ok_or(ModuleError::NotWasm)?;
    if version != 1 {
        return Err(ModuleError::NotCore { version });
    }
    wasmtime::Module::from_binary(engine, wasm).map_err(|error| ModuleError::Invalid { message: format!("{error:#}") })
}

/// Checks imports, and that it is fit for one role at least; what its functions do is seen when they run.
pub(crate) fn check(module: &wasmtime::Module) -> Result<(), ModuleError> {
    for import in module.imports() {
        let kind = describe(&import.ty());
        if kind != "a function" {
            return Err(ModuleError::ImportKind { kind, module: import.module().into(), name: import.name().into() });
        }
    }
    match module.get_export("memory") {
        None => return Err(ModuleError::MissingExport { name: "memory" }),
        Some(ExternType::Memory(_)) => {}
        Some(other) => {
            return Err(ModuleError::ExportType { name: "memory", got: describe(&other).into(), expected: "a memory" });
        }
    }
    // What is neither is most likely meant to be a program's.
    check_role(module, Role::Domain).or_else(|_| check_role(module, Role::Program))
}

fn check_role(module: &wasmtime::Module, role: Role) -> Result<(), ModuleError> {
    role.exports().into_iter().try_for_each(|export| check_export(module, export.name()))
}

fn check_export(module: &wasmtime::Module, name: &'static str) -> Result<(), ModuleError> {
    let got = match module.get_export(name) {
        None => return Err(ModuleError::MissingExport { name }),
        Some(ExternType::Func(ty)) if ty.params().len() == 0 && ty.results().len() == 0 => return Ok(()),
        Some(ExternType::Func(ty)) => format!("a function of type {ty}"),
        Some(other) => describe(&other).into(),
    };
    Err(ModuleError::ExportType { name, got, expected: "a function without parameters and results" })
}

fn describe(ty: &ExternType) -> &'static str {
    match ty {
        ExternType::Func(_) => "a function",
        ExternType::Global(_) => "a global",
        ExternType::Table(_) => "a table",
        ExternType::Memory(_) => "a memory",
        ExternType::Tag(_) => "an exception tag",
    }
}
