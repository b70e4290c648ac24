//! A program's controllers, one after the other: replacing the current one, listing those there were, going back.

use bytes::Bytes;
use coprocessor_sandbox::Role;
use coprocessor_store::{ControllerVersion, Cursor, Page, Program, Scope, Setter};
use coprocessor_types::{BlobDigest, ProgramId};

use crate::{Caller, Engine, EngineError};

impl Engine {
    /// Gives a program another controller. Tasks admitted before keep theirs. Code that the program has or had is no new version.
    ///
    /// # Errors
    /// Not a controller; a program that is unknown or not the caller's; a full store.
    pub async fn set_controller(
        &self,
        caller: &Caller,
        id: ProgramId,
        controller: Bytes,
    ) -> Result<Program, EngineError> {
        self.owned(caller, Scope::Deploy, id).await?;
        let inner = &self.inner;
        inner.check_room()?;
        inner.check_controller(controller.clone(), Role::Program).await?;
        let digest = inner.store.put_blob(controller).await?;
        self.make_current(caller, id, digest).await
    }

    /// Gives a program one of its controllers again, by number. Tasks admitted before keep theirs. Doing so again changes nothing.
    ///
    /// # Errors
    /// A version that there is not, or not any more; a program that is unknown or not the caller's.
    pub async fn set_controller_version(
        &self,
        caller: &Caller,
        id: ProgramId,
        number: u64,
    ) -> Result<Program, EngineError> {
        self.owned(caller, Scope::Deploy, id).await?;
        let version = self.version(id, number).await?;
        self.make_current(caller, id, version.digest).await
    }

    /// A program's controllers, newest first; at most `limit`. With which key each was set is for the program's owner.
    ///
    /// # Errors
    /// A program that is unknown or that the caller does not see; a cursor of another list.
    pub async fn controller_versions(
        &self,
        caller: &Caller,
        id: ProgramId,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<ControllerVersion>, EngineError> {
        let program = self.visible(caller, Scope::Read, id).await?;
        let mut page = self.inner.store.controller_versions(id, after, limit).await?;
        if !caller.owns(&program.owner) {
            page.items.iter_mut().for_each(|version| version.set_by.key = None);
        }
        Ok(page)
    }

    /// A controller's WebAssembly with its digest: the program's current one, or the one with that number.
    ///
    /// # Errors
    /// A program that is unknown or that the caller does not see; a version that there is not.
    pub async fn controller(
        &self,
        caller: &Caller,
        id: ProgramId,
        number: Option<u64>,
    ) -> Result<(BlobDigest, Bytes), EngineError> {
        let program = self.visible(caller, Scope::Read, id).await?;
        let digest = match number {
            None => program.controller,
            Some(number) => self.version(id, number).await?.digest,
        };
        Ok((digest, self.inner.store.blob(digest).await?))
    }

    async fn version(&self, program: ProgramId, number: u64) -> Result<ControllerVersion, EngineError> {
        let version = self.inner.store.controller_version(program, number).await?;
        version.ok_or(EngineError::UnknownVersion { program, number })
    }

    async fn make_current(&self, caller: &Caller, id: ProgramId, digest: BlobDigest) -> Result<Program, EngineError> {
        let by = Setter { owner: caller.owner.clone(), key: caller.key };
        let keep = self.inner.config.keep_controllers;
        let program = self.inner.store.set_controller(id, digest, by, keep).await?;
        let program = program.ok_or(EngineError::UnknownProgram(id))?;
        tracing::info!(program = %id, controller = %digest, owner = %caller.owner, "controller set");
        Ok(program)
    }
}
