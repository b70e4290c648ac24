//! Proves what an institution owes in all, without showing to whom.

use circuit_sdk::Witnesses;
use solvency_ledger::{Ledger, Statement};

/// Witness: the ledger, as data. Output: [`Statement::to_bytes`].
///
/// Refuses a ledger with an account listed twice, out of order or without a name, or with a total beyond 128 bits.
pub fn circuit(mut witnesses: Witnesses) -> [u8; Statement::LEN] {
    match Ledger::from_bytes(&witnesses.data()) {
        Ok(ledger) => ledger.statement().to_bytes(),
        Err(error) => panic!("the ledger is refused: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use circuit_sdk::{CircuitInput, OpenedWitness, Root, run_native};
    use solvency_ledger::Account;

    fn run(ledger: &[u8]) -> Vec<u8> {
        let input = CircuitInput { root: Root([7; 32]), witnesses: vec![OpenedWitness::Data(ledger.to_vec())] };
        run_native(circuit, &input).unwrap().output
    }

    fn entry(id: &str, balance: u128) -> Vec<u8> {
        [&[id.len() as u8], id.as_bytes(), &balance.to_le_bytes()].concat()
    }

    fn forged(entries: &[Vec<u8>]) -> Vec<u8> {
        [&(entries.len() as u32).to_le_bytes()[..], &entries.concat()].concat()
    }

    #[test]
    fn commits_to_the_total_the_count_and_the_tree() {
        let accounts = vec![Account::new("bob", 5), Account::new("alice", 37)];
        let ledger = Ledger::new(accounts).unwrap();
        let statement = Statement::from_bytes(&run(&ledger.to_bytes()).try_into().unwrap()).unwrap();
        assert_eq!(statement, ledger.statement());
        assert_eq!((statement.total, statement.accounts), (42, 2));
        let opening = ledger.open("bob").unwrap();
        assert_eq!(statement.verify(&Account::new("bob", 5), &opening), Ok(()));
    }

    #[test]
    #[should_panic(expected = "the ledger is refused: account \"bob\" is listed twice")]
    fn one_account_listed_twice_is_refused() {
        run(&forged(&[entry("bob", 5), entry("bob", 5)]));
    }

    #[test]
    #[should_panic(expected = "the ledger is refused: account \"alice\" comes after \"bob\"")]
    fn accounts_out_of_order_are_refused() {
        run(&forged(&[entry("bob", 5), entry("alice", 5), entry("bob", 5)]));
    }

    /// A liability that wraps around would hide all others.
    #[test]
    #[should_panic(expected = "the ledger is refused: the total exceeds 128 bits at account \"b\"")]
    fn a_total_that_wraps_around_is_refused() {
        run(&forged(&[entry("a", 1000), entry("b", u128::MAX - 900)]));
    }

    #[test]
    #[should_panic(expected = "the ledger is refused: truncated")]
    fn an_announced_account_that_is_missing_is_refused() {
        let mut bytes = forged(&[entry("a", 1)]);
        bytes[0] = 2;
        run(&bytes);
    }

    #[test]
    #[should_panic(expected = "the ledger is refused: 17 bytes left over")]
    fn an_account_that_is_not_counted_is_refused() {
        let mut bytes = forged(&[entry("a", 1)]);
        bytes.extend([0; 17]);
        run(&bytes);
    }

    #[test]
    #[should_panic(expected = "the ledger is refused: no accounts")]
    fn an_empty_ledger_is_refused() {
        run(&forged(&[]));
    }
}
