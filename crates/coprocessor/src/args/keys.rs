//! Flags of `coprocessor keys`.

use super::{Keep, StoreArgs};
use clap::{Args as ClapArgs, Subcommand};
use coprocessor_store::{KeyId, Scope};
use coprocessor_types::OwnerId;

#[derive(Subcommand, Debug)]
pub(crate) enum KeysCommand {
    /// Make a key. It is printed once, on standard output, and kept nowhere.
    Create(CreateKey),
    /// List keys, newest first, without their secrets.
    List(ListKeys),
    /// Revoke a key.
    Revoke(RevokeKey),
}

#[derive(ClapArgs, Debug)]
pub(crate) struct CreateKey {
    /// Whose it will be: 1 to 64 of a-z 0-9 - _ .
    #[arg(long)]
    pub(crate) owner: OwnerId,
    /// What it may do: read, deploy, prove or admin; may be given several times.
    #[arg(long = "scope", required = true, value_name = "SCOPE", value_delimiter = ',', value_parser = scope)]
    pub(crate) scopes: Vec<Scope>,
    /// A label for people.
    #[arg(long, default_value = "")]
    pub(crate) name: String,
    /// When it ends by itself: a time from now, such as 90d, or forever.
    #[arg(long, default_value = "forever", value_name = "TIME")]
    pub(crate) expires: Keep,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct ListKeys {
    /// Only keys of this owner.
    #[arg(long)]
    pub(crate) owner: Option<OwnerId>,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct RevokeKey {
    /// Its id: the 16 hexadecimal digits after cpk_.
    pub(crate) key: KeyId,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::from_name(text).ok_or_else(|| format!("`{text}` is no scope; there are read, deploy, prove and admin"))
}
