//! Proves [`erc20_balance_circuit::circuit`].
#![cfg_attr(target_os = "zkvm", no_main)]

circuit_sdk::entry!(erc20_balance_circuit::circuit);
