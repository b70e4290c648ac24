//! What a controller may touch.

use coprocessor_sandbox::{
    BlockProof, Host, HostError, HttpAnswer, HttpRequest, LatestBlock, Limits, MAX_BUFFER, NetworkAllowance,
    NetworkReply, Remote, RootUpdate, RpcRequest, StateProofReply,
};
use coprocessor_store::VolumeWrite;
use coprocessor_types::{BlockNumber, ProgramId, Root};
use coprocessor_vfs::{
    PAGE_SIZE, PARTITION_START, PageSource, PageSourceError, VfsError, check, find_filesystem, partition_table,
};
use serde_json::Value;
use std::{future::ready, sync::Arc, time::SystemTime};

use crate::{
    EngineError, Inner,
    controllers::Subject,
    failure,
    volumes::{OpenVolume, chain},
};

/// Its own volume and raw storage, opened at the first call that needs them; a domain's has neither. The network as far as the
/// operator allows it. Domains as the run's root holds them.
pub(crate) struct ControllerHost {
    inner: Arc<Inner>,
    subject: Subject,
    root: Root,
    /// What the volumes of the program's owner may hold together.
    quota: Option<u64>,
    /// What everything that the run writes is dated.
    began: SystemTime,
    open: Option<OpenVolume>,
    wrote: bool,
    /// The store could not be opened for a reason that passes.
    away: bool,
    /// Somebody else wrote to the volume while the controller waited for the network.
    overtaken: Option<ProgramId>,
}

impl ControllerHost {
    pub(crate) fn new(inner: Arc<Inner>, subject: Subject, root: Root, quota: Option<u64>) -> Self {
        let began = SystemTime::now();
        Self { inner, subject, root, quota, began, open: None, wrote: false, away: false, overtaken: None }
    }

    /// What the controller wrote; empty when it only read.
    pub(crate) fn into_write(self) -> VolumeWrite {
        match self.open {
            Some(open) if self.wrote => open.into_write(self.quota),
            _ => VolumeWrite::default(),
        }
    }

    /// Whether the store could not be reached, or will be able later to do what it could not.
    pub(crate) fn store_was_away(&self) -> bool {
        self.away || self.open.as_ref().is_some_and(OpenVolume::store_was_away)
    }

    /// The program whose volume is no longer as the run saw it: the run has to be made again.
    pub(crate) fn overtaken(&self) -> Option<ProgramId> {
        self.overtaken
    }

    fn volume(&mut self) -> Result<&mut OpenVolume, HostError> {
        let Subject::Program(program) = self.subject else {
            let reason =
                "a domain's controller has no files and no raw storage; what it is to know is in its arguments";
            return Err(HostError::Refused { reason: reason.into() });
        };
        let store = &*self.inner.store;
        let opened = match &mut self.open {
            None => OpenVolume::open(store, program).map(|mut open| {
                open.files().set_now(Some(self.began));
                self.open = Some(open);
            }),
            Some(open) => open.come_back(store, program),
        };
        if let Err(error) = opened {
            self.away = matches!(&error, EngineError::Store(error) if failure::passes(error));
            self.overtaken = matches!(&error, EngineError::VolumeBusy(_)).then_some(program);
            return Err(HostError::Failed { reason: chain(&error) });
        }
        Ok(self.open.as_mut().expect("opened above"))
    }

    /// Before a wait: a view of the store is not held through one.
    fn leave_volume(&mut self) {
        if let Some(open) = &mut self.open {
            open.leave();
        }
    }
}

