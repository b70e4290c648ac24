//! The entrypoint a controller gets that brings none of its own.

use crate::host::{self, HostError};
use alloc::string::{String, ToString};
use serde_json::{Map, Value, json};

/// Why the default entrypoint refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreError {
    /// A payload with a command this entrypoint does not know.
    #[error("unknown command {0}; this controller's entrypoint knows {{\"cmd\": \"store\", \"path\": …}}")]
    Command(String),
    /// `store` without a path.
    #[error("the command \"store\" wants a \"path\" of type string, got {0}")]
    Path(String),
    /// The file could not be written.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// Obeys the payload a request was made with.
///
/// `{"cmd": "store", "path": …}` writes `{"success", "log", "payload", "proof"}` as JSON to that file of the program's
/// volume. No payload, or one without `cmd`, does nothing. Returns `{}`.
///
/// # Errors
/// An unknown command, no path, or a file that the volume refuses.
pub fn store(args: Value) -> Result<Value, StoreError> {
    let payload = &args["payload"];
    match &payload["cmd"] {
        Value::Null => {}
        Value::String(command) if command == "store" => {
            let path = payload["path"].as_str().ok_or_else(|| StoreError::Path(payload["path"].to_string()))?;
            host::set_storage_file(path, delivered(&args).to_string().as_bytes())?;
        }
        other => return Err(StoreError::Command(other.to_string())),
    }
    Ok(json!({}))
}

fn delivered(args: &Value) -> Value {
    let fields = ["success", "log", "payload", "proof"];
    Value::Object(fields.into_iter().map(|field| (field.into(), args[field].clone())).collect::<Map<_, _>>())
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::testing::Runtime;
    use alloc::vec;

    fn finished(payload: Value) -> Value {
        json!({"success": true, "log": ["a"], "payload": payload, "proof": "cHJvb2Y=", "more": 1})
    }

    #[test]
    fn stores_the_proof_where_the_payload_says() {
        let runtime = Runtime::new();
        let payload = json!({"cmd": "store", "path": "/var/share/proofs/0a1b2c3d.bin"});
        assert_eq!(store(finished(payload.clone())), Ok(json!({})));
        let file: Value = serde_json::from_slice(&runtime.file("/var/share/proofs/0a1b2c3d.bin").unwrap()).unwrap();
        assert_eq!(file, json!({"success": true, "log": ["a"], "payload": payload, "proof": "cHJvb2Y="}));
    }

    #[test]
    fn no_command_does_nothing() {
        let runtime = Runtime::new();
        for payload in [json!(null), json!({}), json!({"other": 1}), json!([1])] {
            assert_eq!(store(finished(payload)), Ok(json!({})));
        }
        assert_eq!(store(json!({})), Ok(json!({})));
        assert_eq!(runtime.paths(), vec![""; 0]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let _runtime = Runtime::new();
        assert_eq!(store(finished(json!({"cmd": "delete"}))), Err(StoreError::Command("\"delete\"".into())));
        assert_eq!(store(finished(json!({"cmd": 1}))), Err(StoreError::Command("1".into())));
        assert_eq!(store(finished(json!({"cmd": "store"}))), Err(StoreError::Path("null".into())));
    }
}
