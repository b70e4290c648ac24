//! JSON on the command line.

use crate::local;
use serde_json::Value;
use std::path::Path;

/// Reads `JSON`, `@FILE`, or `@-` for standard input.
pub(crate) fn json_argument(text: &str) -> Result<Value, String> {
    let content = match text.strip_prefix('@') {
        Some(path) => local::read(Path::new(path)).map_err(|error| error.to_string())?,
        None => text.as_bytes().to_vec(),
    };
    serde_json::from_slice(&content).map_err(|error| {
        let hint = if text.starts_with('@') { "" } else { "; a text needs its own quotes: '\"Ada\"'" };
        format!("not JSON: {error}{hint}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_read_from_the_line_or_from_a_file() {
        assert_eq!(json_argument(r#"{"name": "Ada"}"#), Ok(json!({"name": "Ada"})));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("args.json");
        std::fs::write(&path, "[1, 2]").unwrap();
        assert_eq!(json_argument(&format!("@{}", path.display())), Ok(json!([1, 2])));
        assert!(json_argument("Ada").unwrap_err().contains("needs its own quotes"));
        assert!(json_argument("@/nowhere/args.json").unwrap_err().contains("/nowhere/args.json"));
    }
}