impl Host for ControllerHost {
    fn read_file(&mut self, path: &str) -> Result<Option<Vec<u8>>, HostError> {
        let files = self.volume()?.files();
        match files.stat(path) {
            Ok(entry) if entry.size > MAX_BUFFER as u64 => return Err(HostError::TooLarge { len: entry.size }),
            Ok(_) => {}
            Err(VfsError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(refused(&error)),
        }
        files.read(path).map(Some).map_err(|error| refused(&error))
    }

    fn write_file(&mut self, path: &str, content: &[u8]) -> Result<(), HostError> {
        self.volume()?.files().write(path, content).map_err(|error| refused(&error))?;
        self.wrote = true;
        Ok(())
    }

    fn raw_storage(&mut self) -> Result<Option<Vec<u8>>, HostError> {
        Ok(self.volume()?.raw())
    }

    fn set_raw_storage(&mut self, content: &[u8]) -> Result<(), HostError> {
        self.volume()?.set_raw(content.to_vec());
        self.wrote = true;
        Ok(())
    }

    fn volume_image(&mut self) -> Result<Vec<u8>, HostError> {
        let open = self.volume()?;
        has_image(open)?;
        let mut image = partition_table(open.size());
        image.extend(open.image().map_err(|error| not_done(&error))?);
        Ok(image)
    }

    fn set_volume_image(&mut self, image: &[u8]) -> Result<(), HostError> {
        let open = self.volume()?;
        has_image(open)?;
        let filesystem = whole(image, open.size()).map_err(|reason| HostError::Refused { reason })?;
        open.replace(filesystem).map_err(|error| not_done(&error))?;
        self.wrote = true;
        Ok(())
    }

    fn http(&mut self, request: HttpRequest, allowance: NetworkAllowance) -> Remote<NetworkReply<HttpAnswer>> {
        self.leave_volume();
        self.inner.network.http(request, allowance)
    }

    fn rpc(&mut self, request: RpcRequest, allowance: NetworkAllowance) -> Remote<NetworkReply<Value>> {
        self.leave_volume();
        self.inner.network.rpc(request, allowance)
    }

    fn state_proof(&mut self, domain: String, args: Value, limits: Limits) -> Remote<StateProofReply> {
        self.leave_volume();
        if matches!(self.subject, Subject::Domain(_)) {
            let reason = "a domain's controller can't ask another domain's, as that could ask it in turn";
            return Box::pin(ready(StateProofReply::refused(reason)));
        }
        let (inner, root) = (Arc::clone(&self.inner), self.root);
        Box::pin(async move { inner.state_proof(&domain, args, root, limits).await })
    }

    fn latest_block(&mut self, domain: String) -> Remote<Result<Option<LatestBlock>, HostError>> {
        self.leave_volume();
        let (inner, root) = (Arc::clone(&self.inner), self.root);
        Box::pin(async move { inner.latest_block_at(&domain, root).await })
    }

    fn block_proof(&mut self, domain: String, number: BlockNumber) -> Remote<Result<BlockProof, HostError>> {
        self.leave_volume();
        let (inner, root) = (Arc::clone(&self.inner), self.root);
        Box::pin(async move { inner.block_proof_at(&domain, number, root).await })
    }

    fn root_update(&mut self, root: Root) -> Remote<Result<Option<RootUpdate>, HostError>> {
        self.leave_volume();
        let (inner, pinned) = (Arc::clone(&self.inner), self.root);
        Box::pin(async move { inner.root_update_at(root, pinned).await })
    }
}

/// A volume has an image here if that, with its partition table, can be handed over.
fn has_image(open: &OpenVolume) -> Result<(), HostError> {
    let len = PARTITION_START + open.size();
    if len > MAX_BUFFER as u64 { Err(HostError::TooLarge { len }) } else { Ok(()) }
}

/// The filesystem in an image, if it is whole and fits a volume of `size` bytes; else what is wrong.
fn whole(image: &[u8], size: u64) -> Result<&[u8], String> {
    let first = image.first_chunk().ok_or_else(|| format!("an image of {} bytes has no first sector", image.len()))?;
    let part = find_filesystem(first, image.len() as u64).map_err(|error| error.to_string())?;
    let filesystem = &image[part.start as usize..part.end as usize];
    if filesystem.len() as u64 > size {
        return Err(format!("the filesystem has {} bytes, and the volume {size}", filesystem.len()));
    }
    let checked = check(ImageBytes(filesystem), filesystem.len() as u64);
    checked.map(|_| filesystem).map_err(|error| error.to_string())
}

/// An image in memory; what it lacks to a whole page are zeros.
struct ImageBytes<'a>(&'a [u8]);

impl PageSource for ImageBytes<'_> {
    fn read_page(&self, index: u32) -> Result<Option<Vec<u8>>, PageSourceError> {
        Ok(self.0.chunks(PAGE_SIZE).nth(index as usize).map(|part| {
            let mut page = part.to_vec();
            page.resize(PAGE_SIZE, 0);
            page
        }))
    }
}

/// What the engine could not do for a controller.
fn not_done(error: &EngineError) -> HostError {
    match error {
        EngineError::Volume(error) => refused(error),
        other => HostError::Failed { reason: chain(other) },
    }
}

/// A failing store is the host's failure; anything else is the controller's to read.
fn refused(error: &VfsError) -> HostError {
    match error {
        VfsError::Source { .. } | VfsError::PageLength { .. } => HostError::Failed { reason: chain(error) },
        _ => HostError::Refused { reason: error.to_string() },
    }
}
