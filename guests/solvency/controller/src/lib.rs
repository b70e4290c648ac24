//! Turns `{"accounts": [{"id": "…", "balance": …}]}` into the witness of the solvency circuit.

use controller_sdk::{Witness, host};
use serde::{Deserialize, Deserializer, de::Error};
use solvency_ledger::{Account, Ledger};

/// The request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    accounts: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    /// A whole number, or its decimal digits as a string (JSON numbers end at 64 bits here).
    #[serde(deserialize_with = "balance")]
    balance: u128,
}

/// One element: the ledger, as data, in the order the circuit wants.
///
/// # Errors
/// What the circuit would refuse too, but before anything is proved, and with the account's name.
pub fn get_witnesses(args: Args) -> Result<Vec<Witness>, String> {
    let accounts = args.accounts.into_iter().map(|Entry { id, balance }| Account { id, balance }).collect();
    let ledger = Ledger::new(accounts).map_err(|error| error.to_string())?;
    host::log(&format!("{} accounts", ledger.accounts().len()));
    Ok(vec![Witness::Data(ledger.to_bytes())])
}

controller_sdk::entry! { get_witnesses: get_witnesses }

fn balance<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Balance {
        Number(u64),
        Digits(String),
    }
    let wrong =
        || D::Error::custom("`balance` is a whole number from 0 to 2^128 - 1, as a JSON number or a string of digits");
    match Balance::deserialize(deserializer).map_err(|_| wrong())? {
        Balance::Number(number) => Ok(number.into()),
        Balance::Digits(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            digits.parse().map_err(|_| wrong())
        }
        Balance::Digits(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use circuit_sdk::{CircuitInput, OpenedWitness, Root, run_native};
    use controller_sdk::{Value, json, testing::Runtime};
    use solvency_ledger::Statement;

    fn refused(accounts: Value) -> String {
        let args = json!({ "accounts": accounts });
        Runtime::new().get_witnesses(get_witnesses, &args).unwrap_err().to_string()
    }

    #[test]
    fn the_circuit_takes_what_the_controller_makes() {
        let args = json!({"accounts": [{"id": "bob", "balance": "340282366920938463463374607431768211450"}, {"id": "alice", "balance": 5}]});
        let witnesses = Runtime::new().get_witnesses(get_witnesses, &args).unwrap();
        let data = |witness| match witness {
            Witness::Data(bytes) => OpenedWitness::Data(bytes),
            Witness::StateProof(proof) => panic!("unexpected {proof:?}"),
        };
        let input = CircuitInput { root: Root([7; 32]), witnesses: witnesses.into_iter().map(data).collect() };
        let output = run_native(solvency_circuit::circuit, &input).unwrap().output;
        let statement = Statement::from_bytes(&output.try_into().unwrap()).unwrap();
        assert_eq!((statement.total, statement.accounts), (u128::MAX, 2));
    }

    #[test]
    fn what_can_not_be_proved_is_refused_by_name() {
        let twice = json!([{"id": "a", "balance": 1}, {"id": "a", "balance": 2}]);
        assert_eq!(refused(twice), "account \"a\" is listed twice");
        assert_eq!(refused(json!([])), "no accounts");
        let huge = json!([{"id": "a", "balance": u128::MAX.to_string()}, {"id": "b", "balance": 1}]);
        assert_eq!(refused(huge), "the total exceeds 128 bits at account \"b\"");
    }

    #[test]
    fn a_balance_is_a_whole_number_of_at_most_128_bits() {
        let beyond = "340282366920938463463374607431768211456";
        for bad in
            [json!(-1), json!(1.5), json!("-1"), json!("+1"), json!("1e3"), json!(""), json!(null), json!(beyond)]
        {
            let message = refused(json!([{"id": "a", "balance": bad.clone()}]));
            assert!(message.contains("`balance` is a whole number"), "{bad}: {message}");
        }
    }
}
