//! An instance's trees in their plainest form, to compare proofs with.

use crate::{Input, Writer};
use coprocessor_merkle::{BlockAppend, Tree, Value, block_key, block_value, domain_key, domain_value, instance_key};
use coprocessor_types::{BlockOpening, DomainId, Root, StateProof, TrustId, sha256};
use std::collections::BTreeMap;

/// Most blocks: enough for every shape that a few levels of a tree can have.
const MOST: usize = 12;

/// A block, named by few bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Block {
    pub(crate) domain: DomainId,
    pub(crate) number: u64,
    /// Payload, state root and trust are made of this.
    content: u8,
}

impl Block {
    pub(crate) fn read(input: &mut Input<'_>) -> Self {
        let domain = domain(input.below(4));
        let number = match input.below(3) {
            0 => input.byte().into(),
            1 => 1 << input.below(64),
            _ => input.long(),
        };
        Self { domain, number, content: input.byte() }
    }

    pub(crate) fn state_root(&self) -> [u8; 32] {
        [self.content; 32]
    }

    pub(crate) fn payload(&self) -> Vec<u8> {
        vec![self.content; usize::from(self.content % 40)]
    }

    pub(crate) fn trust(&self) -> TrustId {
        TrustId([self.content / 128; 32])
    }

    pub(crate) fn state_proof(&self) -> StateProof {
        StateProof {
            domain: self.domain,
            number: self.number,
            state_root: self.state_root(),
            payload: self.payload(),
            proof: Vec::new(),
        }
    }
}

/// Two of the four share all but their last bit, one is next to the instance's place and one is that place.
fn domain(index: usize) -> DomainId {
    let mut near_instance = instance_key().0;
    near_instance[31] ^= 1;
    match index {
        0 => DomainId([0x55; 32]),
        1 => DomainId([&[0x55; 31][..], &[0x54]].concat().try_into().expect("32 bytes")),
        2 => DomainId(near_instance),
        _ => DomainId(instance_key().0),
    }
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    blocks: BTreeMap<(DomainId, u64), Block>,
    domains: BTreeMap<DomainId, Tree>,
    top: Tree,
}

impl World {
    pub(crate) fn new() -> Self {
        let top = [(instance_key(), Value([0xaa; 32]))].into_iter().collect();
        Self { blocks: BTreeMap::new(), domains: BTreeMap::new(), top }
    }

    /// Appends blocks as the input says.
    pub(crate) fn read(input: &mut Input<'_>) -> Self {
        let mut world = Self::new();
        for _ in 0..input.below(MOST + 1) {
            let block = Block::read(input);
            if world.takes(&block) {
                world.append(block);
            }
        }
        world
    }

    /// Whether the block can be appended.
    pub(crate) fn takes(&self, block: &Block) -> bool {
        block.domain.0 != instance_key().0 && !self.blocks.contains_key(&(block.domain, block.number))
    }

    pub(crate) fn append(&mut self, block: Block) {
        let value = block_value(block.number, &block.state_root(), &block.payload(), &block.trust());
        let tree = self.domains.entry(block.domain).or_default();
        tree.insert(block_key(block.number), value);
        self.top.insert(domain_key(&block.domain), domain_value(&tree.root()));
        self.blocks.insert((block.domain, block.number), block);
    }

    pub(crate) fn root(&self) -> Root {
        self.top.root()
    }

    pub(crate) fn block(&self, domain: DomainId, number: u64) -> Option<&Block> {
        self.blocks.get(&(domain, number))
    }

    /// What an honest service would show for an append of that block, whether or not it can be appended.
    pub(crate) fn append_proof(&self, block: &Block) -> BlockAppend {
        BlockAppend {
            domain: block.domain,
            number: block.number,
            state_root: block.state_root(),
            payload_hash: sha256(&[&block.payload()]),
            trust: block.trust(),
            in_domain: self.tree(block.domain).open(&block_key(block.number)),
            in_root: self.top.open(&domain_key(&block.domain)),
        }
    }

    /// The opening of that block's place, whether or not it is there.
    pub(crate) fn opening(&self, block: &Block) -> BlockOpening {
        BlockOpening {
            trust: block.trust(),
            domain_siblings: self.tree(block.domain).open(&block_key(block.number)).siblings,
            root_siblings: self.top.open(&domain_key(&block.domain)).siblings,
        }
    }

    fn tree(&self, domain: DomainId) -> Tree {
        self.domains.get(&domain).cloned().unwrap_or_default()
    }
}

/// A world of three blocks in two domains, and then the block that is asked about.
pub(crate) fn seed() -> Writer {
    let block = |writer: Writer, domain, number, content| writer.byte(domain).byte(0).byte(number).byte(content);
    let there = [(0, 4, 1), (1, 4, 2), (0, 6, 200)];
    let world = there
        .into_iter()
        .fold(Writer::new().byte(3), |writer, (domain, number, content)| block(writer, domain, number, content));
    block(world, 0, 5, 7)
}
