//! Commits a greeting: the smallest circuit that can refuse its witness.

use circuit_sdk::Witnesses;

/// Longest name that is greeted, in bytes.
pub const MAX_NAME: usize = 64;

/// Witness: the name, as data. Output: `Hello, {name}!` in UTF-8.
pub fn circuit(mut witnesses: Witnesses) -> String {
    let name = String::from_utf8(witnesses.data()).expect("the name is not UTF-8");
    assert!(!name.is_empty(), "the name is empty");
    assert!(name.len() <= MAX_NAME, "the name has {} bytes, at most {MAX_NAME}", name.len());
    format!("Hello, {name}!")
}

#[cfg(test)]
mod tests {
    use super::*;
    use circuit_sdk::{CircuitError, CircuitInput, OpenedWitness, PublicInputs, Root, run_native};

    fn run(witnesses: &[&[u8]]) -> Result<PublicInputs, CircuitError> {
        let witnesses = witnesses.iter().map(|bytes| OpenedWitness::Data(bytes.to_vec())).collect();
        run_native(circuit, &CircuitInput { root: Root([7; 32]), witnesses })
    }

    #[test]
    fn greets() {
        let inputs = run(&["Wörld".as_bytes()]).unwrap();
        assert_eq!(inputs.output, "Hello, Wörld!".as_bytes());
        assert_eq!(inputs.root, Root([7; 32]));
        assert!(run(&[&[b'a'; MAX_NAME]]).is_ok());
    }

    #[test]
    #[should_panic(expected = "the name is empty")]
    fn an_empty_name_is_refused() {
        let _ = run(&[b""]);
    }

    #[test]
    #[should_panic(expected = "the name has 65 bytes, at most 64")]
    fn a_long_name_is_refused() {
        let _ = run(&[&[b'a'; MAX_NAME + 1]]);
    }

    #[test]
    #[should_panic(expected = "the name is not UTF-8")]
    fn bytes_that_are_no_text_are_refused() {
        let _ = run(&[&[0xff]]);
    }

    #[test]
    fn a_second_element_is_refused() {
        assert_eq!(run(&[b"a", b"b"]), Err(CircuitError::LeftOver { taken: 1, total: 2 }));
    }
}
