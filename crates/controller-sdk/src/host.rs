//! What the service does for a controller.
//!
//! The host writes results to a pointer and is not told a capacity, but never writes more than 16 MiB: calls whose
//! result has no fixed size offer a buffer of that size.

use crate::{msgpack, sys};
use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use coprocessor_types::{BlockNumber, BlockOpening, DomainId, ProgramId, Root, StateProof, TrustId};
use core::fmt;
use serde_json::Value;

/// A host call that failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("host call `{call}` failed: {code}{}{reason}", if reason.is_empty() { "" } else { ": " })]
pub struct HostError {
    /// The call's name in the ABI.
    pub call: &'static str,
    /// What kind of failure it is.
    pub code: HostErrorCode,
    /// Why, in the service's words; empty where the code says all. It is in the log too.
    pub reason: String,
}

impl HostError {
    /// One that the code says all about.
    pub(crate) const fn new(call: &'static str, code: HostErrorCode) -> Self {
        Self { call, code, reason: String::new() }
    }

    /// One with the service's own words.
    pub(crate) fn explained(call: &'static str, code: HostErrorCode) -> Self {
        let mut buffer = sys::Buffer::offered();
        let written = sys::get_reason(&mut buffer);
        // Without words there is the code.
        let reason = match usize::try_from(written) {
            Ok(len) if len <= sys::Buffer::CAPACITY => String::from_utf8(buffer.taken(len)).unwrap_or_default(),
            _ => String::new(),
        };
        Self { call, code, reason }
    }
}

/// A block of a domain that a root commits to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// The domain.
    pub domain: DomainId,
    /// Its number.
    pub number: BlockNumber,
    /// Its state root.
    pub state_root: [u8; 32],
    /// What the domain's controller kept of it.
    pub payload: Vec<u8>,
}

/// A root and the one before it, which has all of its blocks but one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RootUpdate {
    /// Names the update, a UUIDv7.
    pub id: [u8; 16],
    /// The root.
    pub root: Root,
    /// The root before.
    pub previous: Root,
    /// The block that the root has and the one before has not.
    pub block: Block,
    /// What the block was checked by.
    pub trust: TrustId,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal: $text:literal,)*) => {
        /// Why a host call failed, by the ABI's negative result.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum HostErrorCode {
            $($(#[$doc])* $name,)*
            /// A code this SDK does not know, or bytes it cannot read.
            Unknown(i32),
        }

        impl HostErrorCode {
            /// The code of a negative result.
            pub const fn from_result(result: i32) -> Self {
                match result {
                    $($code => Self::$name,)*
                    other => Self::Unknown(other),
                }
            }

            /// The ABI's number.
            pub const fn as_i32(self) -> i32 {
                match self {
                    $(Self::$name => $code,)*
                    Self::Unknown(code) => code,
                }
            }
        }

        impl fmt::Display for HostErrorCode {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text = match self {
                    $(Self::$name => $text,)*
                    Self::Unknown(_) => "unknown",
                };
                write!(f, "{text} ({})", self.as_i32())
            }
        }
    };
}

codes! {
    /// The module exports no memory.
    NoMemory = -1: "the module exports no memory",
    /// A pointer and length reach beyond the memory.
    OutOfMemory = -2: "memory too small",
    /// The host could not write to the memory.
    Write = -3: "memory write",
    /// The host could not read from the memory.
    Read = -4: "memory read",
    /// The result's bytes could not be taken.
    ReturnBytes = -5: "bad return bytes",
    /// More than 16 MiB.
    TooLarge = -6: "buffer too large",
    /// The raw storage failed.
    RawStorage = -7: "raw storage",
    /// A text that is not UTF-8.
    NotUtf8 = -8: "not UTF-8",
    /// No proof of the domain.
    DomainProof = -9: "domain proof",
    /// The result could not be serialized.
    Serialization = -10: "serialization",
    /// JSON that does not parse.
    Json = -11: "JSON",
    /// No state proof.
    StateProof = -12: "state proof",
    /// The HTTP request failed or is not allowed.
    Http = -13: "http",
    /// The latest block could not be read.
    LatestBlock = -14: "latest block",
    /// The volume refused: no space, a name FAT can't hold, or no such directory.
    Storage = -15: "storage",
    /// The opening could not be made.
    Opening = -16: "opening",
    /// The payload could not be read.
    Payload = -17: "payload",
    /// No RPC endpoint for the chain.
    NoRpcKey = -18: "no RPC endpoint configured",
    /// The RPC's result could not be read.
    RpcResult = -19: "RPC result",
    /// No proof of the block.
    BlockProof = -20: "block proof",
    /// The update of the root could not be read.
    HistoricalUpdate = -21: "historical update",
}

