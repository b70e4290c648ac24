//! Where Solidity and Vyper keep what a contract stores.

use crate::{Address, B256, I256, U256};
use alloc::vec::Vec;
use alloy_primitives::{FixedBytes, keccak256};

/// A slot of a contract's storage.
///
/// Begin with the variable's own slot, as the compiler's storage layout gives it (`solc --storage-layout`, `forge inspect`),
/// and follow the type:
///
/// ```
/// use coprocessor_ethereum::{Address, Packed, Slot};
///
/// let owner = Address::repeat_byte(1);
/// let spender = Address::repeat_byte(2);
/// // mapping(address => mapping(address => uint256)) allowance, in slot 4
/// let allowance = Slot::at(4).entry(owner).entry(spender);
/// // mapping(string => Item) items, in slot 5, with struct Item { uint256 price; uint128 sold; uint128 left; }
/// let item = Slot::at(5).entry("book");
/// let (price, counts) = (item, item.member(1));
/// let left = Packed::new(16, 16);
/// // uint256[] prices, in slot 6: its length is in slot 6 itself
/// let third = Slot::at(6).element(2, 1);
/// # let _ = (allowance, price, counts, left, third);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(U256);

impl Slot {
    /// A slot by its number.
    pub const fn new(number: U256) -> Self {
        Self(number)
    }

    /// A slot by its number, as layouts give it.
    pub fn at(number: u64) -> Self {
        Self(U256::from(number))
    }

    /// The first slot of a namespace by ERC-7201, where upgradeable contracts keep their variables, such as
    /// `openzeppelin.storage.ERC20`.
    pub fn namespace(id: &str) -> Self {
        let inner = U256::from_be_bytes(keccak256(id).0).wrapping_sub(U256::ONE);
        let hash = U256::from_be_bytes(keccak256(inner.to_be_bytes::<32>()).0);
        Self(hash & !U256::from(0xff))
    }

    /// The value of a mapping in this slot, or where that value begins.
    pub fn entry(self, key: impl Key) -> Self {
        Self(U256::from_be_bytes(key.hash_before(&self.key()).0))
    }

    /// The slot so many slots on: a struct's member, by the slot that the layout gives it within the struct.
    pub fn member(self, slots: u64) -> Self {
        Self(self.0.wrapping_add(U256::from(slots)))
    }

    /// An element of the dynamic array whose length is in this slot, each of which fills so many whole slots.
    pub fn element(self, index: u64, slots_each: u64) -> Self {
        let first = U256::from_be_bytes(keccak256(self.key()).0);
        Self(first.wrapping_add(U256::from(index).wrapping_mul(U256::from(slots_each))))
    }

    /// An element of the dynamic array whose length is in this slot, and where in that slot it is: for elements of at most
    /// 16 bytes, which share slots.
    ///
    /// # Panics
    /// On a size that is not 1 to 16 bytes.
    pub fn packed_element(self, index: u64, size: u8) -> (Self, Packed) {
        let (slots, packed) = share(index, size);
        (self.element(slots, 1), packed)
    }

    /// An element of a fixed-size array that begins in this slot, each of which fills so many whole slots.
    pub fn fixed_element(self, index: u64, slots_each: u64) -> Self {
        Self(self.0.wrapping_add(U256::from(index).wrapping_mul(U256::from(slots_each))))
    }

    /// An element of a fixed-size array that begins in this slot, where elements share slots, as in
    /// [`packed_element`](Self::packed_element).
    ///
    /// # Panics
    /// On a size that is not 1 to 16 bytes.
    pub fn packed_fixed_element(self, index: u64, size: u8) -> (Self, Packed) {
        let (slots, packed) = share(index, size);
        (self.member(slots), packed)
    }

    /// The slots that hold a `string` or `bytes` of so many bytes, beside this one, which holds its length: none up to 31
    /// bytes.
    pub fn text_slots(self, length: usize) -> impl Iterator<Item = Self> {
        let count = if length > 31 { length.div_ceil(32) as u64 } else { 0 };
        let first = Self(U256::from_be_bytes(keccak256(self.key()).0));
        (0..count).map(move |index| first.member(index))
    }

    /// The slot's number in 32 bytes, as `eth_getProof` takes it.
    pub fn key(self) -> B256 {
        B256::new(self.0.to_be_bytes())
    }

    /// The slot's number.
    pub const fn number(self) -> U256 {
        self.0
    }
}

impl From<B256> for Slot {
    fn from(key: B256) -> Self {
        Self(U256::from_be_bytes(key.0))
    }
}

