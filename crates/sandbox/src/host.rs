//! The world outside the sandbox, as far as a controller may touch it.

use crate::limits::Limits;
use crate::network::{
    BlockProof, HttpAnswer, HttpRequest, LatestBlock, NetworkAllowance, NetworkReply, Remote, RootUpdate, RpcRequest,
    StateProofReply,
};
use crate::recording::Recorder;
use coprocessor_types::{BlockNumber, Root};
use serde_json::Value;
use std::future::{poll_fn, ready};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Instant;

/// What a controller may touch beyond computing. Brought by whoever calls; used by one run at a time.
///
/// Every method is recorded and replayed: one that is new here is added to `recording/recorder.rs` and `recording/replay.rs` too.
///
/// Effects of a run that fails must not last: keep writes apart until [`crate::Run::result`] is known to be `Ok`.
pub trait Host: Send {
    /// A file of the program's volume, or nothing if there is no such file. Paths are as the controller wrote them, at
    /// most 4096 bytes.
    ///
    /// # Errors
    /// [`HostError::TooLarge`] for a file longer than [`crate::MAX_BUFFER`], which no controller could be given: look
    /// at its size before reading it.
    fn read_file(&mut self, path: &str) -> Result<Option<Vec<u8>>, HostError>;

    /// Creates or replaces a file of the program's volume.
    ///
    /// # Errors
    /// A path the volume can't hold, no space, a store that can't be reached.
    fn write_file(&mut self, path: &str, content: &[u8]) -> Result<(), HostError>;

    /// The program's raw bytes, or nothing if none were ever set.
    ///
    /// # Errors
    /// As for [`Host::read_file`].
    fn raw_storage(&mut self) -> Result<Option<Vec<u8>>, HostError>;

    /// Replaces the program's raw bytes.
    ///
    /// # Errors
    /// No space, a store that can't be reached.
    fn set_raw_storage(&mut self, content: &[u8]) -> Result<(), HostError>;

    /// The program's volume as the image of a disk with one partition, at most [`crate::MAX_BUFFER`] bytes. A host that has
    /// files and no such images refuses.
    ///
    /// # Errors
    /// [`HostError::TooLarge`] for a volume with a longer image; as for [`Host::read_file`].
    fn volume_image(&mut self) -> Result<Vec<u8>, HostError> {
        Err(HostError::Refused { reason: "there are no images of volumes here".into() })
    }

    /// Makes an image, which the controller chose every byte of, the program's volume.
    ///
    /// # Errors
    /// [`HostError::Refused`] for one that is not whole, or does not fit; as for [`Host::volume_image`].
    fn set_volume_image(&mut self, image: &[u8]) -> Result<(), HostError> {
        let _ = image;
        Err(HostError::Refused { reason: "there are no images of volumes here".into() })
    }

    /// Sends an HTTP request. The controller chose all of it: what may be reached is for the host to judge, and what it
    /// may take is in `allowance`. A host that has no network refuses.
    ///
    /// Called on the run's thread; what it gives is waited for on none, and until then nothing else of the host is called.
    fn http(&mut self, request: HttpRequest, allowance: NetworkAllowance) -> Remote<NetworkReply<HttpAnswer>> {
        let _ = (request, allowance);
        Box::pin(ready(NetworkReply::refused("there is no network here")))
    }

    /// Calls an RPC endpoint of the operator's, and gives the `result` of its answer. As [`Host::http`]. Nothing of the
    /// endpoint's address and credentials may be in an error.
    fn rpc(&mut self, request: RpcRequest, allowance: NetworkAllowance) -> Remote<NetworkReply<Value>> {
        let _ = allowance;
        Box::pin(ready(NetworkReply::refused(format!("there is no endpoint for the chain `{}`", request.chain))))
    }

    /// Has the controller of the domain with that name prove state, in a run of its own within `limits`: what the asking
    /// run has left. Waited for as [`Host::http`].
    fn state_proof(&mut self, domain: String, args: Value, limits: Limits) -> Remote<StateProofReply> {
        let _ = (args, limits);
        Box::pin(ready(StateProofReply::refused(format!("there is no domain `{domain}` here"))))
    }

    /// The highest block of the domain with that name at the run's root; `None` for a domain without blocks there. Waited
    /// for as [`Host::http`].
    fn latest_block(&mut self, domain: String) -> Remote<Result<Option<LatestBlock>, HostError>> {
        Box::pin(ready(Err(no_domain(&domain))))
    }

    /// What shows a block of the domain with that name at the run's root. Refused where the root commits to no such block.
    /// Waited for as [`Host::http`].
    fn block_proof(&mut self, domain: String, number: BlockNumber) -> Remote<Result<BlockProof, HostError>> {
        let _ = number;
        Box::pin(ready(Err(no_domain(&domain))))
    }

    /// How a root came from the one before it; `None` for a root that the run's own does not follow from, and for the
    /// first, which follows from none. Waited for as [`Host::http`].
    fn root_update(&mut self, root: Root) -> Remote<Result<Option<RootUpdate>, HostError>> {
        let _ = root;
        Box::pin(ready(Ok(None)))
    }
}

fn no_domain(name: &str) -> HostError {
    HostError::Refused { reason: format!("there is no domain `{name}` here") }
}

