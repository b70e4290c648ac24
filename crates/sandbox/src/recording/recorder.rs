//! Writing down what a run asks and is answered.

use super::call::{
    Answer, Asked, Block, Bytes, Exchange, Json, Network, Opening, Proved, Received, Said, Sent, Update,
};
use super::{End, Recording, RecordingError};
use crate::host::{Host, HostError};
use crate::limits::Limits;
use crate::network::{
    BlockProof, HttpAnswer, HttpRequest, LatestBlock, NetworkAllowance, NetworkReply, Remote, RootUpdate, RpcRequest,
    StateProofReply,
};
use crate::run::{Export, Run};
use coprocessor_types::{BlobDigest, BlockNumber, ProgramId, Root};
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Records one run: put into its [`crate::Call`], and asked for the recording afterwards. Clones record into the same place.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Mutex<Book>>);

#[derive(Debug)]
struct Book {
    limit: usize,
    begun: Option<Begun>,
    calls: Vec<Exchange>,
    bytes: usize,
}

/// What is known of a run before its first instruction.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    pub(crate) export: Export,
    pub(crate) controller: BlobDigest,
    pub(crate) program: ProgramId,
    pub(crate) root: Root,
    pub(crate) limits: Limits,
    /// JSON.
    pub(crate) args: Arc<Vec<u8>>,
}

impl Recorder {
    /// Keeps at most `limit` bytes: what is longer is not recorded at all.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Book { limit, begun: None, calls: Vec::new(), bytes: 0 })))
    }

    /// What was recorded of the run that ended so. The recorder has nothing afterwards.
    ///
    /// # Errors
    /// [`RecordingError::TooLarge`], [`RecordingError::Nothing`].
    pub fn finish(&self, run: &Run) -> Result<Recording, RecordingError> {
        let mut book = self.book();
        let limit = book.limit;
        let Begun { export, controller, program, root, limits, args } =
            book.begun.take().ok_or(RecordingError::Nothing)?;
        let end = End::of(run);
        let said = end
            .result
            .as_ref()
            .map_or_else(|failed| failed.message.len(), |given| given.as_ref().map_or(0, String::len));
        let logged: usize = end.log.iter().map(|line| line.len() + 3).sum();
        if [args.len(), said, logged].into_iter().fold(book.bytes, usize::saturating_add) > limit {
            return Err(RecordingError::TooLarge { limit });
        }
        Ok(Recording {
            made_by: concat!("coprocessor-sandbox ", env!("CARGO_PKG_VERSION")).to_owned(),
            export,
            controller,
            program,
            root,
            limits,
            args: String::from_utf8_lossy(&args).into_owned(),
            calls: std::mem::take(&mut book.calls),
            end,
            wasm: None,
        })
    }

    pub(crate) fn begin(&self, begun: Begun) {
        let mut book = self.book();
        *book = Book { limit: book.limit, begun: Some(begun), calls: Vec::new(), bytes: 0 };
    }

    /// A host that does as `host` does, and has it written down.
    pub(crate) fn over<'a>(&'a self, host: &'a mut dyn Host) -> Recorded<'a> {
        Recorded { recorder: self, host }
    }

    /// Notes what is asked. Gives its place, for the answer.
    fn ask(&self, asked: Asked) -> usize {
        let mut book = self.book();
        let place = book.calls.len();
        book.bytes = book.bytes.saturating_add(asked.size());
        if book.has_room() {
            book.calls.push(Exchange { asked, answer: None });
        }
        place
    }

    fn answer(&self, place: usize, answer: impl FnOnce() -> Answer) {
        // What nobody will read need not even be copied.
        if !self.book().has_room() {
            return;
        }
        let answer = answer();
        let mut book = self.book();
        book.bytes = book.bytes.saturating_add(answer.size());
        if book.has_room()
            && let Some(exchange) = book.calls.get_mut(place)
        {
            exchange.answer = Some(answer);
        }
    }

    /// Asks, and notes the answer when it comes.
    fn remote<T: Send + 'static>(&self, asked: Asked, begun: Remote<T>, keep: fn(&T) -> Answer) -> Remote<T> {
        let (recorder, place) = (self.clone(), self.ask(asked));
        Box::pin(async move {
            let answer = begun.await;
            recorder.answer(place, || keep(&answer));
            answer
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing panics while it holds the lock, so the book is whole even where the lock says otherwise.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Once there is no room, what was kept goes too: half a recording is none.
    fn has_room(&mut self) -> bool {
        let room = self.bytes <= self.limit;
        if !room {
            self.calls = Vec::new();
        }
        room
    }
}

/// A host whose answers are written down. Has every method of [`Host`], as those it had not would not reach the host.
pub(crate) struct Recorded<'a> {
    recorder: &'a Recorder,
    host: &'a mut dyn Host,
}

