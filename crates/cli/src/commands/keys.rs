//! `keys`: who may use the coprocessor.

use crate::{context::Context, error::CliError, output::Output, text};
use clap::Subcommand;
use coprocessor_api::{KeyRequest, KeyView, Scope, client::Page};
use coprocessor_types::OwnerId;
use jiff::Timestamp;
use std::time::Duration;

#[derive(clap::Args, Debug)]
pub(crate) struct Keys {
    #[command(subcommand)]
    command: Option<KeysCommand>,
}

#[derive(Subcommand, Debug)]
enum KeysCommand {
    /// List keys, newest first (the default)
    List(List),
    /// Make a key; it is printed once and kept nowhere
    Create(Create),
    /// Revoke a key, from now on
    Revoke {
        /// The key's id: the 16 digits after `cpk_`
        key: String,
    },
}

#[derive(clap::Args, Debug, Default)]
struct List {
    /// Only this owner's
    #[arg(long)]
    owner: Option<OwnerId>,
    /// How many
    #[arg(long)]
    limit: Option<u32>,
    /// Go on where the list before ended
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(clap::Args, Debug)]
struct Create {
    /// Whose it will be [default: one's own]
    #[arg(long)]
    owner: Option<OwnerId>,
    /// What it may do: read, deploy, prove or admin; may be given several times
    #[arg(long = "scope", required = true, value_delimiter = ',', value_parser = scope)]
    scopes: Vec<Scope>,
    /// A label for people
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// How long it is good, such as 90d or 12h [default: until revoked]
    #[arg(long, value_name = "TIME", value_parser = text::parse_duration)]
    expires: Option<Duration>,
}

impl Keys {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let (client, out) = (context.client()?, &context.out);
        match self.command.unwrap_or(KeysCommand::List(List::default())) {
            KeysCommand::List(List { owner, limit, cursor }) => {
                let list = client.keys(owner.as_ref(), &Page { cursor, limit }).await?;
                out.result(&list, || table(out, &list.items) + &text::more(list.next.as_deref()))
            }
            KeysCommand::Create(create) => {
                let made = client.create_key(&create.into_request()).await?;
                out.note("this key is shown once; give it as COPROCESSOR_KEY or in --key-file");
                out.result(&made, || made.secret.clone())
            }
            KeysCommand::Revoke { key } => {
                let key = client.revoke_key(&key).await?;
                out.result(&key, || format!("revoked {}", key.id))
            }
        }
    }
}

impl Create {
    fn into_request(self) -> KeyRequest {
        KeyRequest {
            owner: self.owner.map(|owner| owner.to_string()),
            name: self.name,
            scopes: self.scopes,
            expires_at: self.expires.map(|expires| Timestamp::now().saturating_add(expires).unwrap_or(Timestamp::MAX)),
        }
    }
}

fn table(out: &Output, keys: &[KeyView]) -> String {
    if keys.is_empty() {
        return "no keys; make one: cargo coprocessor keys create --scope read --scope prove".to_owned();
    }
    let row = |key: &KeyView| {
        let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        let state = match (key.revoked_at, key.expires_at) {
            (Some(at), _) => format!("revoked {at:.0}"),
            (None, Some(at)) if at <= Timestamp::now() => format!("expired {at:.0}"),
            (None, Some(at)) => format!("until {at:.0}"),
            (None, None) => "good".to_owned(),
        };
        let name = text::printable(&key.name);
        [key.id.clone(), key.owner.clone(), name, scopes.join(" "), format!("{:.0}", key.created_at), state]
    };
    out.table(["key", "owner", "name", "scopes", "made", "state"], &[], keys.iter().map(row).collect())
}

fn scope(text: &str) -> Result<Scope, String> {
    let found = Scope::ALL.into_iter().find(|scope| scope.as_str() == text);
    found.ok_or_else(|| "no scope; expected read, deploy, prove or admin".to_owned())
}