/// Why a host did not do what a controller asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The controller asked for what can't be: it gets an error code and goes on; the reason is added to its log.
    /// The same run would be refused again.
    #[error("{reason}")]
    Refused {
        /// What is wrong with the request, for the controller's author.
        reason: String,
    },
    /// Somebody else did not answer as they should: the controller gets an error code and goes on; the reason is added to
    /// its log. Another time it may be otherwise.
    #[error("{reason}")]
    Unanswered {
        /// What went wrong, for the controller's author. No secrets of the operator's.
        reason: String,
    },
    /// More bytes than a controller can be given. It gets the code for that and goes on.
    #[error("{len} bytes, and a host call hands over at most {} bytes", crate::MAX_BUFFER)]
    TooLarge {
        /// Number of bytes there are.
        len: u64,
    },
    /// The host itself failed: the run ends with [`crate::RunError::Host`] and can be tried again.
    #[error("{reason}")]
    Failed {
        /// What failed, with its causes.
        reason: String,
    },
}

/// What a controller asks of the host.
#[derive(Debug)]
pub(crate) enum Request {
    ReadFile(String),
    WriteFile(String, Vec<u8>),
    RawStorage,
    SetRawStorage(Vec<u8>),
    VolumeImage,
    SetVolumeImage(Vec<u8>),
}

/// A write that succeeded answers `None`.
pub(crate) type Reply = Result<Option<Vec<u8>>, HostError>;

/// Has the host begin something that has to be waited for.
type Begin = Box<dyn FnOnce(&mut dyn Host) -> Remote<()> + Send>;

/// Between a controller, suspended in a host call, and the host outside it.
///
/// The wasmtime store must own all it holds for as long as it lives, while a [`Host`] is only borrowed while the run has a
/// thread. So a host call leaves its request here and suspends; whoever drives the run serves it and resumes.
#[derive(Clone, Default)]
pub(crate) struct Line {
    exchange: Arc<Mutex<Exchange>>,
    recorder: Option<Recorder>,
}

#[derive(Default)]
enum Exchange {
    #[default]
    Idle,
    Asked(Request),
    Answered(Reply),
    /// To be begun, and waited for at most until then.
    Called(Begin, Instant),
    /// The wait was over then, with an answer or without.
    Resumed(Instant),
}

/// What a suspended run needs to go on.
pub(crate) enum Served {
    /// Nothing more.
    Answered,
    /// To wait for this, at most until then, and [`Line::resume`].
    Begun(Remote<()>, Instant),
}

impl Line {
    /// One on which all is written down that is asked and answered.
    pub(crate) fn recorded(recorder: Option<Recorder>) -> Self {
        Self { exchange: Arc::default(), recorder }
    }

    /// Suspends until the request is served.
    pub(crate) async fn ask(&self, request: Request) -> Reply {
        *self.exchange() = Exchange::Asked(request);
        self.taken(|exchange| match exchange {
            Exchange::Answered(reply) => Ok(reply),
            waiting => Err(waiting),
        })
        .await
    }

    /// Suspends until the host's answer is there, or `until`; and gives the moment when that was.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        until: Instant,
        begin: impl FnOnce(&mut dyn Host) -> Remote<T> + Send + 'static,
    ) -> (Option<T>, Instant) {
        let answer = Arc::new(Mutex::new(None));
        let to_fill = Arc::clone(&answer);
        let begin: Begin = Box::new(move |host| {
            let remote = begin(host);
            Box::pin(async move {
                let answer = remote.await;
                *lock(&to_fill) = Some(answer);
            })
        });
        *self.exchange() = Exchange::Called(begin, until);
        let resumed = self.taken(|exchange| match exchange {
            Exchange::Resumed(at) => Ok(at),
            waiting => Err(waiting),
        });
        let resumed = resumed.await;
        (lock(&answer).take(), resumed)
    }

    /// Serves the request that a run was suspended for.
    pub(crate) fn serve(&self, host: &mut dyn Host) -> Served {
        match &self.recorder {
            Some(recorder) => self.serve_by(&mut recorder.over(host)),
            None => self.serve_by(host),
        }
    }

    fn serve_by(&self, host: &mut dyn Host) -> Served {
        let asked = std::mem::take(&mut *self.exchange());
        let request = match asked {
            Exchange::Asked(request) => request,
            Exchange::Called(begin, until) => return Served::Begun(begin(host), until),
            Exchange::Idle | Exchange::Answered(_) | Exchange::Resumed(_) => {
                unreachable!("a run suspends only in `ask` and `call`, and each time with a new request")
            }
        };
        let reply = match request {
            Request::ReadFile(path) => host.read_file(&path),
            Request::WriteFile(path, content) => host.write_file(&path, &content).map(|()| None),
            Request::RawStorage => host.raw_storage(),
            Request::SetRawStorage(content) => host.set_raw_storage(&content).map(|()| None),
            Request::VolumeImage => host.volume_image().map(Some),
            Request::SetVolumeImage(image) => host.set_volume_image(&image).map(|()| None),
        };
        *self.exchange() = Exchange::Answered(reply);
        Served::Answered
    }

    /// Ends the wait of a run, now.
    pub(crate) fn resume(&self) {
        *self.exchange() = Exchange::Resumed(Instant::now());
    }

    /// Suspends until `wanted` takes what is there; what it does not want it gives back.
    async fn taken<T>(&self, wanted: impl Fn(Exchange) -> Result<T, Exchange>) -> T {
        poll_fn(|_| {
            let mut exchange = self.exchange();
            match wanted(std::mem::take(&mut *exchange)) {
                Ok(taken) => Poll::Ready(taken),
                Err(waiting) => {
                    *exchange = waiting;
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn exchange(&self) -> MutexGuard<'_, Exchange> {
        lock(&self.exchange)
    }
}

/// Nothing panics while it holds such a lock, so its content is whole even where the lock says otherwise.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
