//! A proxy on loopback that breaks what goes through it.

use crate::ServerError;
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

/// Forwards connections to an address until it is told otherwise.
#[derive(Debug)]
pub struct BreakingProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    refuse: bool,
    stall_requests: bool,
    stall_answers: bool,
    next: u64,
    /// Both ends of every connection there is.
    connections: Vec<(u64, TcpStream, TcpStream)>,
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Request,
    Answer,
}

impl BreakingProxy {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// What listening fails with.
    pub fn start(target: SocketAddr) -> Result<Self, ServerError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(ServerError::io("a port for the proxy"))?;
        let address = listener.local_addr().map_err(ServerError::io("a port for the proxy"))?;
        let shared = Arc::new(Shared::default());
        let accepting = shared.clone();
        thread::spawn(move || accept(&listener, target, &accepting));
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every connection there is; later ones are not affected.
    pub fn cut_all(&self) {
        for (_, client, server) in self.shared.state().connections.drain(..) {
            cut(&client, &server);
        }
    }

    /// Closes new connections at once, from now on or no more.
    pub fn refuse(&self, refuse: bool) {
        self.shared.state().refuse = refuse;
    }

    /// Keeps all bytes back, from now on or no more; connections stay open.
    pub fn stall(&self, stall: bool) {
        let mut state = self.shared.state();
        (state.stall_requests, state.stall_answers) = (stall, stall);
        self.shared.changed.notify_all();
    }

    /// Keeps back what the target answers, from now on or no more; requests reach it.
    pub fn stall_answers(&self, stall: bool) {
        self.shared.state().stall_answers = stall;
        self.shared.changed.notify_all();
    }
}

impl Drop for BreakingProxy {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.changed.notify_all();
        self.cut_all();
        // Wakes the thread that listens, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while bytes of that way are kept back.
    fn pass(&self, way: Way) {
        let stalled = |state: &mut State| {
            let stalled = if way == Way::Request { state.stall_requests } else { state.stall_answers };
            stalled && !state.closed
        };
        drop(self.changed.wait_while(self.state(), stalled).unwrap_or_else(PoisonError::into_inner));
    }

    fn forget(&self, connection: u64) {
        self.state().connections.retain(|(id, client, server)| {
            if *id == connection {
                cut(client, server);
            }
            *id != connection
        });
    }
}

fn accept(listener: &TcpListener, target: SocketAddr, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        let (closed, refuse) = {
            let state = shared.state();
            (state.closed, state.refuse)
        };
        if closed {
            return;
        }
        let Ok(client) = client else { continue };
        if refuse {
            continue;
        }
        // A target that is down is a connection that ends at once.
        let _ = TcpStream::connect(target).and_then(|server| forward(client, server, shared));
    }
}

fn forward(client: TcpStream, server: TcpStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, from_server) = (client.try_clone()?, server.try_clone()?);
    let kept = (client.try_clone()?, server.try_clone()?);
    let id = {
        let mut state = shared.state();
        state.next += 1;
        let id = state.next;
        state.connections.push((id, kept.0, kept.1));
        id
    };
    for (from, to, way) in [(from_client, server, Way::Request), (from_server, client, Way::Answer)] {
        let shared = shared.clone();
        thread::spawn(move || {
            copy(from, to, way, &shared);
            shared.forget(id);
        });
    }
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream, way: Way, shared: &Shared) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        shared.pass(way);
        if to.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}

fn cut(client: &TcpStream, server: &TcpStream) {
    // Whichever end is gone already is cut.
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Says back what it is told.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
            }
        });
        address
    }

    fn say(stream: &mut TcpStream, text: &[u8; 2]) -> std::io::Result<[u8; 2]> {
        let mut heard = [0; 2];
        stream.write_all(text)?;
        stream.read_exact(&mut heard)?;
        Ok(heard)
    }

    #[test]
    fn connections_are_forwarded_cut_and_refused() {
        let proxy = BreakingProxy::start(echo()).unwrap();
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        assert_eq!(say(&mut stream, b"hi").unwrap(), *b"hi");
        proxy.cut_all();
        say(&mut stream, b"hi").unwrap_err();

        proxy.refuse(true);
        let refused = TcpStream::connect(proxy.address()).and_then(|mut stream| say(&mut stream, b"hi"));
        refused.unwrap_err();
        proxy.refuse(false);
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        assert_eq!(say(&mut stream, b"hi").unwrap(), *b"hi");
    }

    #[test]
    fn bytes_are_kept_back_and_not_lost() {
        let proxy = BreakingProxy::start(echo()).unwrap();
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        say(&mut stream, b"hi").unwrap();
        for stall in [BreakingProxy::stall, BreakingProxy::stall_answers] {
            stall(&proxy, true);
            stream.write_all(b"yo").unwrap();
            // Long enough for an echo that is not kept back.
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let mut heard = [0; 2];
            assert_eq!(stream.read(&mut heard).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
            stream.set_read_timeout(None).unwrap();
            stall(&proxy, false);
            stream.read_exact(&mut heard).unwrap();
            assert_eq!(heard, *b"yo");
        }
    }
}
