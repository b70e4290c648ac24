//! Connections made by somebody else.

use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::net::TcpStream;
use tonic::{codegen::Service, transport::Uri};

/// Makes a connection to a node, whenever there is none: for addresses that must be looked at each time.
pub type Dial = Arc<dyn Fn() -> BoxFuture<'static, io::Result<TcpStream>> + Send + Sync>;

/// What the transport takes it as.
pub(super) struct Connector(pub(super) Dial);

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The node's own address, which is the only one there is.
    fn call(&mut self, _: Uri) -> Self::Future {
        let connection = (self.0)();
        Box::pin(async move {
            let stream = connection.await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}
