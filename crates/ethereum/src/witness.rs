//! The proof inside a `StateProof`: one account and some of its slots.

use crate::{Address, B256, node::Node};
use alloc::{collections::BTreeMap, vec::Vec};

/// Most slots of one witness.
pub const MAX_SLOTS: usize = 4096;
/// Most nodes of one witness.
pub const MAX_NODES: usize = 65_535;
/// Most nodes on one path: a key has 64 nibbles.
pub const MAX_PATH: usize = 65;
/// Most bytes of one node: a branch has 17 items of at most 33 bytes, a leaf a path and an account.
pub const MAX_NODE: usize = 1024;

const VERSION: u8 = 1;

/// Why bytes, or the nodes of an answer, are no witness.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WitnessError {
    /// The first byte.
    #[error("the state witness has version {got}, expected {VERSION}: make it with the same release as the circuit")]
    Version {
        /// The byte.
        got: u8,
    },
    /// The bytes end early.
    #[error("the state witness is truncated: {needed} bytes needed, {left} left")]
    Truncated {
        /// Bytes the next field needs.
        needed: usize,
        /// Bytes there are.
        left: usize,
    },
    /// Bytes after the last path.
    #[error("{left} bytes left over after the state witness")]
    LeftOver {
        /// Number of them.
        left: usize,
    },
    /// More of something than the format allows.
    #[error("the state witness has {got} {what}, at most {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        got: usize,
        /// Most allowed.
        most: usize,
    },
    /// A path through a node that is not there.
    #[error("a path goes through node {index} of {nodes}")]
    NoSuchNode {
        /// The node's position.
        index: usize,
        /// Nodes there are.
        nodes: usize,
    },
    /// A node on no path.
    #[error("node {index} is on no path: the state witness has more than it needs")]
    UnusedNode {
        /// The node's position.
        index: usize,
    },
    /// Slots that don't ascend, so perhaps one twice.
    #[error("slot {slot} comes after {after}; slots ascend, each once")]
    OutOfOrder {
        /// The slot.
        slot: B256,
        /// The one before.
        after: B256,
    },
}

/// The nodes that lead from a state root to one account, and from that account to some of its slots; of a block that
/// somebody else names. Nothing in it is trusted.
///
/// # Encoding
///
/// What `StateProof::proof` holds in the domain of an Ethereum chain. Integers are big-endian.
///
/// ```text
/// version   u8 = 1
/// nodes     u16, then each: length u16 (1 to 1024), RLP       each node once, however many paths it is on
/// address   20 bytes
/// path      u8 (at most 65), then each: position of the node, u16       from the state root down
/// slots     u16 (at most 4096), then each: slot 32 bytes, path     ascending; from the storage root down
/// ```
///
/// Every node is on a path, and nothing follows. One set of facts has one encoding but for the order of the nodes.
#[derive(Clone, Debug)]
pub struct StateWitness<'a> {
    nodes: Vec<Node<'a>>,
    address: Address,
    account: Vec<u16>,
    slots: Vec<(B256, Vec<u16>)>,
}

impl<'a> StateWitness<'a> {
    /// Puts the paths of an `eth_getProof` answer together.
    ///
    /// Slots may come in any order. One that comes twice must have the same path. What some nodes of the network answer and
    /// others don't is left out: the node of the empty trie (`0x80`), and nodes that lie in their parents, which are those
    /// below the root with less than 32 bytes.
    ///
    /// # Errors
    /// Too many or too large nodes, or one slot with two paths ([`WitnessError::OutOfOrder`]).
    pub fn new<N, P>(
        address: Address,
        account: N,
        slots: impl IntoIterator<Item = (B256, P)>,
    ) -> Result<Self, WitnessError>
    where
        N: IntoIterator<Item = &'a [u8]>,
        P: IntoIterator<Item = &'a [u8]>,
    {
        let mut pool = Pool::default();
        let account = pool.path(account)?;
        let mut paths = BTreeMap::new();
        for (slot, path) in slots {
            let path = pool.path(path)?;
            if paths.insert(slot, path.clone()).is_some_and(|before| before != path) {
                return Err(WitnessError::OutOfOrder { slot, after: slot });
            }
        }
        at_most("slots", paths.len(), MAX_SLOTS)?;
        Ok(Self { nodes: pool.nodes, address, account, slots: paths.into_iter().collect() })
    }

