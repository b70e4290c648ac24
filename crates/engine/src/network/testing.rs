//! For tests: servers on loopback that say what they are told to, and names that lead anywhere.

use coprocessor_outbound::Resolve;
use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::{Network, NetworkSettings};

pub(super) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// These rules, and these hosts allowed though they are not public.
pub(crate) fn settings(http: &[&str], private: &[&str]) -> NetworkSettings {
    NetworkSettings {
        http: http.iter().map(|rule| rule.parse().unwrap()).collect(),
        private: private.iter().map(|host| host.parse().unwrap()).collect(),
        ..NetworkSettings::default()
    }
}

pub(super) fn network(http: &[&str], private: &[&str]) -> Network {
    Network::new(settings(http, private))
}

/// Gives one answer after the other, the last one for ever; may hold them back.
pub(crate) struct Server {
    port: u16,
    seen: Arc<Seen>,
    open: watch::Sender<bool>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<String>>,
    /// Requests whose client went away before it had its answer.
    given_up: AtomicUsize,
}

impl Server {
    pub(crate) async fn start(answers: Vec<Vec<u8>>) -> Self {
        let server = Self::holding(answers).await;
        server.open();
        server
    }

    /// Answers nothing until [`Server::open`].
    pub(crate) async fn holding(answers: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, gate) = watch::channel(false);
        let seen = Arc::<Seen>::default();
        let shared = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answers.clone(), Arc::clone(&shared), gate.clone()));
            }
        });
        Self { port, seen, open }
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    pub(crate) fn url(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.port)
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    pub(crate) fn given_up(&self) -> usize {
        self.seen.given_up.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, answers: Vec<Vec<u8>>, seen: Arc<Seen>, mut gate: watch::Receiver<bool>) {
    while let Some(request) = read(&mut stream).await {
        let number = {
            let mut requests = seen.requests.lock().unwrap();
            requests.push(request);
            requests.len() - 1
        };
        let mut nothing = [0];
        tokio::select! {
            Ok(_) = gate.wait_for(|open| *open) => {}
            _ = stream.read(&mut nothing) => {
                seen.given_up.fetch_add(1, Ordering::SeqCst);
                return;
            }
        }
        if stream.write_all(&answers[number.min(answers.len() - 1)]).await.is_err() {
            return;
        }
    }
}

/// One request, head and body.
async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(text);
        }
    }
}

pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Every name leads to one address.
pub(super) struct Names(pub(super) IpAddr);

impl Resolve for Names {
    fn resolve(&self, _: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
        let leads = self.0;
        Box::pin(async move { Ok(vec![leads]) })
    }
}
