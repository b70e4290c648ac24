//! The world outside the sandbox, as far as a controller may touch it.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

/// What a controller may touch beyond computing. Brought by whoever calls; used by one run at a time.
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
}

/// A write that succeeded answers `None`.
pub(crate) type Reply = Result<Option<Vec<u8>>, HostError>;

/// Between a controller, suspended in a host call, and the host outside it.
///
/// The wasmtime store must own all it holds for as long as it lives, while a [`Host`] is only borrowed for one call. So a
/// host call leaves its request here and suspends; whoever drives the run serves it and resumes.
#[derive(Clone, Default)]
pub(crate) struct Line(Arc<Mutex<Exchange>>);

#[derive(Default)]
enum Exchange {
    #[default]
    Idle,
    Asked(Request),
    Answered(Reply),
}

impl Line {
    /// Suspends until the request is served.
    pub(crate) async fn ask(&self, request: Request) -> Reply {
        *self.exchange() = Exchange::Asked(request);
        poll_fn(|_| {
            let mut exchange = self.exchange();
            match std::mem::take(&mut *exchange) {
                Exchange::Answered(reply) => Poll::Ready(reply),
                waiting => {
                    *exchange = waiting;
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Serves the request that a run was suspended for.
    pub(crate) fn serve(&self, host: &mut dyn Host) {
        let asked = std::mem::take(&mut *self.exchange());
        let Exchange::Asked(request) = asked else {
            unreachable!("a run suspends only in `ask`, and each time with a new request");
        };
        let reply = match request {
            Request::ReadFile(path) => host.read_file(&path),
            Request::WriteFile(path, content) => host.write_file(&path, &content).map(|()| None),
            Request::RawStorage => host.raw_storage(),
            Request::SetRawStorage(content) => host.set_raw_storage(&content).map(|()| None),
        };
        *self.exchange() = Exchange::Answered(reply);
    }

    /// Nothing panics while it holds the lock, so its content is whole even where the lock says otherwise.
    fn exchange(&self) -> MutexGuard<'_, Exchange> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
