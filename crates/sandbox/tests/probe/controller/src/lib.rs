//! A controller that does as its arguments say, one host call or one misdeed at a time: built for either interface from the
//! same lines, so that both can be held to the same tests.

#[cfg_attr(feature = "component", path = "component.rs")]
#[cfg_attr(not(feature = "component"), path = "core_module.rs")]
mod interface;

use serde_json::{Value, json};

/// Why a host call has no answer, in the service's words.
type Failure = String;

/// A block: domain, number, state root, payload.
struct Block(Vec<u8>, u64, Vec<u8>, Vec<u8>);

/// A proof of state: domain, number, state root, payload, proof.
struct StateProof(Vec<u8>, u64, Vec<u8>, Vec<u8>, Vec<u8>);

enum Witness {
    Data(Vec<u8>),
    StateProof(StateProof),
}

/// `{"do": …}` alone, or several in `steps`, whose answers are a list.
fn entrypoint(args: &Value) -> Result<Value, String> {
    match args["steps"].as_array() {
        Some(steps) => steps.iter().map(step).collect::<Result<Vec<_>, _>>().map(Value::from),
        None => step(args),
    }
}

fn get_witnesses(args: &Value) -> Result<Vec<Witness>, String> {
    if let Some(reason) = args["fail"].as_str() {
        return Err(reason.to_owned());
    }
    let mut witnesses = vec![Witness::Data(bytes(&args["data"]))];
    if let Some(domain) = args["domain"].as_str() {
        witnesses.push(Witness::StateProof(interface::prove_state(domain, &args["of"])?));
    }
    Ok(witnesses)
}

/// Number, state root, payload.
fn validate_block(args: &Value) -> Result<(u64, Vec<u8>, Vec<u8>), String> {
    let number = args["number"].as_u64().ok_or("no number")?;
    Ok((number, vec![7; 32], bytes(&args["payload"])))
}

fn get_state_proof(args: &Value) -> Result<StateProof, String> {
    let number = args["number"].as_u64().ok_or("no number")?;
    Ok(StateProof(vec![1; 32], number, vec![2; 32], b"payload".to_vec(), bytes(&args["proof"])))
}

fn step(args: &Value) -> Result<Value, String> {
    let text = |name: &str| args[name].as_str().unwrap_or_default();
    let number = |name: &str| args[name].as_u64().unwrap_or_default();
    Ok(match text("do") {
        "echo" => args["value"].clone(),
        "log" => {
            for _ in 0..number("lines").max(1) {
                interface::log(&text("line").repeat(number("times").max(1) as usize));
            }
            Value::Null
        }
        "context" => json!({"program": interface::program(), "root": interface::root()}),
        "read" => told(interface::read_file(text("path")), |file| json!(file)),
        "write" => told(interface::write_file(text("path"), &filled(args)), |()| json!("written")),
        "read_raw" => told(interface::read_raw(), |raw| json!(raw)),
        "write_raw" => told(interface::write_raw(&filled(args)), |()| json!("written")),
        "read_image" => told(interface::read_image(), |image| json!(image)),
        "write_image" => told(interface::write_image(&filled(args)), |()| json!("written")),
        "http" => told(
            interface::http(text("method"), text("url"), &bytes(&args["body"])),
            |(status, body)| json!({"status": status, "body": body}),
        ),
        "rpc" => told(interface::rpc(text("chain"), text("method"), &args["params"]), |result| result),
        "latest_block" => told(interface::latest_block(text("domain")), |block| {
            block.map_or(Value::Null, |Block(domain, number, root, payload)| json!([domain, number, root, payload]))
        }),
        "block_opening" => told(interface::block_opening(text("domain"), number("number")), |opening| json!(opening)),
        "root_update" => told(interface::root_update(&bytes(&args["root"])), |update| json!(update)),
        "prove_state" => told(interface::prove_state(text("domain"), &args["of"]), |proof| {
            let StateProof(domain, number, root, payload, proof) = proof;
            json!([domain, number, root, payload, proof])
        }),
        "fail" => return Err(text("message").to_owned()),
        "panic" => panic!("{}", text("message")),
        "spin" => spin(),
        "recurse" => json!(recurse(1)),
        "grow" => {
            let mut kept = Vec::new();
            loop {
                kept.push(vec![kept.len() as u8; 1 << 20]);
                std::hint::black_box(&kept);
            }
        }
        "long" => json!("x".repeat(number("length") as usize)),
        other => return Err(format!("unknown: {other}")),
    })
}

fn told<T>(answer: Result<T, Failure>, tell: impl FnOnce(T) -> Value) -> Value {
    match answer {
        Ok(answer) => json!({"ok": tell(answer)}),
        Err(reason) => json!({"failed": reason}),
    }
}

/// A list of numbers.
fn bytes(list: &Value) -> Vec<u8> {
    let byte = |number: &Value| number.as_u64().and_then(|number| u8::try_from(number).ok());
    list.as_array().map(|list| list.iter().map(|number| byte(number).expect("a byte")).collect()).unwrap_or_default()
}

/// `bytes`, or `length` zeros.
fn filled(args: &Value) -> Vec<u8> {
    match args["length"].as_u64() {
        Some(length) => vec![0; length as usize],
        None => bytes(&args["bytes"]),
    }
}

fn spin() -> ! {
    let mut number = 0_u64;
    loop {
        number = std::hint::black_box(number.wrapping_add(1));
    }
}

/// Without an end that a compiler could see.
fn recurse(depth: u64) -> u64 {
    let below = if std::hint::black_box(depth) == 0 { 0 } else { recurse(depth + 1) };
    std::hint::black_box(below).wrapping_add(1)
}
