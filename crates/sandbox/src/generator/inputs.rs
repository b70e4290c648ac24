//! A circuit's inputs: from the JSON that circom's tools read to values for signals.

use super::GeneratorError;
use num_bigint::BigUint;
use serde_json::Value;

/// Deepest nesting of arrays and objects; circom's own are as deep as a circuit's author makes them.
const DEPTH: usize = 32;
/// The longest number as text: more digits than any field's elements have.
const DIGITS: usize = 400;

/// A signal and its values, in the order of its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signal {
    pub(super) name: String,
    pub(super) values: Vec<BigUint>,
}

impl Signal {
    /// What a generator knows it by: FNV-1a of its name, the high 32 bits and the low ones.
    pub(super) fn hash(&self) -> [u32; 2] {
        let hash = self
            .name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        [(hash >> 32) as u32, hash as u32]
    }
}

/// The signals of an object, in its order. Arrays are flattened, row by row; objects within name parts of a signal, as circom's buses.
pub(super) fn signals(inputs: &Value, prime: &BigUint) -> Result<Vec<Signal>, GeneratorError> {
    let Value::Object(fields) = inputs else {
        return Err(GeneratorError::Inputs { reason: format!("expected an object, got {}", kind(inputs)) });
    };
    let mut found = Vec::new();
    for (name, value) in fields {
        collect(name.clone(), value, prime, DEPTH, &mut found)?;
    }
    Ok(found)
}

fn collect(
    name: String,
    value: &Value,
    prime: &BigUint,
    depth: usize,
    found: &mut Vec<Signal>,
) -> Result<(), GeneratorError> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(GeneratorError::SignalValue { signal: name, reason: format!("nested deeper than {DEPTH} levels") });
    };
    match value {
        Value::Object(fields) => {
            fields.iter().try_for_each(|(part, value)| collect(format!("{name}.{part}"), value, prime, depth, found))
        }
        Value::Array(elements) if holds_objects(value) => elements
            .iter()
            .enumerate()
            .try_for_each(|(at, value)| collect(format!("{name}[{at}]"), value, prime, depth, found)),
        value => {
            let mut values = Vec::new();
            flatten(&name, value, prime, depth, &mut values)?;
            found.push(Signal { name, values });
            Ok(())
        }
    }
}

/// Whether an array is of buses. What is mixed is found when its elements are read.
fn holds_objects(value: &Value) -> bool {
    match value {
        Value::Array(elements) => elements.first().is_some_and(holds_objects),
        value => value.is_object(),
    }
}

fn flatten(
    name: &str,
    value: &Value,
    prime: &BigUint,
    depth: usize,
    values: &mut Vec<BigUint>,
) -> Result<(), GeneratorError> {
    let wrong = |reason: String| GeneratorError::SignalValue { signal: name.into(), reason };
    match value {
        Value::Array(elements) => {
            let depth = depth.checked_sub(1).ok_or_else(|| wrong(format!("nested deeper than {DEPTH} levels")))?;
            let mut elements = elements.iter().enumerate();
            elements.try_for_each(|(at, value)| flatten(&format!("{name}[{at}]"), value, prime, depth, values))
        }
        Value::String(text) => {
            values.push(element(text, prime).map_err(wrong)?);
            Ok(())
        }
        Value::Number(number) if number.is_i64() || number.is_u64() => {
            values.push(element(&number.to_string(), prime).map_err(wrong)?);
            Ok(())
        }
        Value::Number(number) => {
            Err(wrong(format!("{number} is no whole number of 64 bits; write larger ones as strings")))
        }
        other => Err(wrong(format!("expected a number, a string with one, or an array of them; got {}", kind(other)))),
    }
}

