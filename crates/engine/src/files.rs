//! Files of a program's volume, for the API.

use bytes::Bytes;
use coprocessor_sandbox::MAX_BUFFER;
use coprocessor_store::{Program, Scope, StoreError, VolumeWrite};
use coprocessor_types::ProgramId;
use coprocessor_vfs::{Entry, EntryKind, FatPath, PAGE_SIZE, Space, VfsError};
use std::sync::Arc;
use tokio::sync::mpsc;

use crate::{
    Caller, Engine, EngineError,
    controllers::blocking,
    turns::conflict_pause,
    volumes::{OpenVolume, VolumeImage},
};

/// Times a write is made again because somebody else wrote meanwhile.
const CONFLICTS: u32 = 16;

/// Pages sent at once while an image is downloaded: 256 KiB.
const PAGES_PER_CHUNK: u32 = 64;

/// A directory's entries, by name.
#[derive(Clone, PartialEq, Debug)]
pub struct DirectoryListing {
    /// Its path, as asked for.
    pub path: String,
    /// Its entries.
    pub entries: Vec<Entry>,
}

/// What a path names.
#[derive(Clone, PartialEq, Debug)]
pub enum FileOrDirectory {
    /// A file's content.
    File(Vec<u8>),
    /// A directory.
    Directory(DirectoryListing),
}

/// How large a volume is, and how much of it is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VolumeSpace {
    /// The volume's size in bytes: that of its image.
    pub size: u64,
    /// What of it files and directories have and can have.
    pub space: Space,
}

impl Engine {
    /// What is known of a file or directory, without its content.
    ///
    /// # Errors
    /// An unknown program, or none that the caller sees; a path that FAT cannot hold or that names nothing.
    pub async fn stat_path(&self, caller: &Caller, program: ProgramId, path: String) -> Result<Entry, EngineError> {
        self.look(caller, program, move |open| Ok(open.files().stat(&path)?)).await
    }

    /// How much room a program's volume has.
    ///
    /// # Errors
    /// An unknown program, or none that the caller sees.
    pub async fn volume_space(&self, caller: &Caller, program: ProgramId) -> Result<VolumeSpace, EngineError> {
        self.look(caller, program, |open| Ok(VolumeSpace { size: open.size(), space: open.files().space()? })).await
    }

    /// A program's raw storage; nothing where it was never set.
    ///
    /// # Errors
    /// An unknown program, or none that the caller sees.
    pub async fn raw_storage(&self, caller: &Caller, program: ProgramId) -> Result<Vec<u8>, EngineError> {
        self.look(caller, program, |open| Ok(open.raw().unwrap_or_default())).await
    }

    /// Reads a file, or lists a directory.
    ///
    /// # Errors
    /// An unknown program, or none that the caller sees; a path that FAT cannot hold or that names nothing.
    pub async fn read_path(
        &self,
        caller: &Caller,
        program: ProgramId,
        path: String,
    ) -> Result<FileOrDirectory, EngineError> {
        self.look(caller, program, move |open| {
            let files = open.files();
            let is_directory = FatPath::parse(&path).map_err(VfsError::from)?.is_root()
                || files.stat(&path)?.kind == EntryKind::Directory;
            if is_directory {
                let entries = files.list(&path)?;
                Ok(FileOrDirectory::Directory(DirectoryListing { path, entries }))
            } else {
                Ok(FileOrDirectory::File(files.read(&path)?))
            }
        })
        .await
    }

    /// Creates or replaces a file, with the directories on its path.
    ///
    /// # Errors
    /// A program that is unknown or not the caller's; a path that FAT cannot hold; a full volume or store;
    /// [`EngineError::VolumeQuota`].
    pub async fn write_file(
        &self,
        caller: &Caller,
        program: ProgramId,
        path: String,
        content: Bytes,
    ) -> Result<(), EngineError> {
        let program = self.owned(caller, Scope::Deploy, program).await?;
        self.inner.check_room()?;
        self.change(&program, move |open| Ok(open.files().write(&path, &content)?)).await
    }

    /// Makes a directory, with those on its path; one that is there stays as it is.
    ///
    /// # Errors
    /// As for [`Self::write_file`].
    pub async fn make_directory(&self, caller: &Caller, program: ProgramId, path: String) -> Result<(), EngineError> {
        let program = self.owned(caller, Scope::Deploy, program).await?;
        self.inner.check_room()?;
        self.change(&program, move |open| Ok(open.files().make_directory(&path)?)).await
    }

