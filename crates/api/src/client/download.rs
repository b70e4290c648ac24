//! Bodies read piece by piece, so that a volume's image need not fit in memory.

use super::{ClientError, exchange};
use bytes::Bytes;
use reqwest::Response;

/// Bytes on their way.
#[derive(Debug)]
pub struct Download {
    response: Response,
}

impl Download {
    pub(super) fn new(response: Response) -> Self {
        Self { response }
    }

    /// How many bytes there will be in all, where the service said.
    pub fn size(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// [`ClientError::Interrupted`] when the body ends early.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        let url = exchange::origin(&self.response);
        self.response.chunk().await.map_err(|source| ClientError::Interrupted { url, source })
    }

    /// All of it.
    ///
    /// # Errors
    /// [`ClientError::Interrupted`] when the body ends early.
    pub async fn bytes(self) -> Result<Bytes, ClientError> {
        let url = exchange::origin(&self.response);
        self.response.bytes().await.map_err(|source| ClientError::Interrupted { url, source })
    }
}
