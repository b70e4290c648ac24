//! `domains`: the chains that roots commit to, and their blocks.

use super::{
    dry_run::{self, Record},
    json_argument::json_argument,
};
use crate::{context::Context, error::CliError, local, output::Output, text};
use clap::Subcommand;
use coprocessor_api::{
    AppendRequest, AppendView, Base64, BlockView, DomainRequest, DomainView, StateRequest, TrustPolicy,
    client::{Client, Page},
};
use coprocessor_types::{BlockNumber, OwnerId, Root};
use serde_json::Value;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
pub(crate) struct Domains {
    #[command(subcommand)]
    command: Option<DomainsCommand>,
}

#[derive(Subcommand, Debug)]
enum DomainsCommand {
    /// List domains, in the order they were registered (the default)
    List(List),
    /// Show a domain
    Show {
        /// The domain's name or id
        domain: String,
    },
    /// Register a domain; takes the scope admin
    Add(Add),
    /// Replace a domain's controller, for the blocks to come; takes the scope admin
    SetController {
        /// The domain's name or id
        domain: String,
        /// The controller: a WebAssembly module
        file: PathBuf,
    },
    /// Have the domain's controller check blocks, and append those it lets pass: all, or none
    Append(Append),
    /// Have the domain's controller prove state, as programs ask it to; for the domain's owner
    ProveState(ProveState),
    /// List a domain's blocks, highest number first
    Blocks {
        /// The domain's name or id
        domain: String,
        #[command(flatten)]
        list: List,
    },
    /// Show a block
    Block {
        /// The domain's name or id
        domain: String,
        /// The block's number [default: the highest]
        number: Option<BlockNumber>,
        /// Only if this root commits to it
        #[arg(long)]
        root: Option<Root>,
    },
}

#[derive(clap::Args, Debug, Default)]
struct List {
    /// How many
    #[arg(long)]
    limit: Option<u32>,
    /// Go on where the list before ended
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(clap::Args, Debug)]
struct Add {
    /// Its name
    name: String,
    /// Its controller: a WebAssembly module that exports `validate_block` and `get_state_proof`
    #[arg(long, value_name = "FILE")]
    controller: PathBuf,
    /// What the controller is told with every call: JSON, or @FILE; the same ever after
    #[arg(long, value_name = "JSON", value_parser = json_argument)]
    settings: Option<Value>,
    /// Who may append its blocks, beside administrators [default: you]
    #[arg(long)]
    owner: Option<OwnerId>,
}

#[derive(clap::Args, Debug)]
struct Append {
    /// The domain's name or id
    domain: String,
    /// Arguments for the controller's `validate_block`: JSON, @FILE, or @- for standard input
    #[arg(long, value_name = "JSON", value_parser = json_argument, required_unless_present = "blocks")]
    args: Option<Value>,
    /// A list of arguments, one for each of several blocks: JSON, @FILE, or @- for standard input
    #[arg(long, value_name = "JSON", value_parser = json_list, conflicts_with = "args")]
    blocks: Option<JsonList>,
    /// Write a recording of one block's run to this file, for `cargo coprocessor replay`, also where it is refused
    #[arg(long, value_name = "FILE", conflicts_with = "blocks")]
    record: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
struct ProveState {
    /// The domain's name or id
    domain: String,
    /// Arguments for the controller's `get_state_proof`: JSON, @FILE, or @- for standard input
    #[arg(long, value_name = "JSON", value_parser = json_argument, default_value = "null", hide_default_value = true)]
    args: Value,
    /// Root to pin to, in hex [default: the current one]
    #[arg(long)]
    root: Option<Root>,
    #[command(flatten)]
    record: Record,
}

/// Several values; of a type of its own, so that it is one argument.
#[derive(Clone, Debug)]
struct JsonList(Vec<Value>);

fn json_list(text: &str) -> Result<JsonList, String> {
    match json_argument(text)? {
        Value::Array(items) => Ok(JsonList(items)),
        _ => Err("expected a JSON list, with the arguments of each block".to_owned()),
    }
}

impl Domains {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let (client, out) = (context.client()?, &context.out);
        match self.command.unwrap_or(DomainsCommand::List(List::default())) {
            DomainsCommand::List(List { limit, cursor }) => {
                let list = client.domains(&Page { cursor, limit }).await?;
                out.result(&list, || table(out, &list.items) + &text::more(list.next.as_deref()))
            }
            DomainsCommand::Show { domain } => {
                let domain = client.domain(&domain).await?;
                out.result(&domain, || describe(out, &domain))
            }
            DomainsCommand::Add(add) => add.run(&client, out).await,
            DomainsCommand::SetController { domain, file } => {
                let domain = client.set_domain_controller(&domain, local::read(&file)?.into()).await?;
                out.result(&domain, || {
                    format!("domain {} now has controller {}", text::printable(&domain.name), domain.controller)
                })
            }
            DomainsCommand::Append(append) => append.run(context, &client).await,
            DomainsCommand::ProveState(prove) => prove.run(context, &client).await,
            DomainsCommand::Blocks { domain, list: List { limit, cursor } } => {
                let list = client.blocks(&domain, &Page { cursor, limit }).await?;
                out.result(&list, || block_table(out, &list.items) + &text::more(list.next.as_deref()))
            }
            DomainsCommand::Block { domain, number, root } => {
                let block = match number {
                    Some(number) => client.block(&domain, number, root.as_ref()).await?,
                    None => client.latest_block(&domain, root.as_ref()).await?,
                };
                out.result(&block, || describe_block(out, &block))
            }
        }
    }
}

