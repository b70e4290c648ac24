//! What makes WebAssembly a controller.

use crate::component;
use crate::error::ModuleError;
use crate::guest::Guest;
use crate::run::Role;
use coprocessor_types::BlobDigest;
use std::sync::Arc;
use wasmtime::component::{self as components, Component};
use wasmtime::{Engine, ExternType, InstancePre, Precompiled};

/// A controller ready to run. Cheap to clone; it stays alive while anyone holds it, whatever the cache does.
#[derive(Clone)]
pub struct Module(Arc<Ready>);

/// A module with all its imports resolved.
pub(crate) enum Linked {
    /// A core module that imports host calls.
    Core(InstancePre<Guest>),
    /// A component.
    Component(components::InstancePre<Guest>),
}

/// A module that was compiled.
pub(crate) enum Compiled {
    /// A core module.
    Core(wasmtime::Module),
    /// A component.
    Component(Component),
}

struct Ready {
    linked: Linked,
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
        match &self.0.linked {
            Linked::Core(pre) => check_role(pre.module(), role),
            Linked::Component(pre) => component::check_role(pre, role),
        }
    }

    pub(crate) fn new(linked: Linked, digest: BlobDigest, code_bytes: usize) -> Self {
        Self(Arc::new(Ready { linked, digest, code_bytes }))
    }

    /// SHA-256 of its WebAssembly.
    pub(crate) fn digest(&self) -> BlobDigest {
        self.0.digest
    }

    pub(crate) fn linked(&self) -> &Linked {
        &self.0.linked
    }

    pub(crate) fn engine(&self) -> &Engine {
        match &self.0.linked {
            Linked::Core(pre) => pre.module().engine(),
            Linked::Component(pre) => pre.engine(),
        }
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Module({} bytes of code)", self.0.code_bytes)
    }
}

/// What stands after `\0asm` in a component: version 13 of layer 1.
const COMPONENT: u32 = 0x0001_000d;

/// Validates and compiles. Text is not accepted, though the engine could read it.
pub(crate) fn compile(engine: &Engine, wasm: &[u8], limit: usize) -> Result<Compiled, ModuleError> {
    if wasm.len() > limit {
        return Err(ModuleError::TooLarge { got: wasm.len(), limit });
    }
    let version = wasm.strip_prefix(b"\0asm").ok_or(ModuleError::NotWasm)?;
    let version = version.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)).ok_or(ModuleError::NotWasm)?;
    let compiled = match version {
        1 => wasmtime::Module::from_binary(engine, wasm).map(Compiled::Core),
        COMPONENT => Component::from_binary(engine, wasm).map(Compiled::Component),
        version => return Err(ModuleError::Version { version }),
    };
    compiled.map_err(|error| ModuleError::Invalid { message: format!("{error:#}") })
}

impl Compiled {
    /// To be given to [`Compiled::deserialize`].
    pub(crate) fn serialize(&self) -> wasmtime::Result<Vec<u8>> {
        match self {
            Self::Core(module) => module.serialize(),
            Self::Component(component) => component.serialize(),
        }
    }

    /// What [`Compiled::serialize`] gave.
    ///
    /// # Safety
    /// `code` was given by an engine of this version, configuration and processor, and no byte of it has changed since: it is
    /// run as it is.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Self> {
        match Engine::detect_precompiled(code) {
            // SAFETY: as the caller promises.
            Some(Precompiled::Component) => unsafe { Component::deserialize(engine, code) }.map(Self::Component),
            // SAFETY: as the caller promises.
            _ => unsafe { wasmtime::Module::deserialize(engine, code) }.map(Self::Core),
        }
    }
}

/// Checks imports of a core module, and that it is fit for one role at least; what its functions do is seen when they run.
pub(crate) fn check_core(module: &wasmtime::Module) -> Result<(), ModuleError> {
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
