//! What controller and circuit of the solvency guest share: the ledger, the Merkle-sum tree over it, and the statement
//! that is proved of it. A customer checks with the same code that his balance was counted ([`Statement::verify`]).
#![no_std]

extern crate alloc;

mod ledger;
mod tree;

pub use ledger::{Account, Ledger, LedgerError, MAX_ID};
pub use tree::{Node, Opening, OpeningError, Statement, StatementError};
