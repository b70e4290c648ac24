//! Keys of any number of signals, with good proofs: made by one who knows what a set-up's randomness was.

use crate::{
    agreement::assert_agreement,
    chain::{Chain, snarkjs, transaction},
    fixtures::Statement,
};
use coprocessor_solidity::{MAX_SIGNALS, Proof, PublicSignals, VerifyingKey, Word, abi::call};
use coprocessor_test_servers::{compile_sources, run_script};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Whoever knows alpha, beta, gamma, delta and the scalars behind IC can choose any signals, a and b, and compute c from what
/// the pairing is checked of. So there is a good proof for each number of signals without a circuit.
const MAKE: &str = r#"
const snarkjs = require("snarkjs");
const text = (value) => (Array.isArray(value) ? value.map(text) : value.toString());
(async () => {
    const curve = await snarkjs.curves.getCurveFromName("bn128");
    const { G1, G2, Fr } = curve;
    const [g1, g2] = [G1, G2].map((group) => (scalar) => text(group.toObject(group.toAffine(group.timesFr(group.g, scalar)))));
    const made = JSON.parse(require("fs").readFileSync(0, "utf8")).map((signals) => {
        const [alpha, beta, gamma, delta, a, b] = Array.from({ length: 6 }, () => Fr.random());
        const ic = Array.from({ length: signals + 1 }, () => Fr.random());
        const half = () => Fr.e(Fr.toObject(Fr.random()) >> 130n);
        const values = Array.from({ length: signals }, (_, at) => (at < 2 ? half() : Fr.random()));
        const sum = values.reduce((sum, value, at) => Fr.add(sum, Fr.mul(value, ic[at + 1])), ic[0]);
        const c = Fr.div(Fr.sub(Fr.sub(Fr.mul(a, b), Fr.mul(alpha, beta)), Fr.mul(sum, gamma)), delta);
        return {
            key: {
                protocol: "groth16", curve: "bn128", nPublic: signals, vk_alpha_1: g1(alpha), vk_beta_2: g2(beta),
                vk_gamma_2: g2(gamma), vk_delta_2: g2(delta), IC: ic.map(g1),
            },
            proof: { pi_a: g1(a), pi_b: g2(b), pi_c: g1(c) },
            public: values.map((value) => Fr.toObject(value).toString()),
        };
    });
    await curve.terminate();
    process.stdout.write(JSON.stringify(made));
})();
"#;

#[test]
fn verifiers_of_every_size_agree_and_ours_costs_no_more() {
    let (Some(packages), Some(chain)) = (snarkjs(), Chain::start()) else { return };
    let sizes = [2, 3, 9, 40, MAX_SIGNALS];
    let made = run_script(&packages, MAKE, json!(sizes).to_string().as_bytes()).unwrap();
    let made: Vec<Value> = serde_json::from_slice(&made).unwrap();
    for (signals, made) in sizes.into_iter().zip(made) {
        let json = |part: &str| made[part].to_string().into_bytes();
        let key = VerifyingKey::from_snarkjs(&json("key")).unwrap();
        assert_eq!(key.signals(), signals);
        let statement = Statement {
            proof: Proof::from_snarkjs(&json("proof")).unwrap(),
            signals: PublicSignals::from_snarkjs(&json("public")).unwrap(),
        };
        let ours = deploy(&chain, "Ours", key.contract(&"Ours".parse().unwrap()));
        assert_eq!(chain.word(ours, "VERIFYING_KEY_HASH()", &[]), key.hash());
        // What is recommended is enough, to the last gas.
        let data = statement.proof.call(&statement.signals);
        let with_gas = json!([transaction(chain.account(0), ours, &data, key.gas()), "latest"]);
        assert_eq!(
            chain.node.call("eth_call", with_gas).unwrap(),
            json!(Word::from(1).to_string()),
            "{signals} signals"
        );
        if signals == MAX_SIGNALS {
            // Beyond what snarkjs's contract has room for.
            continue;
        }
        let theirs = deploy(&chain, "Groth16Verifier", Chain::snarkjs_verifier(&packages, &json("key")));
        assert_agreement(&chain, [ours, theirs], std::slice::from_ref(&statement));
        let used = [ours, theirs].map(|to| chain.used(transaction(chain.account(0), to, &data, 5_000_000)));
        assert!(used[0] <= used[1], "{signals} signals: {used:?}");
    }
}

#[test]
fn a_name_of_the_caller_is_the_contracts() {
    let Some(chain) = Chain::start() else { return };
    let contract = crate::fixtures::key().contract(&"Another_1".parse().unwrap());
    let at = deploy(&chain, "Another_1", contract);
    assert_eq!(chain.ask(at, &call("VERIFYING_KEY_HASH()", &[])).unwrap(), crate::fixtures::key().hash().0);
}

fn deploy(chain: &Chain, contract: &str, source: String) -> crate::chain::Address {
    let compiled = compile_sources(&BTreeMap::from([("source.sol".to_owned(), source)])).unwrap();
    assert_eq!(compiled.warnings, Vec::<String>::new());
    chain.deploy_code(chain.account(0), &compiled.contracts[contract].bytecode, &[])
}
