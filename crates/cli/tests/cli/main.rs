//! The program as people run it, against a service made for the test.

mod accounts;
mod bundle;
mod chain;
mod contracts;
mod deploy;
mod errors;
mod follow;
mod help;
mod replay;
mod results;
mod run;
mod service;
