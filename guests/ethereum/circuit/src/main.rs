//! Proves [`ethereum_circuit::circuit`].
#![cfg_attr(target_os = "zkvm", no_main)]

circuit_sdk::entry!(ethereum_circuit::circuit);
