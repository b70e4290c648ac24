//! One node of a trie, and the RLP in it.

use alloy_primitives::{B256, keccak256};
use alloy_rlp::Header;
use core::cell::OnceCell;

/// A node's RLP. It is hashed once, however many paths go through it.
#[derive(Clone, Debug)]
pub(crate) struct Node<'a> {
    pub(crate) rlp: &'a [u8],
    hash: OnceCell<B256>,
}

impl<'a> Node<'a> {
    pub(crate) fn new(rlp: &'a [u8]) -> Self {
        Self { rlp, hash: OnceCell::new() }
    }

    pub(crate) fn hash(&self) -> &B256 {
        self.hash.get_or_init(|| keccak256(self.rlp))
    }
}

/// An RLP item: what it is, and its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item<'a> {
    /// A string's content.
    String(&'a [u8]),
    /// A list, with its header.
    List(&'a [u8]),
}

impl<'a> Item<'a> {
    /// Takes the item that `rest` begins with; `None` where there is none in canonical RLP.
    pub(crate) fn take(rest: &mut &'a [u8]) -> Option<Self> {
        // Nearly all items of a node are these two: a hash, and nothing.
        match rest.split_first() {
            Some((0xa0, after)) => {
                let (hash, after) = after.split_at_checked(32)?;
                *rest = after;
                return Some(Self::String(hash));
            }
            Some((0x80, after)) => {
                *rest = after;
                return Some(Self::String(&[]));
            }
            _ => {}
        }
        let whole = *rest;
        let header = Header::decode(rest).ok()?;
        let (payload, after) = rest.split_at_checked(header.payload_length)?;
        *rest = after;
        match header.list {
            true => Some(Self::List(&whole[..whole.len() - after.len()])),
            false => Some(Self::String(payload)),
        }
    }

    /// Takes a string.
    pub(crate) fn take_string(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        match Self::take(rest)? {
            Self::String(bytes) => Some(bytes),
            Self::List(_) => None,
        }
    }

    /// Takes a string of exactly that length.
    pub(crate) fn take_array<const N: usize>(rest: &mut &'a [u8]) -> Option<[u8; N]> {
        Self::take_string(rest)?.try_into().ok()
    }
}

/// The payload of the one list that `rlp` is; `None` where it is something else, or more.
pub(crate) fn list(mut rlp: &[u8]) -> Option<&[u8]> {
    let payload = Header::decode_bytes(&mut rlp, true).ok()?;
    rlp.is_empty().then_some(payload)
}
