//! What a prover node answers, read by the coprocessor: messages, statuses and their details.

use crate::{
    Input, Seed, Target, Writer,
    frames::{self, HEAD, PREFACE, Said},
};
use bytes::Bytes;
use coprocessor_prover::{
    ExecutionLimits, Job, JobEvent, JobKey, ProverNode,
    remote::{Dial, RemoteNode},
};
use coprocessor_types::{Backend, BlobDigest, ProofKind, TaskId};
use futures::StreamExt;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

pub(crate) const TARGET: Target =
    Target { name: "node_answers", about: "prover: what a hostile prover node answers", run, seeds };

/// Most messages of one answer.
const MOST: usize = 8;

/// What a node says: messages, and how it ends.
struct Answer {
    messages: Vec<Vec<u8>>,
    status: String,
    text: Vec<u8>,
    details: Vec<u8>,
}

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let call = input.below(8);
    let messages = (0..input.below(MOST)).map(|_| input.many().to_vec()).collect();
    let status = (input.byte() % 20).to_string();
    let answer = Answer { messages, status, text: printable(input.few()), details: base64(input.rest()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime on this thread");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        // Ports are few: a connection that is reset does not keep its own.
        let dial: Dial = Arc::new(move || {
            Box::pin(async move {
                let stream = TcpStream::connect(address).await?;
                stream.set_zero_linger()?;
                Ok(stream)
            })
        });
        let node = RemoteNode::new(&address.to_string(), None, true).expect("an address").through(dial);
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await?;
            serve(&mut stream, &answer).await
        });
        let asked = tokio::time::timeout(Duration::from_secs(60), ask(&node, call)).await;
        assert!(asked.is_ok(), "the node has answered, and is waited for all the same");
        serving.abort();
    });
}

/// Whatever comes of it, it must come.
async fn ask(node: &RemoteNode, call: usize) {
    let (circuit, task) = (BlobDigest([7; 32]), TaskId(Default::default()));
    match call {
        0 => drop(node.describe().await),
        1 => drop(node.has_circuit(circuit).await),
        2 => drop(node.upload_circuit(Backend::Sp1, Bytes::from_static(b"circuit")).await),
        3 => drop(node.set_up(circuit).await),
        4 => drop(node.execute(circuit, Bytes::from_static(b"input"), ExecutionLimits::default()).await),
        5 => drop(node.has_job(task).await),
        6 => drop(node.cancel(JobKey { task, fence: 1 }).await),
        _ => {
            let key = JobKey { task, fence: 1 };
            let job = Job { key, circuit, kind: ProofKind::Mock, input: Bytes::from_static(b"input") };
            let Ok(mut events) = node.prove(job).await else { return };
            let mut done = false;
            while let Some(event) = events.next().await {
                assert!(!done, "an event after the end");
                done = matches!(event, Ok(JobEvent::Done(_)) | Err(_));
            }
            assert!(done, "a job's events end without its end");
        }
    }
}

async fn serve(stream: &mut TcpStream, answer: &Answer) -> io::Result<()> {
    stream.set_zero_linger()?;
    stream.read_exact(&mut [0; PREFACE.len()]).await?;
    stream.write_all(&frames::settings()).await?;
    loop {
        let mut head = [0; HEAD];
        stream.read_exact(&mut head).await?;
        let (length, said) = frames::read_head(&head);
        stream.read_exact(&mut vec![0; length]).await?;
        if matches!(said, Said::Headers | Said::End) {
            break;
        }
    }
    let messages: Vec<u8> = answer.messages.iter().flat_map(|message| frames::message(message)).collect();
    let head = frames::headers(&[(":status", b"200"), ("content-type", b"application/grpc")], false);
    let trailers = [
        ("grpc-status", answer.status.as_bytes()),
        ("grpc-message", &answer.text),
        ("grpc-status-details-bin", &answer.details),
    ];
    stream.write_all(&[head, frames::data(&messages, false), frames::headers(&trailers, true)].concat()).await?;
    // Until the other end has had enough.
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

/// What a header may hold.
fn printable(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| b' ' + byte % 95).collect()
}

/// As gRPC has bytes in a header; no more than fit into one here.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::new();
    for group in bytes[..bytes.len().min(93)].chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        text.extend((0..=group.len()).map(|at| DIGITS[(bits >> (18 - 6 * at)) as usize & 63]));
    }
    text
}

fn seeds() -> Vec<Seed> {
    // Fields of protobuf: the number and the kind in one byte, then a number or a length and bytes.
    let bytes = |field: u8, content: &[u8]| [&[field << 3 | 2, content.len() as u8][..], content].concat();
    let number = |field: u8, number: u8| vec![field << 3, number];
    let answer = |call: u8, messages: &[Vec<u8>]| {
        let writer = Writer::new().byte(call).byte(messages.len() as u8);
        messages.iter().fold(writer, |writer, message| writer.many(message)).byte(0).few(b"")
    };
    let offer = bytes(3, &[bytes(1, b"core"), number(2, 7)].concat());
    let backend = bytes(2, &[bytes(1, b"sp1"), bytes(2, b"sp1 6"), offer].concat());
    let description = [bytes(1, b"node 1"), backend, bytes(4, &number(1, 1)), number(5, 9)].concat();
    let proof = [bytes(1, b"mock"), number(2, 3), number(3, 2), number(4, 9)].concat();
    let prove = [number(1, 2), bytes(2, b""), bytes(3, b"proving"), bytes(4, &proof), bytes(5, b"abcde")];
    let execution = [bytes(1, &[number(1, 9), number(2, 3)].concat()), bytes(2, b"abc")];
    let failure = [bytes(1, b"circuit_failed"), bytes(2, b"because")].concat();
    let detail = [bytes(1, b"type.googleapis.com/coprocessor.prover.v1.Failure"), bytes(2, &failure)].concat();
    let failed = Writer::new().byte(4).byte(0).byte(9).few(b"because").bytes(&bytes(3, &detail));
    vec![
        answer(0, &[description]).seed("description"),
        answer(1, &[number(1, 1)]).seed("has-circuit"),
        answer(2, &[bytes(1, &[7; 32])]).seed("uploaded"),
        answer(3, &[bytes(1, b"key")]).seed("set-up"),
        answer(4, &execution).seed("execution"),
        answer(5, &[number(1, 1)]).seed("has-job"),
        answer(6, &[vec![]]).seed("cancelled"),
        answer(7, &prove).seed("proof"),
        answer(7, &prove[3..4]).seed("proof-that-ends-early"),
        answer(0, &[]).seed("nothing"),
        failed.seed("failure"),
    ]
}
