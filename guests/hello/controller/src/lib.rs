//! Turns `{"name": "…"}` into the witness of the hello circuit.

use controller_sdk::{Witness, host};
use serde::Deserialize;

/// The request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Whom to greet. The circuit refuses an empty name and one of more than 64 bytes.
    name: String,
}

/// One element: the name, as data. What a name may be is for the circuit to say, since only the circuit is proved.
pub fn get_witnesses(args: Args) -> Result<Vec<Witness>, String> {
    host::log(&format!("greeting {}", args.name));
    Ok(vec![Witness::Data(args.name.into_bytes())])
}

controller_sdk::entry! { get_witnesses: get_witnesses }

/// What the guide shows is compiled and run here.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/GUESTS.md")]
struct Guide;

#[cfg(test)]
mod tests {
    use super::*;
    use controller_sdk::{json, testing::Runtime};

    #[test]
    fn the_witness_is_the_name() {
        let runtime = Runtime::new();
        let witnesses = runtime.get_witnesses(get_witnesses, &json!({"name": "World"}));
        assert_eq!(witnesses, Ok(vec![Witness::Data(b"World".to_vec())]));
        assert_eq!(runtime.log(), ["greeting World"]);
    }

    #[test]
    fn a_request_of_another_shape_says_what_is_missing() {
        let refused = Runtime::new().get_witnesses(get_witnesses, &json!({"nam": "World"})).unwrap_err();
        assert!(refused.to_string().contains("expected `name`"), "{refused}");
    }
}