impl Recorded<'_> {
    fn at_once<T>(
        &mut self,
        asked: Asked,
        ask: impl FnOnce(&mut dyn Host) -> Result<T, HostError>,
        keep: fn(&Result<T, HostError>) -> Answer,
    ) -> Result<T, HostError> {
        let place = self.recorder.ask(asked);
        let answer = ask(&mut *self.host);
        self.recorder.answer(place, || keep(&answer));
        answer
    }
}

fn content(said: &Result<Option<Vec<u8>>, HostError>) -> Answer {
    Answer::Content(Said::of(said, |content| content.clone().map(Bytes)))
}

fn written(said: &Result<(), HostError>) -> Answer {
    Answer::Written(Said::of(said, |()| ()))
}

impl Host for Recorded<'_> {
    fn read_file(&mut self, path: &str) -> Result<Option<Vec<u8>>, HostError> {
        self.at_once(Asked::ReadFile { path: path.to_owned() }, |host| host.read_file(path), content)
    }

    fn write_file(&mut self, path: &str, content: &[u8]) -> Result<(), HostError> {
        let asked = Asked::WriteFile { path: path.to_owned(), content: Sent::of(content) };
        self.at_once(asked, |host| host.write_file(path, content), written)
    }

    fn raw_storage(&mut self) -> Result<Option<Vec<u8>>, HostError> {
        self.at_once(Asked::RawStorage, |host| host.raw_storage(), content)
    }

    fn set_raw_storage(&mut self, content: &[u8]) -> Result<(), HostError> {
        let asked = Asked::SetRawStorage { content: Sent::of(content) };
        self.at_once(asked, |host| host.set_raw_storage(content), written)
    }

    fn volume_image(&mut self) -> Result<Vec<u8>, HostError> {
        let keep =
            |said: &Result<Vec<u8>, HostError>| Answer::Content(Said::of(said, |image| Some(Bytes(image.clone()))));
        self.at_once(Asked::VolumeImage, |host| host.volume_image(), keep)
    }

    fn set_volume_image(&mut self, image: &[u8]) -> Result<(), HostError> {
        let asked = Asked::SetVolumeImage { image: Sent::of(image) };
        self.at_once(asked, |host| host.set_volume_image(image), written)
    }

    fn http(&mut self, request: HttpRequest, allowance: NetworkAllowance) -> Remote<NetworkReply<HttpAnswer>> {
        let asked = Asked::http(&request);
        let begun = self.host.http(request, allowance);
        self.recorder.remote(asked, begun, |reply| Answer::Http(Network::of(reply, Received::of)))
    }

    fn rpc(&mut self, request: RpcRequest, allowance: NetworkAllowance) -> Remote<NetworkReply<Value>> {
        let asked = Asked::rpc(&request);
        let begun = self.host.rpc(request, allowance);
        self.recorder.remote(asked, begun, |reply| Answer::Rpc(Network::of(reply, |result| Json(result.clone()))))
    }

    fn state_proof(&mut self, domain: String, args: Value, limits: Limits) -> Remote<StateProofReply> {
        let asked = Asked::StateProof { domain: domain.clone(), args: args.to_string() };
        let begun = self.host.state_proof(domain, args, limits);
        self.recorder.remote(asked, begun, |reply| Answer::StateProof(Proved::of(reply)))
    }

    fn latest_block(&mut self, domain: String) -> Remote<Result<Option<LatestBlock>, HostError>> {
        let asked = Asked::LatestBlock { domain: domain.clone() };
        let begun = self.host.latest_block(domain);
        let keep = |said: &Result<Option<LatestBlock>, HostError>| {
            Answer::LatestBlock(Said::of(said, |block| block.as_ref().map(Block::of)))
        };
        self.recorder.remote(asked, begun, keep)
    }

    fn block_proof(&mut self, domain: String, number: BlockNumber) -> Remote<Result<BlockProof, HostError>> {
        let asked = Asked::BlockProof { domain: domain.clone(), number };
        let begun = self.host.block_proof(domain, number);
        let keep = |said: &Result<BlockProof, HostError>| Answer::BlockProof(Said::of(said, Opening::of));
        self.recorder.remote(asked, begun, keep)
    }

    fn root_update(&mut self, root: Root) -> Remote<Result<Option<RootUpdate>, HostError>> {
        let begun = self.host.root_update(root);
        let keep = |said: &Result<Option<RootUpdate>, HostError>| {
            Answer::RootUpdate(Said::of(said, |update| update.as_ref().map(Update::of)))
        };
        self.recorder.remote(Asked::RootUpdate { root }, begun, keep)
    }
}
