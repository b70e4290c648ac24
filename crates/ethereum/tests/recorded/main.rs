//! What holds, and what must not, of a real node's recorded answers.
#![allow(missing_docs)]

mod answers;
mod forgeries;
mod headers;
mod layout;