    /// Reads what [`to_bytes`](Self::to_bytes) writes. Nodes are not copied, and not hashed before they are asked for.
    ///
    /// # Errors
    /// See [`WitnessError`]: every bound above, and every byte accounted for.
    pub fn from_bytes(mut bytes: &'a [u8]) -> Result<Self, WitnessError> {
        let rest = &mut bytes;
        let [version] = array(rest)?;
        if version != VERSION {
            return Err(WitnessError::Version { got: version });
        }
        // Capacities below are of what is known to be there: a node has three bytes, a slot 33.
        let count = usize::from(u16::from_be_bytes(array(rest)?));
        let mut nodes = Vec::with_capacity(count.min(rest.len() / 3));
        for _ in 0..count {
            let length = usize::from(u16::from_be_bytes(array(rest)?));
            at_most("bytes in a node", length, MAX_NODE)?;
            nodes.push(Node::new(take(rest, length)?));
        }
        let mut used = alloc::vec![false; count];
        let address = Address::new(array(rest)?);
        let account = read_path(rest, &mut used)?;
        let count = usize::from(u16::from_be_bytes(array(rest)?));
        at_most("slots", count, MAX_SLOTS)?;
        let mut slots: Vec<(B256, Vec<u16>)> = Vec::with_capacity(count.min(rest.len() / 33));
        for _ in 0..count {
            let slot = B256::new(array(rest)?);
            if let Some((after, _)) = slots.last().filter(|(last, _)| *last >= slot) {
                return Err(WitnessError::OutOfOrder { slot, after: *after });
            }
            slots.push((slot, read_path(rest, &mut used)?));
        }
        if !rest.is_empty() {
            return Err(WitnessError::LeftOver { left: rest.len() });
        }
        match used.iter().position(|used| !used) {
            Some(index) => Err(WitnessError::UnusedNode { index }),
            None => Ok(Self { nodes, address, account, slots }),
        }
    }

    /// The encoding above.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = [VERSION].to_vec();
        bytes.extend((self.nodes.len() as u16).to_be_bytes());
        for node in &self.nodes {
            bytes.extend((node.rlp.len() as u16).to_be_bytes());
            bytes.extend(node.rlp);
        }
        bytes.extend(self.address);
        write_path(&mut bytes, &self.account);
        bytes.extend((self.slots.len() as u16).to_be_bytes());
        for (slot, path) in &self.slots {
            bytes.extend(slot);
            write_path(&mut bytes, path);
        }
        bytes
    }

    /// Whose account it claims to lead to.
    pub fn address(&self) -> Address {
        self.address
    }

    /// The slots it claims to lead to, ascending.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = B256> {
        self.slots.iter().map(|(slot, _)| *slot)
    }

    pub(crate) fn account_path(&self) -> impl ExactSizeIterator<Item = &Node<'a>> {
        self.nodes_of(&self.account)
    }

    pub(crate) fn slot_path(&self, slot: &B256) -> Option<impl ExactSizeIterator<Item = &Node<'a>>> {
        let index = self.slots.binary_search_by(|(other, _)| other.cmp(slot)).ok()?;
        Some(self.nodes_of(&self.slots[index].1))
    }

    fn nodes_of<'s>(&'s self, path: &'s [u16]) -> impl ExactSizeIterator<Item = &'s Node<'a>> {
        path.iter().map(|index| &self.nodes[usize::from(*index)])
    }
}

/// Nodes, each once.
#[derive(Default)]
struct Pool<'a> {
    nodes: Vec<Node<'a>>,
    known: BTreeMap<&'a [u8], u16>,
}

impl<'a> Pool<'a> {
    fn path(&mut self, nodes: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u16>, WitnessError> {
        let own = |(index, node): &(usize, &[u8])| match index {
            0 => *node != [alloy_rlp::EMPTY_STRING_CODE],
            _ => node.len() >= 32,
        };
        let nodes: Vec<_> = nodes.into_iter().enumerate().filter(own).map(|(_, node)| node).collect();
        at_most("nodes on a path", nodes.len(), MAX_PATH)?;
        nodes.into_iter().map(|node| self.index(node)).collect()
    }

    fn index(&mut self, node: &'a [u8]) -> Result<u16, WitnessError> {
        at_most("bytes in a node", node.len(), MAX_NODE)?;
        if let Some(index) = self.known.get(node) {
            return Ok(*index);
        }
        at_most("nodes", self.nodes.len() + 1, MAX_NODES)?;
        let index = self.nodes.len() as u16;
        self.nodes.push(Node::new(node));
        self.known.insert(node, index);
        Ok(index)
    }
}

fn read_path(rest: &mut &[u8], used: &mut [bool]) -> Result<Vec<u16>, WitnessError> {
    let [length] = array(rest)?;
    let length = usize::from(length);
    at_most("nodes on a path", length, MAX_PATH)?;
    let (positions, _) = take(rest, 2 * length)?.as_chunks();
    let nodes = used.len();
    let read = |bytes: &[u8; 2]| {
        let position = u16::from_be_bytes(*bytes);
        let index = usize::from(position);
        *used.get_mut(index).ok_or(WitnessError::NoSuchNode { index, nodes })? = true;
        Ok(position)
    };
    positions.iter().map(read).collect()
}

fn write_path(bytes: &mut Vec<u8>, path: &[u16]) {
    bytes.push(path.len() as u8);
    bytes.extend(path.iter().flat_map(|index| index.to_be_bytes()));
}

fn take<'a>(rest: &mut &'a [u8], needed: usize) -> Result<&'a [u8], WitnessError> {
    let (taken, after) = rest.split_at_checked(needed).ok_or(WitnessError::Truncated { needed, left: rest.len() })?;
    *rest = after;
    Ok(taken)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], WitnessError> {
    let (taken, after) = rest.split_first_chunk().ok_or(WitnessError::Truncated { needed: N, left: rest.len() })?;
    *rest = after;
    Ok(*taken)
}

fn at_most(what: &'static str, got: usize, most: usize) -> Result<(), WitnessError> {
    match got <= most {
        true => Ok(()),
        false => Err(WitnessError::TooMany { what, got, most }),
    }
}
