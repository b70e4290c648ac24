//! An S3-compatible server over a temporary directory, in this process.

use crate::ServerError;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use std::{net::Ipv4Addr, thread::JoinHandle};
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime, sync::oneshot};

const ACCESS_KEY: &str = "test-access-key";
const SECRET_KEY: &str = "test-secret-key";

/// The server. It refuses a wrong secret, and is gone with this value.
#[derive(Debug)]
pub struct S3Server {
    directory: TempDir,
    endpoint: String,
    /// Dropped to end it.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl S3Server {
    /// Starts it, with one empty bucket.
    ///
    /// # Errors
    /// What fails.
    pub fn start(bucket: &str) -> Result<Self, ServerError> {
        let directory =
            tempfile::Builder::new().prefix("test-s3-").tempdir().map_err(ServerError::io("a directory"))?;
        // A bucket is a directory there.
        std::fs::create_dir(directory.path().join(bucket)).map_err(ServerError::file(directory.path()))?;
        let files = s3s_fs::FileSystem::new(directory.path())
            .map_err(|error| ServerError::Failed { program: "s3s-fs".to_owned(), output: format!("{error:?}") })?;
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = service.build();

        let listener =
            std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(ServerError::io("a port for S3"))?;
        listener.set_nonblocking(true).map_err(ServerError::io("a port for S3"))?;
        let address = listener.local_addr().map_err(ServerError::io("a port for S3"))?;
        let runtime =
            runtime::Builder::new_current_thread().enable_all().build().map_err(ServerError::io("a runtime for S3"))?;
        let (stop, mut stopped) = oneshot::channel::<()>();
        let serve = async move {
            let listener = TcpListener::from_std(listener)?;
            loop {
                let (stream, _) = tokio::select! {
                    accepted = listener.accept() => accepted?,
                    _ = &mut stopped => return Ok(()),
                };
                let service = service.clone();
                tokio::spawn(async move {
                    let connection = Builder::new(TokioExecutor::new());
                    // A client that went away is no matter of the server's.
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        };
        let thread = std::thread::spawn(move || {
            let served: std::io::Result<()> = runtime.block_on(serve);
            if let Err(error) = served {
                crate::say(&format!("the S3 server ended: {error}"));
            }
        });
        Ok(Self { directory, endpoint: format!("http://{address}"), stop: Some(stop), thread: Some(thread) })
    }

    /// Its URL, without a bucket.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The id of the one key it takes.
    pub fn access_key(&self) -> &str {
        ACCESS_KEY
    }

    /// That key's secret.
    pub fn secret_key(&self) -> &str {
        SECRET_KEY
    }

    /// Where the objects are, a directory for each bucket.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // If it panicked, it has said so.
            let _ = thread.join();
        }
    }
}