    /// Gives a file or a directory another path, with the directories on it. A file takes the place of a file.
    ///
    /// # Errors
    /// As for [`Self::write_file`]; a path that names nothing; a directory that would be in itself or replaced.
    pub async fn rename_path(
        &self,
        caller: &Caller,
        program: ProgramId,
        from: String,
        to: String,
    ) -> Result<(), EngineError> {
        let program = self.owned(caller, Scope::Deploy, program).await?;
        self.change(&program, move |open| Ok(open.files().rename(&from, &to)?)).await
    }

    /// Replaces a program's raw storage.
    ///
    /// # Errors
    /// A program that is unknown or not the caller's; more bytes than a controller can be given; a full store;
    /// [`EngineError::VolumeQuota`].
    pub async fn set_raw_storage(
        &self,
        caller: &Caller,
        program: ProgramId,
        content: Bytes,
    ) -> Result<(), EngineError> {
        let program = self.owned(caller, Scope::Deploy, program).await?;
        self.inner.check_room()?;
        if content.len() > MAX_BUFFER {
            return Err(EngineError::RawTooLarge { got: content.len(), limit: MAX_BUFFER });
        }
        self.change(&program, move |open| {
            open.set_raw(content.to_vec());
            Ok(())
        })
        .await
    }

    /// Removes a file or an empty directory.
    ///
    /// # Errors
    /// A program that is unknown or not the caller's; a path that names nothing, or a directory with something in it.
    pub async fn remove_path(&self, caller: &Caller, program: ProgramId, path: String) -> Result<(), EngineError> {
        let program = self.owned(caller, Scope::Deploy, program).await?;
        self.change(&program, move |open| Ok(open.files().remove(&path)?)).await
    }

    /// The whole volume as a FAT-16 image: its size, and its bytes in chunks.
    ///
    /// # Errors
    /// An unknown program, or none that the caller sees. A failure on the way ends the chunks with an error.
    pub async fn image(
        &self,
        caller: &Caller,
        program: ProgramId,
    ) -> Result<(u64, mpsc::Receiver<Result<Bytes, EngineError>>), EngineError> {
        self.visible(caller, Scope::Read, program).await?;
        let store = Arc::clone(&self.inner.store);
        let image = blocking(move || VolumeImage::open(&*store, program)).await??;
        let size = image.size();
        let (chunks, receiver) = mpsc::channel(4);
        tokio::task::spawn_blocking(move || {
            let pages = u32::try_from(size / PAGE_SIZE as u64).unwrap_or(u32::MAX);
            for first in (0..pages).step_by(PAGES_PER_CHUNK as usize) {
                let read = image.pages(first..(first + PAGES_PER_CHUNK).min(pages));
                let failed = read.is_err();
                // Nobody listens any more, or there is nothing more to say.
                if chunks.blocking_send(read.map(Bytes::from)).is_err() || failed {
                    return;
                }
            }
        });
        Ok((size, receiver))
    }

    /// Looks at a volume as it is now.
    async fn look<T: Send + 'static>(
        &self,
        caller: &Caller,
        program: ProgramId,
        look: impl FnOnce(&mut OpenVolume) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        self.visible(caller, Scope::Read, program).await?;
        let store = Arc::clone(&self.inner.store);
        blocking(move || look(&mut OpenVolume::open(&*store, program)?)).await?
    }

    /// Changes a volume, again from the start when somebody else wrote meanwhile.
    async fn change(
        &self,
        program: &Program,
        change: impl Fn(&mut OpenVolume) -> Result<(), EngineError> + Send + Sync + 'static,
    ) -> Result<(), EngineError> {
        let change = Arc::new(change);
        let quota = self.inner.limits(&program.owner).await?.volume_bytes;
        let program = program.id;
        let _turn = self.inner.turns.take_soon(program).await;
        for conflicts in 1..=CONFLICTS {
            let (store, change) = (Arc::clone(&self.inner.store), Arc::clone(&change));
            let write = blocking(move || -> Result<VolumeWrite, EngineError> {
                let mut open = OpenVolume::open(&*store, program)?;
                change(&mut open)?;
                Ok(open.into_write(Some(quota)))
            })
            .await??;
            match self.inner.store.write_volume(program, write).await {
                Ok(_) => return Ok(()),
                Err(StoreError::VolumeConflict { .. }) => conflict_pause(conflicts).await,
                Err(StoreError::UnknownProgram(id)) => return Err(EngineError::UnknownProgram(id)),
                Err(error) => return Err(error.into()),
            }
        }
        Err(EngineError::VolumeBusy(program))
    }
}