impl Add {
    async fn run(self, client: &Client, out: &Output) -> Result<(), CliError> {
        let registered = client
            .add_domain(&DomainRequest {
                name: self.name,
                controller: Base64(local::read(&self.controller)?),
                owner: self.owner.map(|owner| owner.to_string()),
                settings: self.settings.unwrap_or(Value::Null),
                trust: TrustPolicy::default(),
            })
            .await?;
        if !registered.created {
            out.note("it was registered already");
        }
        out.result(&registered.domain, || describe(out, &registered.domain))
    }
}

impl Append {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let (out, domain, record) = (&context.out, self.domain, Record::to(self.record));
        let blocks = self.blocks.map(|JsonList(blocks)| blocks);
        let request = AppendRequest { args: self.args, blocks, record: record.is_wanted() };
        let appended = client.append(&domain, &request).await;
        let appended = record.keep(context, appended, |appended| match appended.blocks.first_mut() {
            Some(block) => block.recording.take(),
            None => None,
        })?;
        out.result(&appended, || describe_append(out, &domain, &appended))
    }
}

impl ProveState {
    async fn run(self, context: &Context, client: &Client) -> Result<(), CliError> {
        let (out, root) = (&context.out, self.root.map(|root| root.to_string()));
        let request = StateRequest { args: self.args, root, record: self.record.is_wanted() };
        let view = client.prove_state(&self.domain, &request).await;
        let view = self.record.keep(context, view, |view| view.recording.take())?;
        out.result(&view, || {
            dry_run::log(out, &view.log)
                + &out.fields([
                    ("root", view.root.clone()),
                    ("proof", dry_run::describe(&view.witness)),
                    ("used", dry_run::usage(&view.usage)),
                ])
        })
    }
}

fn table(out: &Output, domains: &[DomainView]) -> String {
    if domains.is_empty() {
        return "no domains; register one: cargo coprocessor domains add NAME --controller FILE".to_owned();
    }
    let row = |domain: &DomainView| {
        let latest = domain.latest.map_or_else(|| "-".to_owned(), |latest| latest.to_string());
        [text::printable(&domain.name), domain.id.clone(), text::thousands(domain.blocks), latest]
    };
    out.table(["name", "id", "blocks", "latest"], &[2, 3], domains.iter().map(row).collect())
}

fn describe(out: &Output, domain: &DomainView) -> String {
    let mut fields = vec![
        ("domain", text::printable(&domain.name)),
        ("id", domain.id.clone()),
        ("owner", text::printable(&domain.owner)),
        ("controller", domain.controller.clone()),
    ];
    if !domain.settings.is_null() {
        fields.push(("settings", text::printable(&domain.settings.to_string())));
    }
    let TrustPolicy::ControllerOnly = domain.trust;
    fields.push(("checked by", "its controller alone".to_owned()));
    fields.push(("blocks", text::thousands(domain.blocks)));
    fields.extend(domain.latest.map(|latest| ("latest", latest.to_string())));
    fields.push(("created", domain.created_at.to_string()));
    fields.push(("updated", domain.updated_at.to_string()));
    out.fields(fields)
}

fn describe_append(out: &Output, domain: &str, appended: &AppendView) -> String {
    let mut text = String::new();
    for appended in &appended.blocks {
        text.extend(appended.log.iter().map(|line| format!("  | {}\n", text::printable(line))));
        text += &format!("appended block {} to {}\n", appended.block.number, text::printable(domain));
    }
    text + &out.fields([("root before", appended.previous_root.clone()), ("root", appended.root.clone())])
}

fn block_table(out: &Output, blocks: &[BlockView]) -> String {
    if blocks.is_empty() {
        return "no blocks".to_owned();
    }
    let row = |block: &BlockView| {
        [
            block.number.to_string(),
            block.state_root.clone(),
            text::short(&block.root).to_owned(),
            format!("{:.0}", block.appended_at),
        ]
    };
    out.table(["number", "state root", "root", "appended"], &[0], blocks.iter().map(row).collect())
}

fn describe_block(out: &Output, block: &BlockView) -> String {
    let mut fields = committed(block);
    fields.push(("first root", format!("{} (version {})", block.root, block.version)));
    fields.push(("appended", block.appended_at.to_string()));
    out.fields(fields)
}

/// What a root commits to of a block, for people.
pub(crate) fn committed(block: &BlockView) -> Vec<(&'static str, String)> {
    vec![
        ("block", block.number.to_string()),
        ("domain", block.domain.clone()),
        ("state root", block.state_root.clone()),
        ("payload", text::bytes(&block.payload.0)),
        ("trust", trust(&block.trust)),
    ]
}

fn trust(trust: &str) -> String {
    if trust.bytes().all(|digit| digit == b'0') {
        "nothing but its domain's controller".to_owned()
    } else {
        text::printable(trust)
    }
}
