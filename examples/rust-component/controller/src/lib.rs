//! The controller of `guests/hello` as a component: the same request, the same witness, the same circuit.

use serde::Deserialize;
use serde_json::{Value, json};

wit_bindgen::generate!({ path: "wit", world: "program" });

use coprocessor::controller::{console, storage};

/// The request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Args {
    name: String,
}

struct Hello;

export!(Hello);

impl Guest for Hello {
    /// One element: the name, as data.
    fn get_witnesses(args: String) -> Result<Vec<Witness>, String> {
        tell_panics();
        let Args { name } = serde_json::from_str(&args).map_err(|error| error.to_string())?;
        console::log(&format!("greeting {name}"));
        Ok(vec![Witness::Data(name.into_bytes())])
    }

    /// Counts deliveries in a file, and keeps the last proof in another.
    fn entrypoint(args: String) -> Result<String, String> {
        tell_panics();
        let call: Value = serde_json::from_str(&args).map_err(|error| error.to_string())?;
        let before = storage::read_file("count.txt").map_err(|failure| format!("{failure:?}"))?;
        let before = before.and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<u64>().ok()).unwrap_or(0);
        write("count.txt", &(before + 1).to_string())?;
        if let Some(proof) = call["proof"].as_str() {
            write("proofs/last.b64", proof)?;
        }
        Ok(json!({ "delivered": before + 1 }).to_string())
    }
}

fn write(path: &str, content: &str) -> Result<(), String> {
    storage::write_file(path, content.as_bytes()).map_err(|failure| format!("{path}: {failure:?}"))
}

/// A panic tells its message before it traps.
fn tell_panics() {
    std::panic::set_hook(Box::new(|info| console::panic(&info.to_string())));
}
