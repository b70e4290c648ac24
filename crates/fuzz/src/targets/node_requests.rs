//! What anybody who can connect may say to a prover node.

use crate::{
    Input, Seed, Target, Writer,
    frames::{self, HEAD, PREFACE, Said},
};
use coprocessor_prover::{
    mock::{MockBackend, MockConfig, rv64::Limits},
    node::{Node, NodeConfig},
    server::{ServeConfig, serve},
};
use std::{
    future::pending,
    io,
    net::SocketAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

pub(crate) const TARGET: Target =
    Target { name: "node_requests", about: "prover: what a hostile client says to a node", run, seeds };

const METHODS: [&str; 9] =
    ["Describe", "HasCircuit", "UploadCircuit", "SetUp", "Execute", "Prove", "HasJob", "Cancel", "None"];
/// Most messages of one request.
const MOST: usize = 8;

/// A node that proves by mock and takes little, and where it is. It lives on the thread that talks to it.
static NODE: LazyLock<(Runtime, SocketAddr)> = LazyLock::new(|| {
    let limits = Limits { cycles: 10_000, memory: 1 << 20, public_values: 1 << 12 };
    let backend = MockBackend::new(MockConfig { limits, ..MockConfig::default() });
    let config = NodeConfig {
        circuit_limit: 1 << 16,
        circuit_cache: 1 << 20,
        input_limit: 1 << 16,
        max_cycles: 10_000,
        queue: 4,
        keep_finished_jobs: 4,
        ..NodeConfig::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let node = Node::new(vec![Arc::new(backend)], config);
    runtime.spawn(serve(node, listener, ServeConfig::default(), pending()));
    (runtime, address)
});

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let path = format!("/coprocessor.prover.v1.Prover/{}", input.one(&METHODS));
    let mut said: Vec<u8> = Vec::new();
    for _ in 0..input.below(MOST) {
        said.extend(frames::message(input.many()));
    }
    // What is no message, or the beginning of one.
    said.extend_from_slice(input.rest());
    let head = [
        (":method", &b"POST"[..]),
        (":scheme", b"http"),
        (":path", path.as_bytes()),
        (":authority", b"node"),
        ("content-type", b"application/grpc"),
        ("te", b"trailers"),
    ];
    let request = [PREFACE, &frames::settings(), &frames::headers(&head, false), &frames::data(&said, true)].concat();
    let (runtime, node) = &*NODE;
    let conversation = async { tokio::time::timeout(Duration::from_secs(60), converse(*node, &request)).await };
    let answered = runtime.block_on(conversation).expect("the node answers in time").expect("the node answers");
    assert!(answered, "the node hangs up without a word");
}

/// Says all of it; gives whether there was an answer to its end, or why there is none.
async fn converse(node: SocketAddr, request: &[u8]) -> io::Result<bool> {
    let mut stream = TcpStream::connect(node).await?;
    // Ports are few: a connection that is reset does not keep its own.
    stream.set_zero_linger()?;
    stream.write_all(request).await?;
    loop {
        let mut head = [0; HEAD];
        match stream.read_exact(&mut head).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
        let (length, said) = frames::read_head(&head);
        stream.read_exact(&mut vec![0; length]).await?;
        if matches!(said, Said::End | Said::GoAway) {
            return Ok(true);
        }
    }
}

fn seeds() -> Vec<Seed> {
    // Fields of protobuf: the number and the kind in one byte, then a number or a length and bytes.
    let bytes = |field: u8, content: &[u8]| [&[field << 3 | 2, content.len() as u8][..], content].concat();
    let number = |field: u8, number: u8| vec![field << 3, number];
    let request = |method: u8, messages: &[Vec<u8>]| {
        let writer = Writer::new().byte(method).byte(messages.len() as u8);
        messages.iter().fold(writer, |writer, message| writer.many(message))
    };
    let upload = bytes(1, &[bytes(1, b"sp1"), number(2, 7)].concat());
    let execute = bytes(1, &[bytes(1, &[7; 32]), number(2, 9), number(3, 5)].concat());
    let job = [bytes(1, &[1; 16]), number(2, 1), bytes(3, &[7; 32]), bytes(4, b"mock"), number(5, 5)].concat();
    vec![
        request(0, &[vec![]]).seed("describe"),
        request(1, &[bytes(1, &[7; 32])]).seed("has-circuit"),
        request(2, &[upload.clone(), bytes(2, b"circuit")]).seed("upload"),
        request(2, &[upload.clone(), upload]).seed("two-heads"),
        request(3, &[bytes(1, &[7; 32])]).seed("set-up"),
        request(4, &[execute, bytes(2, b"input")]).seed("execute"),
        request(5, &[bytes(1, &job), bytes(2, b"input")]).seed("prove"),
        request(6, &[bytes(1, &[1; 16])]).seed("has-job"),
        request(7, &[[bytes(1, &[1; 16]), number(2, 1)].concat()]).seed("cancel"),
        request(8, &[]).seed("no-such-method"),
        request(0, &[]).bytes(&[0, 255, 255, 255, 255]).seed("a-message-of-4-gib"),
    ]
}