/// A mapping's key: numbers, addresses and booleans, `bytes1` to `bytes32` (as [`FixedBytes`]), strings and bytes.
pub trait Key {
    /// Keccak-256 of the key, as its type is written there, and the mapping's slot.
    fn hash_before(&self, slot: &B256) -> B256;
}

impl Key for U256 {
    fn hash_before(&self, slot: &B256) -> B256 {
        word(self.to_be_bytes(), slot)
    }
}

impl Key for u64 {
    fn hash_before(&self, slot: &B256) -> B256 {
        U256::from(*self).hash_before(slot)
    }
}

impl Key for bool {
    fn hash_before(&self, slot: &B256) -> B256 {
        u64::from(*self).hash_before(slot)
    }
}

impl Key for I256 {
    fn hash_before(&self, slot: &B256) -> B256 {
        self.into_raw().hash_before(slot)
    }
}

impl Key for Address {
    fn hash_before(&self, slot: &B256) -> B256 {
        word(self.into_word().0, slot)
    }
}

impl<const N: usize> Key for FixedBytes<N> {
    /// # Panics
    /// Beyond 32 bytes, which no Solidity type has.
    fn hash_before(&self, slot: &B256) -> B256 {
        let mut padded = [0; 32];
        padded[..N].copy_from_slice(&self.0);
        word(padded, slot)
    }
}

impl Key for &str {
    fn hash_before(&self, slot: &B256) -> B256 {
        self.as_bytes().hash_before(slot)
    }
}

impl Key for &[u8] {
    fn hash_before(&self, slot: &B256) -> B256 {
        keccak256([self, slot.as_slice()].concat())
    }
}

fn word(key: [u8; 32], slot: &B256) -> B256 {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&key);
    bytes[32..].copy_from_slice(slot.as_slice());
    keccak256(bytes)
}

fn share(index: u64, size: u8) -> (u64, Packed) {
    assert!((1..=16).contains(&size), "elements of 1 to 16 bytes share slots, not of {size}");
    let each = u64::from(32 / size);
    (index / each, Packed::new((index % each) as u8 * size, size))
}

/// A variable that shares its slot with others: its offset from the slot's lowest byte, as layouts give it, and its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packed {
    offset: u8,
    size: u8,
}

impl Packed {
    /// A variable of `size` bytes, `offset` bytes above the slot's lowest.
    ///
    /// # Panics
    /// If it has no bytes or does not fit into a slot.
    pub const fn new(offset: u8, size: u8) -> Self {
        assert!(size > 0 && offset as u16 + size as u16 <= 32, "the variable is not within a slot");
        Self { offset, size }
    }

    /// The variable in what its slot holds.
    pub fn of(self, slot: U256) -> U256 {
        let shifted = slot >> (8 * usize::from(self.offset));
        match self.size {
            32 => shifted,
            size => shifted & ((U256::ONE << (8 * usize::from(size))) - U256::ONE),
        }
    }
}

/// Why slots hold no text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LayoutError {
    /// Longer than whoever reads it takes.
    #[error("the text has {got} bytes, at most {most} are taken")]
    TooLong {
        /// Its length; the largest number where that is no length.
        got: usize,
        /// Most that are taken.
        most: usize,
    },
    /// Neither form of a text.
    #[error("the slot holds {got:#x}, which is not a text's length: is it the slot of a string or of bytes?")]
    NotText {
        /// What it holds.
        got: U256,
    },
}

/// What the slot of a `string` or `bytes` says.
pub(crate) enum Text {
    Short(Vec<u8>),
    Long { length: usize },
}

impl Text {
    pub(crate) fn read(slot: U256, most: usize) -> Result<Self, LayoutError> {
        let bytes: [u8; 32] = slot.to_be_bytes();
        let at_most = |got: usize| if got <= most { Ok(got) } else { Err(LayoutError::TooLong { got, most }) };
        if slot.bit(0) {
            let length = at_most(usize::try_from(slot >> 1).unwrap_or(usize::MAX))?;
            return if length > 31 { Ok(Self::Long { length }) } else { Err(LayoutError::NotText { got: slot }) };
        }
        let length = usize::from(bytes[31] / 2);
        match bytes[..31].split_at_checked(length) {
            Some((text, zeros)) if zeros.iter().all(|byte| *byte == 0) => {
                at_most(length)?;
                Ok(Self::Short(text.to_vec()))
            }
            _ => Err(LayoutError::NotText { got: slot }),
        }
    }
}