/// The call's arguments, JSON.
///
/// # Errors
/// See [`HostErrorCode`].
pub fn args() -> Result<Vec<u8>, HostError> {
    sys::fetch("args", sys::args)
}

/// Gives the call's result, JSON. [`entry!`](crate::entry) does this with what the function returns.
///
/// # Errors
/// See [`HostErrorCode`].
pub fn ret(result: &[u8]) -> Result<(), HostError> {
    done("ret", sys::ret(result))
}

/// Adds a line to the task's log. What the operator's limits cut off is not the controller's concern, so this does not
/// fail.
pub fn log(line: &str) {
    // Nothing a controller could do about a full log would help anyone.
    let _ = sys::log(line.as_bytes());
}

/// Says why the call is about to fail. Follow it by a trap; `entry!` and the panic hook do.
pub fn panic(message: &str) {
    sys::panic(message.as_bytes());
}

/// A file of the program's volume; `None` when there is no such file.
///
/// # Errors
/// See [`HostErrorCode`].
pub fn get_storage_file(path: &str) -> Result<Option<Vec<u8>>, HostError> {
    const CALL: &str = "get_storage_file";
    let packed = sys::fetch(CALL, |buffer| sys::get_storage_file(path.as_bytes(), buffer))?;
    msgpack::read_optional_bytes(&packed).ok_or_else(|| unreadable(CALL))
}

/// Writes a file of the program's volume; directories are made as needed. The volume keeps it when the call succeeds.
///
/// # Errors
/// A name FAT-16 can't hold, no space, or see [`HostErrorCode`].
pub fn set_storage_file(path: &str, contents: &[u8]) -> Result<(), HostError> {
    done("set_storage_file", sys::set_storage_file(path.as_bytes(), contents))
}

/// The program's raw bytes, which are apart from its volume. Empty until they are set.
///
/// # Errors
/// See [`HostErrorCode`].
pub fn get_raw_storage() -> Result<Vec<u8>, HostError> {
    sys::fetch("get_raw_storage", sys::get_raw_storage)
}

/// Replaces the program's raw bytes.
///
/// # Errors
/// See [`HostErrorCode`].
pub fn set_raw_storage(contents: &[u8]) -> Result<(), HostError> {
    done("set_raw_storage", sys::set_raw_storage(contents))
}

/// The program this controller belongs to (`get_controller` in the ABI).
///
/// # Errors
/// See [`HostErrorCode`].
pub fn program_id() -> Result<ProgramId, HostError> {
    hash("get_controller", sys::get_controller).map(ProgramId)
}

/// The root this call is pinned to (`get_historical` in the ABI).
///
/// # Errors
/// See [`HostErrorCode`].
pub fn root() -> Result<Root, HostError> {
    hash("get_historical", sys::get_historical).map(Root)
}

/// Calls a JSON-RPC method of a chain's node, which the operator names; gives its `result` (`alchemy` in the ABI).
///
/// Nothing vouches for what a node says.
///
/// # Errors
/// No node is named for the chain ([`HostErrorCode::NoRpcKey`]), the node refuses or is not reached, or see
/// [`HostErrorCode`].
pub fn rpc(chain: &str, method: &str, params: &Value) -> Result<Value, HostError> {
    const CALL: &str = "alchemy";
    let params = params.to_string();
    let result =
        sys::fetch(CALL, |buffer| sys::alchemy(chain.as_bytes(), method.as_bytes(), params.as_bytes(), buffer))?;
    serde_json::from_slice(&result).map_err(|_| HostError::new(CALL, HostErrorCode::Json))
}