/// An element of the field from decimal or, after `0x`, hexadecimal digits, with a sign or without. Nothing is reduced: what is not
/// between −(p−1) and p−1 is not an element of the field.
fn element(text: &str, prime: &BigUint) -> Result<BigUint, String> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (digits, radix) = hexadecimal.map_or((digits, 10), |digits| (digits, 16));
    let shown: String = text.chars().take(100).collect();
    let proper = !digits.is_empty() && digits.len() <= DIGITS && digits.chars().all(|digit| digit.is_digit(radix));
    let number = proper.then(|| BigUint::parse_bytes(digits.as_bytes(), radix)).flatten();
    let Some(number) = number else {
        return Err(format!("{shown:?} is not a number in decimal, or in hexadecimal after 0x"));
    };
    if number >= *prime {
        return Err(format!("{shown} is out of the field: it must be between -(p-1) and p-1, where p is {prime}"));
    }
    Ok(if negative && number != BigUint::ZERO { prime - number } else { number })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(inputs: &Value) -> Result<Vec<(String, Vec<u64>)>, String> {
        let signals = signals(inputs, &BigUint::from(101u32)).map_err(|error| error.to_string())?;
        let values = |signal: &Signal| signal.values.iter().map(|value| value.iter_u64_digits().sum()).collect();
        Ok(signals.iter().map(|signal| (signal.name.clone(), values(signal))).collect())
    }

    #[test]
    fn numbers_are_written_in_many_ways() {
        let inputs = json!({ "a": [1, "2", "0x1F", "-1", -100, "-0", "007", "0xf"], "b": 0 });
        let expected = vec![1, 2, 31, 100, 1, 0, 7, 15];
        assert_eq!(read(&inputs), Ok(vec![("a".into(), expected), ("b".into(), vec![0])]));
    }

    #[test]
    fn nested_arrays_are_flattened_and_buses_named() {
        let inputs = json!({ "a": [[1, 2], [3]], "bus": { "x": [4], "y": { "z": 5 } }, "many": [{ "x": 6 }, { "x": 7 }], "none": [] });
        let names = ["a", "bus.x", "bus.y.z", "many[0].x", "many[1].x", "none"];
        let values = [vec![1, 2, 3], vec![4], vec![5], vec![6], vec![7], vec![]];
        assert_eq!(read(&inputs), Ok(names.map(String::from).into_iter().zip(values).collect()));
    }

    #[test]
    fn what_is_no_element_is_named() {
        for (value, part) in [
            (json!(101), "out of the field"),
            (json!("101"), "out of the field"),
            (json!("-101"), "out of the field"),
            (json!("0x65"), "out of the field"),
            (json!(1.5), "no whole number"),
            (json!(1e30), "no whole number"),
            (json!(""), "not a number"),
            (json!("-"), "not a number"),
            (json!("0x"), "not a number"),
            (json!("--1"), "not a number"),
            (json!("+1"), "not a number"),
            (json!("1 "), "not a number"),
            (json!("12ab"), "not a number"),
            (json!("1".repeat(401)), "not a number"),
            (json!(null), "got null"),
            (json!(true), "got a truth value"),
            (json!({}), "got an object"),
        ] {
            let error = read(&json!({ "secret": [3, [value]] })).unwrap_err();
            assert!(error.starts_with("input signal `secret[1][0]`") && error.contains(part), "{error}");
        }
        for inputs in [json!([1]), json!(1), json!(null)] {
            assert!(read(&inputs).unwrap_err().contains("not an object"));
        }
        let deep = (0..40).fold(json!(1), |inner, _| json!([inner]));
        assert!(read(&json!({ "a": deep })).unwrap_err().contains("nested deeper"));
        let deep = (0..40).fold(json!(1), |inner, _| json!({ "b": inner }));
        assert!(read(&json!({ "a": deep })).unwrap_err().contains("nested deeper"));
    }

    #[test]
    fn signals_are_known_by_the_hash_of_their_name() {
        let hash = |name: &str| Signal { name: name.into(), values: Vec::new() }.hash();
        assert_eq!(hash(""), [0xcbf2_9ce4, 0x8422_2325]);
        assert_eq!(hash("a"), [0xaf63_dc4c, 0x8601_ec8c]);
    }

    proptest! {
        #[test]
        fn what_is_in_the_field_is_taken_as_it_is(value in -100i64..=100) {
            let expected = u64::try_from(value.rem_euclid(101)).unwrap();
            for form in [json!(value), json!(value.to_string())] {
                prop_assert_eq!(read(&json!({ "a": form })), Ok(vec![("a".into(), vec![expected])]));
            }
        }
    }
}
