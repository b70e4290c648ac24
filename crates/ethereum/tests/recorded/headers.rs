//! Headers of all forks, also of forks to come.
use crate::answers::Recorded;
use alloy_rlp::Encodable;
use coprocessor_ethereum::{Header, HeaderError, MAX_HEADER, keccak256};

fn list(fields: &[Vec<u8>]) -> Vec<u8> {
    let payload_length = fields.iter().map(|field| field.as_slice().length()).sum();
    let mut rlp = vec![];
    alloy_rlp::Header { list: true, payload_length }.encode(&mut rlp);
    for field in fields {
        field.as_slice().encode(&mut rlp);
    }
    rlp
}

/// A header's fields, of the first release and as many later ones as asked for.
fn fields(later: usize) -> Vec<Vec<u8>> {
    let mut fields = vec![vec![1; 32], vec![2; 32], vec![3; 20], vec![4; 32], vec![5; 32], vec![6; 32], vec![0; 256]];
    fields.extend([
        vec![],
        vec![1, 0],
        vec![9],
        vec![],
        vec![0x65, 0, 0, 0],
        b"extra".to_vec(),
        vec![7; 32],
        vec![0; 8],
    ]);
    fields.extend((0..later).map(|index| vec![index as u8 + 1; 32]));
    fields
}

#[test]
fn headers_of_every_fork_are_read() {
    for later in [0, 1, 2, 4, 5, 6, 9, 32] {
        let rlp = list(&fields(later));
        let header = Header::from_rlp(&rlp).unwrap();
        assert_eq!((header.number(), header.timestamp()), (256, 0x6500_0000));
        assert_eq!((header.parent_hash().0, header.state_root().0), ([1; 32], [4; 32]));
        assert_eq!((header.transactions_root().0, header.receipts_root().0), ([5; 32], [6; 32]));
        assert_eq!(header.hash(), keccak256(&rlp));
    }
    assert_eq!(Header::from_rlp(&list(&fields(33))), Err(HeaderError::TooManyFields));
}

#[test]
fn each_field_is_what_its_place_says() {
    let names = "parentHash sha3Uncles miner stateRoot transactionsRoot receiptsRoot logsBloom difficulty number gasLimit \
                 gasUsed timestamp extraData mixHash nonce";
    for (index, name) in names.split_whitespace().enumerate().filter(|(_, name)| *name != "extraData") {
        let mut changed = fields(0);
        // No number, and of no hash's length.
        changed[index] = vec![0; 33];
        assert_eq!(Header::from_rlp(&list(&changed)), Err(HeaderError::Field { index, name }));
        assert!(matches!(Header::from_rlp(&list(&fields(0)[..index])), Err(HeaderError::Field { .. })));
    }
    let mut large = fields(0);
    large[8] = vec![1; 9];
    assert_eq!(Header::from_rlp(&list(&large)), Err(HeaderError::Field { index: 8, name: "number" }));
    assert_eq!(Header::from_rlp(&vec![0; MAX_HEADER + 1]), Err(HeaderError::TooLong { got: MAX_HEADER + 1 }));
}

#[test]
fn a_nodes_block_hashes_to_what_the_node_says() {
    let recorded = Recorded::read();
    for index in 0..7 {
        let state = recorded.state(index);
        assert_eq!(keccak256(&state.block.header.0), state.block.hash);
    }
}
