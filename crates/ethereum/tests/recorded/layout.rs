//! The layout helper: against the formulas of the Solidity documentation, and against what a real node answered of a
//! contract with a variable of every kind (tests/contracts/Ledger.sol).
use crate::answers::{HOLDER, NOBODY, Recorded};
use coprocessor_ethereum::{
    Account, Address, B256, FixedBytes, I256, Key, LayoutError, Packed, Slot, StateError, U256, keccak256,
};

fn with_account<R>(read: impl FnOnce(&Account<'_, '_>, Address) -> R) -> R {
    let recorded = Recorded::read();
    let state = recorded.whole();
    let header = state.check().unwrap();
    let opened = header.state(state.witness().unwrap());
    let account = opened.account(state.address).unwrap().unwrap();
    read(&account, recorded.owner.parse().unwrap())
}

#[test]
fn mappings_structs_and_packed_variables_are_where_the_compiler_put_them() {
    with_account(|ledger, owner| {
        let slot = |slot: Slot| ledger.slot(slot).unwrap();
        assert_eq!(slot(Slot::at(0).entry(HOLDER)), U256::from(42));
        assert_eq!(slot(Slot::at(0).entry(owner)), U256::from(1_000_000 - 42));
        assert_eq!(slot(Slot::at(0).entry(NOBODY)), U256::ZERO);
        assert_eq!(slot(Slot::at(1).entry(owner).entry(HOLDER)), U256::from(77));
        let packed = slot(Slot::at(2));
        assert_eq!(Packed::new(0, 16).of(packed), U256::from(7));
        assert_eq!(Packed::new(16, 8).of(packed), U256::from(8));
        assert_eq!(Packed::new(24, 1).of(packed), U256::from(1));
        let book = Slot::at(7).entry("book");
        assert_eq!(slot(book), U256::from(30));
        assert_eq!(Packed::new(0, 16).of(slot(book.member(1))), U256::from(4));
        assert_eq!(Packed::new(16, 16).of(slot(book.member(1))), U256::from(96));
        assert_eq!(slot(Slot::at(8).entry(FixedBytes([0xde, 0xad, 0xbe, 0xef]))), U256::from(1));
        assert_eq!(slot(Slot::at(9).entry(I256::try_from(-5).unwrap())), U256::from(55));
    });
}

#[test]
fn arrays_are_where_the_compiler_put_them() {
    with_account(|ledger, _| {
        let slot = |slot: Slot| ledger.slot(slot).unwrap();
        assert_eq!(slot(Slot::at(5)), U256::from(3));
        assert_eq!(slot(Slot::at(5).element(2, 1)), U256::from(33));
        let (shared, packed) = Slot::at(6).packed_element(9, 4);
        assert_eq!(packed.of(slot(shared)), U256::from(9001));
        let (shared, packed) = Slot::at(10).packed_fixed_element(18, 2);
        assert_eq!(shared, Slot::at(11));
        assert_eq!(packed.of(slot(shared)), U256::from(118));
        assert_eq!(slot(Slot::at(12).element(1, 2)), U256::from(4));
        assert_eq!(Packed::new(16, 16).of(slot(Slot::at(12).element(1, 2).member(1))), U256::from(6));
        assert_eq!(Slot::at(20).fixed_element(3, 2), Slot::at(26));
    });
}

#[test]
fn texts_are_read_short_and_long() {
    with_account(|ledger, _| {
        let long = "a text of more than thirty-one bytes has its own slots, as many as it needs";
        assert_eq!(ledger.text(Slot::at(3), 100).unwrap(), b"short");
        assert_eq!(ledger.text(Slot::at(4), 75).unwrap(), long.as_bytes());
        assert_eq!(ledger.text(Slot::at(13), 0).unwrap(), b"");
        let refused = |slot, most| match ledger.text(Slot::at(slot), most) {
            Err(StateError::Layout(error)) => error,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(4, 74), LayoutError::TooLong { got: 75, most: 74 });
        assert_eq!(refused(3, 4), LayoutError::TooLong { got: 5, most: 4 });
        // A length of 1, as of the array's three elements, is no long text.
        assert_eq!(refused(5, 100), LayoutError::NotText { got: U256::from(3) });
    });
}

/// The formulas of "Layout of State Variables in Storage", written out.
#[test]
fn keys_are_hashed_as_documented() {
    let slot = Slot::at(3);
    let hash = |key: &[u8]| Slot::from(keccak256([key, slot.key().as_slice()].concat()));
    let padded = |last: u8| B256::with_last_byte(last).0;
    assert_eq!(slot.entry(5u64), hash(&padded(5)));
    assert_eq!(slot.entry(true), hash(&padded(1)));
    assert_eq!(slot.entry(U256::from(5)), hash(&padded(5)));
    assert_eq!(slot.entry(I256::MINUS_ONE), hash(&[0xff; 32]));
    assert_eq!(slot.entry(B256::repeat_byte(4)), hash(&[4; 32]));
    assert_eq!(slot.entry("key"), hash(b"key"));
    assert_eq!(slot.entry(b"key".as_slice()), hash(b"key"));
    assert_eq!(5u64.hash_before(&slot.key()), hash(&padded(5)).key());
    assert_eq!(Slot::at(1).element(0, 1), Slot::from(keccak256(padded(1))));
    assert_eq!(Slot::new(U256::MAX).member(1), Slot::at(0), "slots wrap around");
}

#[test]
fn a_namespace_is_that_of_erc_7201() {
    let slot = Slot::namespace("openzeppelin.storage.ERC20").key().to_string();
    assert_eq!(slot, "0x52c63247e1f47db19d5ce0460030c497f067ca4cebf71ba98eeadabe20bace00");
}

#[test]
fn a_text_of_31_bytes_is_short_and_one_of_32_long() {
    assert_eq!(Slot::at(0).text_slots(31).count(), 0);
    assert_eq!(Slot::at(0).text_slots(32).count(), 1);
    assert_eq!(Slot::at(0).text_slots(33).count(), 2);
}

#[test]
#[should_panic(expected = "not of 17")]
fn elements_of_more_than_half_a_slot_share_none() {
    Slot::at(0).packed_element(0, 17);
}
