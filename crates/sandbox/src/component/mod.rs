//! Controllers as WebAssembly components, in the worlds of `wit/controller.wit`. Limits, host and recordings are those of
//! core modules; what differs is how values cross the border.

mod calls;
mod types;

use crate::abi::MAX_BUFFER;
use crate::error::{ModuleError, RunError};
use crate::guest::Guest;
use crate::run::{Export, Role};
use coprocessor_types::{StateProof, Witness};
use serde::Serialize;
use std::io;
use types::{ValidatedBlock, WitStateProof, WitValidatedBlock, WitWitness};
use wasmtime::Store;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    Component, ComponentNamedList, Instance, InstancePre, Lift, Linker, LinkerInstance, ResourceType,
};

/// The most bytes that the host copies out of a component for one call or result. Its strings may overlap in its memory,
/// so that alone bounds nothing.
const HANDED_OVER: usize = 2 * MAX_BUFFER;

/// What no part of the host made.
struct Foreign;

/// Checks imports as far as that can be done before a run, and that it is fit for one role at least.
pub(crate) fn check(pre: &InstancePre<Guest>) -> Result<(), ModuleError> {
    // What is neither is most likely meant to be a program's.
    check_role(pre, Role::Domain).or_else(|_| check_role(pre, Role::Program))
}

/// Checks that it exports what a controller in that role must.
pub(crate) fn check_role(pre: &InstancePre<Guest>, role: Role) -> Result<(), ModuleError> {
    role.exports().into_iter().try_for_each(|export| check_export(pre, export))
}

/// Resolves every import: those of the world with their own types, all others by what fails when it is called.
pub(crate) fn link(component: &Component) -> wasmtime::Result<InstancePre<Guest>> {
    let mut linker = Linker::new(component.engine());
    linker.allow_shadowing(true);
    let ty = component.component_type();
    for (name, import) in ty.imports(component.engine()) {
        match import.ty {
            ComponentItem::ComponentInstance(instance) => {
                let mut stubs = linker.instance(name)?;
                for (item, export) in instance.exports(component.engine()) {
                    stub(&mut stubs, name, item, &export.ty)?;
                }
            }
            item => stub(&mut linker.root(), "the component's world", name, &item)?,
        }
    }
    calls::link(&mut linker)?;
    linker.instantiate_pre(component)
}

/// Runs one export. What it gives is kept as if it had been given to `ret`.
pub(crate) async fn execute(
    store: &mut Store<Guest>,
    pre: &InstancePre<Guest>,
    export: Export,
) -> wasmtime::Result<()> {
    store.set_hostcall_fuel(HANDED_OVER);
    let instance = pre.instantiate_async(&mut *store).await?;
    store.data_mut().started = true;
    match export {
        Export::GetWitnesses => {
            let witnesses: Vec<WitWitness> = call(store, &instance, export).await?;
            let witnesses = witnesses.into_iter().map(Witness::try_from).collect::<Result<Vec<_>, _>>();
            keep(store.data_mut(), witnesses)
        }
        Export::Entrypoint => {
            let answer: String = call(store, &instance, export).await?;
            let guest = store.data_mut();
            guest.meter.output(answer.len())?;
            guest.ret = Some(serde_json::from_str(&answer).map_err(|error| error.to_string()));
            Ok(())
        }
        Export::ValidateBlock => {
            let block: WitValidatedBlock = call(store, &instance, export).await?;
            keep(store.data_mut(), ValidatedBlock::try_from(block))
        }
        Export::GetStateProof => {
            let proof: WitStateProof = call(store, &instance, export).await?;
            keep(store.data_mut(), StateProof::try_from(proof))
        }
    }
}

/// Stands in for an import that the host does not have. What has no stand-in fails when imports are resolved.
fn stub(instance: &mut LinkerInstance<'_, Guest>, of: &str, name: &str, item: &ComponentItem) -> wasmtime::Result<()> {
    match item {
        ComponentItem::ComponentFunc(_) => {
            let unknown = RunError::UnknownImport { module: of.into(), name: name.into() };
            instance.func_new(name, move |_, _, _, _| Err(unknown.clone().into()))
        }
        ComponentItem::Resource(_) => instance.resource(name, ResourceType::host::<Foreign>(), |_, _| Ok(())),
        _ => Ok(()),
    }
}

fn check_export(pre: &InstancePre<Guest>, export: Export) -> Result<(), ModuleError> {
    let ty = pre.component().component_type();
    let Some(found) = ty.get_export(pre.engine(), export.wit_name()) else {
        return Err(ModuleError::MissingComponentExport { name: export.wit_name() });
    };
    let wrong = |got: String| ModuleError::ExportType { name: export.wit_name(), got, expected: export.wit_type() };
    let ComponentItem::ComponentFunc(function) = found.ty else {
        return Err(wrong("something that is no function".into()));
    };
    let cx = pre.instance_type();
    let fits = match export {
        Export::GetWitnesses => function.typecheck::<Args, Given<Vec<WitWitness>>>(&cx),
        Export::Entrypoint => function.typecheck::<Args, Given<String>>(&cx),
        Export::ValidateBlock => function.typecheck::<Args, Given<WitValidatedBlock>>(&cx),
        Export::GetStateProof => function.typecheck::<Args, Given<WitStateProof>>(&cx),
    };
    fits.map_err(|error| wrong(format!("a function of another type ({error:#})")))
}

/// JSON.
type Args = (String,);

type Given<T> = (Result<T, String>,);

async fn call<T: Lift + Send + Sync + 'static>(
    store: &mut Store<Guest>,
    instance: &Instance,
    export: Export,
) -> wasmtime::Result<T>
where
    Given<T>: ComponentNamedList + Lift,
{
    let function = instance.get_typed_func::<Args, Given<T>>(&mut *store, export.wit_name())?;
    // Arguments are made JSON, so they are text.
    let args = String::from_utf8(store.data().args.to_vec())?;
    let (given,) = function.call_async(&mut *store, (args,)).await?;
    given.map_err(|message| RunError::panicked(&message).into())
}

/// Keeps a result in the JSON of the other interface, by whose length it is limited.
fn keep<T: Serialize>(guest: &mut Guest, result: Result<T, String>) -> wasmtime::Result<()> {
    let result = match result {
        Ok(result) => result,
        Err(reason) => {
            guest.ret = Some(Err(reason));
            return Ok(());
        }
    };
    // Counted before it is made: as JSON it takes many times the memory.
    let mut length = Length(0);
    serde_json::to_writer(&mut length, &result)?;
    guest.meter.output(length.0)?;
    guest.ret = Some(Ok(serde_json::to_value(result)?));
    Ok(())
}

struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
