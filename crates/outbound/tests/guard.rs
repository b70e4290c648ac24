//! Requests to real servers on loopback, which is exactly where they must not go unless allowed.
#![allow(missing_docs)]

use bytes::Bytes;
use coprocessor_outbound::{Answer, Dialer, GuardSettings, GuardedClient, OutboundError, Resolve, Target};
use std::{
    collections::VecDeque,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// A server that answers every request with the same bytes and counts connections.
struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let server = Self { port, connections: Arc::clone(&connections), requests: Arc::clone(&requests) };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (answer, requests) = (answer.clone(), Arc::clone(&requests));
                tokio::spawn(async move {
                    let mut seen = Vec::new();
                    let mut buffer = [0; 4096];
                    while !seen.ends_with(b"hello") {
                        match stream.read(&mut buffer).await {
                            Ok(0) | Err(_) => return,
                            Ok(read) => seen.extend_from_slice(&buffer[..read]),
                        }
                    }
                    requests.lock().unwrap().push(String::from_utf8(seen).unwrap());
                    let _ = stream.write_all(&answer).await;
                    if answer.is_empty() {
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        server
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn at(&self, host: &str) -> Target {
        format!("http://{host}:{}/hook", self.port).parse().unwrap()
    }
}

fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn settings(allow: &[&str]) -> GuardSettings {
    GuardSettings {
        allow: allow.iter().map(|host| host.parse().unwrap()).collect(),
        timeout: Duration::from_secs(20),
        max_response_bytes: 16,
        user_agent: "guard-test".into(),
    }
}

async fn post(client: &GuardedClient, to: &Target) -> Result<Answer, OutboundError> {
    client.post(to, &[("x-sign", "abc")], Bytes::from_static(b"hello")).await
}

/// Gives one answer after the other, the last one for ever.
struct Scripted(Mutex<VecDeque<Vec<IpAddr>>>);

impl Resolve for Scripted {
    fn resolve(&self, _: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() };
        Box::pin(async move { Ok(answer) })
    }
}

fn scripted(allow: &[&str], answers: &[&[IpAddr]]) -> GuardedClient {
    let answers = answers.iter().map(|answer| answer.to_vec()).collect();
    GuardedClient::with_resolver(settings(allow), Arc::new(Scripted(Mutex::new(answers)))).unwrap()
}

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn an_allowed_host_is_reached_with_headers_and_body() {
    let server = Server::start(answer("202 Accepted", "retry-after: 7\r\n", "thanks")).await;
    let client = GuardedClient::new(settings(&[&format!("127.0.0.1:{}", server.port)])).unwrap();
    let answer = post(&client, &server.at("127.0.0.1")).await.unwrap();
    assert_eq!((answer.status, answer.header("Retry-After"), &*answer.body_prefix), (202, Some("7"), &b"thanks"[..]));
    let request = server.requests.lock().unwrap()[0].clone();
    assert!(request.starts_with("POST /hook HTTP/1.1\r\n") && request.ends_with("\r\n\r\nhello"), "{request}");
    for header in ["x-sign: abc", "user-agent: guard-test"] {
        assert!(request.to_lowercase().contains(header), "{request}");
    }
}

#[tokio::test]
async fn loopback_is_refused_in_every_form_and_nothing_connects() {
    let server = Server::start(answer("200 OK", "", "")).await;
    let client = GuardedClient::new(settings(&["somewhere.else", "127.0.0.1:1"])).unwrap();
    let hosts = [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "017700000001",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "0.0.0.0",
        "127.1",
    ];
    for host in hosts {
        let refused = post(&client, &server.at(host)).await;
        assert!(matches!(refused, Err(OutboundError::Refused { .. })), "{host}: {refused:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_name_that_leads_here_is_refused_without_saying_where_it_leads() {
    let server = Server::start(answer("200 OK", "", "")).await;
    for leads in ["127.0.0.1", "::1", "10.1.2.3", "169.254.169.254", "::ffff:127.0.0.1", "fd00:ec2::254"] {
        let client = scripted(&[], &[&[leads.parse().unwrap()]]);
        let error = post(&client, &server.at("hooks.example.com")).await.unwrap_err();
        assert!(matches!(&error, OutboundError::Refused { host } if host == "hooks.example.com"), "{error:?}");
        assert!(!error.to_string().contains(leads), "{error}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn an_answer_that_changes_after_the_first_look_is_judged_again() {
    let server = Server::start(answer("200 OK", "", "")).await;
    let client = scripted(&[], &[&[HERE], &[HERE]]);
    for _ in 0..3 {
        let refused = post(&client, &server.at("hooks.example.com")).await;
        assert!(matches!(refused, Err(OutboundError::Refused { .. })), "{refused:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn an_allowed_name_is_reached_and_its_connection_serves_no_other_name() {
    let server = Server::start(answer("204 No Content", "", "")).await;
    let client = scripted(&[&format!("hooks.internal:{}", server.port)], &[&[HERE]]);
    assert_eq!(post(&client, &server.at("hooks.internal")).await.unwrap().status, 204);
    let refused = post(&client, &server.at("other.internal")).await;
    assert!(matches!(refused, Err(OutboundError::Refused { .. })), "{refused:?}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_name_without_addresses_is_unresolved() {
    let client = scripted(&["a.b"], &[&[]]);
    for host in ["a.b", "c.d"] {
        let error = post(&client, &format!("http://{host}/").parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, OutboundError::Unresolved { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let elsewhere = Server::start(answer("200 OK", "", "")).await;
    let location = format!("location: {}\r\n", elsewhere.at("127.0.0.1"));
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let server = Server::start(answer(status, &location, "")).await;
        let client = GuardedClient::new(settings(&["127.0.0.1"])).unwrap();
        let answer = post(&client, &server.at("127.0.0.1")).await.unwrap();
        assert_eq!(answer.status.to_string(), status[..3]);
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn of_an_endless_answer_the_first_bytes_are_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"hello") {
            assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
        while stream.write_all(&[b'x'; 1024]).await.is_ok() {}
    });
    let client = GuardedClient::new(settings(&["127.0.0.1"])).unwrap();
    let answer = post(&client, &format!("http://127.0.0.1:{port}/").parse().unwrap()).await.unwrap();
    assert_eq!(&*answer.body_prefix, [b'x'; 16]);
}

#[tokio::test]
async fn a_receiver_that_hangs_is_given_up() {
    let server = Server::start(Vec::new()).await;
    let short = GuardSettings { timeout: Duration::from_millis(200), ..settings(&["127.0.0.1"]) };
    let client = GuardedClient::new(short).unwrap();
    let error = post(&client, &server.at("127.0.0.1")).await.unwrap_err();
    assert!(matches!(error, OutboundError::TimedOut { .. }), "{error:?}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_port_where_nobody_listens_and_an_answer_that_is_no_http_are_told_apart() {
    let client = GuardedClient::new(settings(&["127.0.0.1"])).unwrap();
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = post(&client, &format!("http://127.0.0.1:{unused}/").parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, OutboundError::Connect { .. }), "{error:?}");
    let server = Server::start(b"SSH-2.0-x\r\n".to_vec()).await;
    let error = post(&client, &server.at("127.0.0.1")).await.unwrap_err();
    assert!(matches!(error, OutboundError::Broken { .. }), "{error:?}");
}

#[tokio::test]
async fn a_header_that_would_smuggle_another_is_refused() {
    let client = GuardedClient::new(settings(&["127.0.0.1"])).unwrap();
    let to = "http://127.0.0.1:1/".parse().unwrap();
    let error = client.post(&to, &[("a", "b\r\nc: d")], Bytes::new()).await.unwrap_err();
    assert!(matches!(error, OutboundError::Header(name) if name == "a"));
}

fn dialer(allow: &[&str], answers: &[&[IpAddr]]) -> Dialer {
    let GuardSettings { allow, timeout, .. } = settings(allow);
    let answers = answers.iter().map(|answer| answer.to_vec()).collect();
    Dialer::with_resolver(allow, timeout, Arc::new(Scripted(Mutex::new(answers))))
}

#[tokio::test]
async fn a_name_is_vetted_by_its_addresses() {
    let public: IpAddr = "1.1.1.1".parse().unwrap();
    let to: Target = "http://node.example.com:1/".parse().unwrap();
    dialer(&[], &[&[public]]).vet(&to).await.unwrap();
    dialer(&[], &[&[public, HERE]]).vet(&to).await.unwrap();
    dialer(&["node.example.com"], &[&[HERE]]).vet(&to).await.unwrap();
    let refused = dialer(&[], &[&[HERE]]).vet(&to).await;
    assert!(matches!(refused, Err(OutboundError::Refused { .. })), "{refused:?}");
    let refused = dialer(&[], &[&[public]]).vet(&"http://127.0.0.1/".parse().unwrap()).await;
    assert!(matches!(refused, Err(OutboundError::Refused { .. })), "{refused:?}");
    let refused = dialer(&[], &[&[]]).vet(&to).await;
    assert!(matches!(refused, Err(OutboundError::Unresolved { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_connection_is_made_to_what_was_judged_for_it() {
    let server = Server::start(Vec::new()).await;
    let to = server.at("node.example.com");
    let public: IpAddr = "1.1.1.1".parse().unwrap();
    // The name led to a public address when it was vetted, and leads here now.
    let rebinding = dialer(&[], &[&[public], &[HERE]]);
    rebinding.vet(&to).await.unwrap();
    let refused = rebinding.connect(&to).await.map(drop);
    assert!(matches!(refused, Err(OutboundError::Refused { .. })), "{refused:?}");
    for literal in ["127.0.0.1", "2130706433", "[::ffff:127.0.0.1]"] {
        let refused = dialer(&[], &[&[public]]).connect(&server.at(literal)).await.map(drop);
        assert!(matches!(refused, Err(OutboundError::Refused { .. })), "{literal}: {refused:?}");
    }
    assert_eq!(server.connections(), 0);

    let open = dialer(&["node.example.com", "127.0.0.1"], &[&[HERE]]);
    for target in [to, server.at("127.0.0.1")] {
        let stream = open.connect(&target).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().port(), server.port);
    }
    let nobody: Target = "http://127.0.0.1:1/".parse().unwrap();
    let failed = open.connect(&nobody).await.map(drop);
    assert!(matches!(failed, Err(OutboundError::Connect { .. })), "{failed:?}");
}