/// Has a domain's controller prove state (`get_state_proof` in the ABI); what it takes is its own matter.
///
/// # Errors
/// No such domain, its controller refuses, or see [`HostErrorCode`].
pub fn get_state_proof(domain: &str, args: &Value) -> Result<StateProof, HostError> {
    const CALL: &str = "get_state_proof";
    let args = args.to_string();
    let packed = sys::fetch(CALL, |buffer| sys::get_state_proof(domain.as_bytes(), args.as_bytes(), buffer))?;
    msgpack::read_state_proof(&packed).ok_or_else(|| unreadable(CALL))
}

/// The highest block of a domain at this call's root (`get_latest_block` in the ABI); `None` for a domain without blocks there.
///
/// # Errors
/// No such domain, or see [`HostErrorCode`].
pub fn get_latest_block(domain: &str) -> Result<Option<Block>, HostError> {
    const CALL: &str = "get_latest_block";
    let packed = sys::fetch(CALL, |buffer| sys::get_latest_block(domain.as_bytes(), buffer))?;
    msgpack::read_latest_block(&packed).ok_or_else(|| unreadable(CALL))
}

/// What shows a block of a domain at this call's root (`get_block_proof` in the ABI). The service adds the same to every state
/// proof of a witness by itself; this is for controllers that hand it on otherwise.
///
/// # Errors
/// The root commits to no such block ([`HostErrorCode::BlockProof`]), or see [`HostErrorCode`].
pub fn get_block_proof(domain: &str, number: BlockNumber) -> Result<BlockOpening, HostError> {
    const CALL: &str = "get_block_proof";
    let packed = sys::fetch(CALL, |buffer| sys::get_block_proof(domain.as_bytes(), &number.to_le_bytes(), buffer))?;
    msgpack::read_block_proof(&packed).ok_or_else(|| unreadable(CALL))
}

/// How a root came from the one before it (`get_historical_update` in the ABI); `None` for the first root, and for one that this
/// call's root does not follow from. Ask for [`root`] and each `previous` in turn to walk the history back.
///
/// # Errors
/// See [`HostErrorCode`].
pub fn get_historical_update(root: &Root) -> Result<Option<RootUpdate>, HostError> {
    const CALL: &str = "get_historical_update";
    let packed = sys::fetch(CALL, |buffer| sys::get_historical_update(&root.0, buffer))?;
    msgpack::read_root_update(&packed).ok_or_else(|| unreadable(CALL))
}

/// Makes every later panic tell its message to the host before it traps.
#[cfg(all(feature = "std", target_arch = "wasm32"))]
pub(crate) fn report_panics() {
    use alloc::boxed::Box;
    std::panic::set_hook(Box::new(|info| panic(&info.to_string())));
}

fn unreadable(call: &'static str) -> HostError {
    HostError::new(call, HostErrorCode::Serialization)
}

fn done(call: &'static str, result: i32) -> Result<(), HostError> {
    match result {
        0.. => Ok(()),
        failed => Err(HostError::explained(call, HostErrorCode::from_result(failed))),
    }
}

/// A call that writes 32 bytes.
fn hash(call: &'static str, fetch: impl FnOnce(&mut [u8; 32]) -> i32) -> Result<[u8; 32], HostError> {
    let mut bytes = [0; 32];
    done(call, fetch(&mut bytes)).map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn codes_are_those_of_the_abi() {
        for code in -21..0 {
            assert!(!matches!(HostErrorCode::from_result(code), HostErrorCode::Unknown(_)), "{code}");
            assert_eq!(HostErrorCode::from_result(code).as_i32(), code);
        }
        assert_eq!(HostErrorCode::from_result(-22), HostErrorCode::Unknown(-22));
        let mut error = HostError::new("set_storage_file", HostErrorCode::Storage);
        assert_eq!(format!("{error}"), "host call `set_storage_file` failed: storage (-15)");
        error.reason = "the volume is full".into();
        assert_eq!(format!("{error}"), "host call `set_storage_file` failed: storage (-15): the volume is full");
    }
}
