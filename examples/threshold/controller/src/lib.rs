//! Turns `{"amount": …, "salt": …, "at_least": …}` into the inputs of the circuit `threshold`.

use controller_sdk::{Witness, host, json};
use serde::Deserialize;

/// The request. Only `at_least`, and a commitment to the others, will be public.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// What is to be shown to be enough.
    amount: u64,
    /// A number below the field's modulus, in decimal, or in hexadecimal after `0x`, that nobody else knows.
    salt: String,
    /// How much is enough.
    at_least: u64,
}

/// One element: the JSON that circom's tools read, a field for each signal. The service adds `root`.
pub fn get_witnesses(args: Args) -> Result<Vec<Witness>, String> {
    let Args { amount, salt, at_least } = args;
    if amount < at_least {
        return Err(format!("the amount is not {at_least}: there is nothing to prove"));
    }
    host::log(&format!("showing that an amount is at least {at_least}"));
    // Beyond 64 bits numbers are written as strings; these are for one rule's sake.
    let inputs = json!({"threshold": at_least.to_string(), "amount": amount.to_string(), "salt": salt});
    Ok(vec![Witness::Data(inputs.to_string().into_bytes())])
}

controller_sdk::entry! { get_witnesses: get_witnesses }

#[cfg(test)]
mod tests {
    use super::*;
    use controller_sdk::testing::Runtime;

    #[test]
    fn the_witness_is_the_circuits_inputs() {
        let runtime = Runtime::new();
        let args = json!({"amount": 2500, "salt": "0x5a17", "at_least": 1000});
        let witnesses = runtime.get_witnesses(get_witnesses, &args).unwrap();
        let [Witness::Data(inputs)] = &witnesses[..] else { panic!("{witnesses:?}") };
        let inputs: controller_sdk::Value = controller_sdk::serde_json::from_slice(inputs).unwrap();
        assert_eq!(inputs, json!({"threshold": "1000", "amount": "2500", "salt": "0x5a17"}));
        // What is secret stays out of the log.
        assert_eq!(runtime.log(), ["showing that an amount is at least 1000"]);
    }

    #[test]
    fn too_little_is_refused_before_anything_is_proved() {
        let args = json!({"amount": 1, "salt": "1", "at_least": 2});
        assert!(
            Runtime::new().get_witnesses(get_witnesses, &args).unwrap_err().to_string().contains("nothing to prove")
        );
    }
}
