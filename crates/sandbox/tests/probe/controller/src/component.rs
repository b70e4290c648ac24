//! The worlds of WIT.

use crate::{Block, Failure};
use serde_json::{Value, json};

wit_bindgen::generate!({
    path: "wit",
    inline: "
        package probe:controller;
        world both {
            include coprocessor:controller/program@1.0.0;
            include coprocessor:controller/domain@1.0.0;
        }
    ",
    generate_all,
});

use coprocessor::controller::{chain, console, context, http as web, rpc as nodes, storage, types};

struct Probe;

export!(Probe);

impl Guest for Probe {
    fn get_witnesses(args: String) -> Result<Vec<types::Witness>, String> {
        let witness = |witness| match witness {
            crate::Witness::Data(bytes) => types::Witness::Data(bytes),
            crate::Witness::StateProof(proof) => types::Witness::StateProof(exported(proof)),
        };
        Ok(super::get_witnesses(&read(&args)?)?.into_iter().map(witness).collect())
    }

    fn entrypoint(args: String) -> Result<String, String> {
        super::entrypoint(&read(&args)?).map(|answer| answer.to_string())
    }

    fn validate_block(args: String) -> Result<types::ValidatedBlock, String> {
        let (number, root, payload) = super::validate_block(&read(&args)?)?;
        Ok(types::ValidatedBlock { number, root, payload })
    }

    fn get_state_proof(args: String) -> Result<types::StateProof, String> {
        super::get_state_proof(&read(&args)?).map(exported)
    }
}

/// Arguments are JSON. A panic tells its message before it traps.
fn read(args: &str) -> Result<Value, String> {
    std::panic::set_hook(Box::new(|info| console::panic(&info.to_string())));
    serde_json::from_str(args).map_err(|error| error.to_string())
}

pub(crate) fn log(line: &str) {
    console::log(line);
}

pub(crate) fn program() -> Vec<u8> {
    context::program()
}

pub(crate) fn root() -> Vec<u8> {
    context::root()
}

pub(crate) fn read_file(path: &str) -> Result<Option<Vec<u8>>, Failure> {
    storage::read_file(path).map_err(reason)
}

pub(crate) fn write_file(path: &str, content: &[u8]) -> Result<(), Failure> {
    storage::write_file(path, content).map_err(reason)
}

pub(crate) fn read_raw() -> Result<Vec<u8>, Failure> {
    storage::read_raw().map_err(reason)
}

pub(crate) fn write_raw(content: &[u8]) -> Result<(), Failure> {
    storage::write_raw(content).map_err(reason)
}

pub(crate) fn read_image() -> Result<Vec<u8>, Failure> {
    storage::read_image().map_err(reason)
}

pub(crate) fn write_image(image: &[u8]) -> Result<(), Failure> {
    storage::write_image(image).map_err(reason)
}

pub(crate) fn http(method: &str, url: &str, body: &[u8]) -> Result<(u16, Vec<u8>), Failure> {
    let request = web::Request {
        method: method.to_owned(),
        url: url.to_owned(),
        query: vec![],
        headers: vec![("x-probe".to_owned(), "1".to_owned())],
        authorization: None,
        body: (method == "POST").then(|| body.to_vec()),
    };
    let response = web::send(&request).map_err(reason)?;
    Ok((response.status, response.body))
}

pub(crate) fn rpc(chain: &str, method: &str, params: &Value) -> Result<Value, Failure> {
    let result = nodes::call(chain, method, &params.to_string()).map_err(reason)?;
    serde_json::from_str(&result).map_err(|error| error.to_string())
}

pub(crate) fn latest_block(domain: &str) -> Result<Option<Block>, Failure> {
    let block = chain::latest_block(domain).map_err(reason)?;
    Ok(block.map(|block| Block(block.domain, block.number, block.state_root, block.payload)))
}

/// Trust, siblings in the domain's tree, siblings in the root tree.
pub(crate) fn block_opening(domain: &str, number: u64) -> Result<Value, Failure> {
    let opening = chain::block_opening(domain, number).map_err(reason)?;
    Ok(json!([opening.trust, opening.domain_siblings, opening.root_siblings]))
}

/// Id, root, root before, the block's number, trust.
pub(crate) fn root_update(root: &[u8]) -> Result<Option<Value>, Failure> {
    let update = chain::root_update(root).map_err(reason)?;
    Ok(update.map(|update| json!([update.id, update.root, update.previous, update.block.number, update.trust])))
}

pub(crate) fn prove_state(domain: &str, of: &Value) -> Result<crate::StateProof, Failure> {
    let proof = chain::prove_state(domain, &of.to_string()).map_err(reason)?;
    Ok(crate::StateProof(proof.domain, proof.number, proof.state_root, proof.payload, proof.proof))
}

fn reason(failure: types::Failure) -> Failure {
    match failure {
        types::Failure::Refused(reason) | types::Failure::Unanswered(reason) | types::Failure::TooLarge(reason) => {
            reason
        }
    }
}

fn exported(proof: crate::StateProof) -> types::StateProof {
    let crate::StateProof(domain, number, state_root, payload, proof) = proof;
    types::StateProof { domain, number, state_root, payload, proof }
}
