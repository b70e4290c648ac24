//! The module `valence` of v0.4, by the SDK.

use super::{Block, Failure, StateProof, Witness};
use controller_sdk::{DomainId, Root, ValidatedBlock, host, http};
use serde_json::{Value, json};

controller_sdk::entry! { get_witnesses: get_witnesses, entrypoint: entrypoint }
controller_sdk::entry! { validate_block: validate_block, get_state_proof: get_state_proof }

#[link(wasm_import_module = "valence")]
unsafe extern "C" {
    fn get_storage(ptr: *mut u8) -> i32;
    fn set_storage(ptr: *const u8, len: usize) -> i32;
}

fn get_witnesses(args: Value) -> Result<Vec<controller_sdk::Witness>, String> {
    let witness = |witness| match witness {
        Witness::Data(bytes) => controller_sdk::Witness::Data(bytes),
        Witness::StateProof(proof) => controller_sdk::Witness::StateProof(exported(proof)),
    };
    Ok(super::get_witnesses(&args)?.into_iter().map(witness).collect())
}

fn entrypoint(args: Value) -> Result<Value, String> {
    super::entrypoint(&args)
}

fn validate_block(args: Value) -> Result<ValidatedBlock, String> {
    let (number, root, payload) = super::validate_block(&args)?;
    Ok(ValidatedBlock { number, root: root.try_into().expect("32 bytes"), payload })
}

fn get_state_proof(args: Value) -> Result<controller_sdk::StateProof, String> {
    super::get_state_proof(&args).map(exported)
}

pub(crate) fn log(line: &str) {
    host::log(line);
}

pub(crate) fn program() -> Vec<u8> {
    host::program_id().expect("a program").0.to_vec()
}

pub(crate) fn root() -> Vec<u8> {
    host::root().expect("a root").0.to_vec()
}

pub(crate) fn read_file(path: &str) -> Result<Option<Vec<u8>>, Failure> {
    host::get_storage_file(path).map_err(|error| error.reason)
}

pub(crate) fn write_file(path: &str, content: &[u8]) -> Result<(), Failure> {
    host::set_storage_file(path, content).map_err(|error| error.reason)
}

pub(crate) fn read_raw() -> Result<Vec<u8>, Failure> {
    host::get_raw_storage().map_err(|error| error.reason)
}

pub(crate) fn write_raw(content: &[u8]) -> Result<(), Failure> {
    host::set_raw_storage(content).map_err(|error| error.reason)
}

pub(crate) fn read_image() -> Result<Vec<u8>, Failure> {
    let mut buffer = vec![0; 16 << 20];
    // SAFETY: the host writes no more than 16 MiB.
    let written = unsafe { get_storage(buffer.as_mut_ptr()) };
    buffer.truncate(usize::try_from(written).map_err(|_| format!("{written}"))?);
    Ok(buffer)
}

pub(crate) fn write_image(image: &[u8]) -> Result<(), Failure> {
    // SAFETY: the host reads as many bytes as there are.
    match unsafe { set_storage(image.as_ptr(), image.len()) } {
        0 => Ok(()),
        code => Err(format!("{code}")),
    }
}

pub(crate) fn http(method: &str, url: &str, body: &[u8]) -> Result<(u16, Vec<u8>), Failure> {
    let request = if method == "POST" { http::Request::post(url).bytes(body) } else { http::Request::get(url) };
    let response = request.header("x-probe", "1").send().map_err(|error| error.reason)?;
    Ok((response.status, response.bytes()))
}

pub(crate) fn rpc(chain: &str, method: &str, params: &Value) -> Result<Value, Failure> {
    host::rpc(chain, method, params).map_err(|error| error.reason)
}

pub(crate) fn latest_block(domain: &str) -> Result<Option<Block>, Failure> {
    let block = host::get_latest_block(domain).map_err(|error| error.reason)?;
    Ok(block.map(|block| Block(hash(block.domain), block.number, block.state_root.to_vec(), block.payload)))
}

/// Trust, siblings in the domain's tree, siblings in the root tree.
pub(crate) fn block_opening(domain: &str, number: u64) -> Result<Value, Failure> {
    let opening = host::get_block_proof(domain, number).map_err(|error| error.reason)?;
    let hashes = |roots: Vec<Root>| roots.into_iter().map(|root| root.0).collect::<Vec<_>>();
    Ok(json!([opening.trust.0, hashes(opening.domain_siblings), hashes(opening.root_siblings)]))
}

/// Id, root, root before, the block's number, trust.
pub(crate) fn root_update(root: &[u8]) -> Result<Option<Value>, Failure> {
    let root = Root(root.try_into().expect("32 bytes"));
    let update = host::get_historical_update(&root).map_err(|error| error.reason)?;
    Ok(update.map(|update| json!([update.id, update.root.0, update.previous.0, update.block.number, update.trust.0])))
}

pub(crate) fn prove_state(domain: &str, of: &Value) -> Result<StateProof, Failure> {
    let proof = host::get_state_proof(domain, of).map_err(|error| error.reason)?;
    Ok(StateProof(hash(proof.domain), proof.number, proof.state_root.to_vec(), proof.payload, proof.proof))
}

fn hash(domain: DomainId) -> Vec<u8> {
    domain.0.to_vec()
}

fn exported(StateProof(domain, number, state_root, payload, proof): StateProof) -> controller_sdk::StateProof {
    let fixed = |bytes: Vec<u8>| bytes.try_into().expect("32 bytes");
    controller_sdk::StateProof {
        domain: DomainId(fixed(domain)),
        number,
        state_root: fixed(state_root),
        payload,
        proof,
    }
}
