//! `roots`: what proofs are bound to.

use crate::{context::Context, error::CliError, output::Output, text};
use clap::Subcommand;
use coprocessor_api::{RootView, TransitionList, TransitionView, client::Client};
use coprocessor_types::Root;

#[derive(clap::Args, Debug)]
pub(crate) struct Roots {
    #[command(subcommand)]
    command: Option<RootsCommand>,
}

#[derive(Subcommand, Debug)]
enum RootsCommand {
    /// Show a root (the default)
    Show(Show),
    /// List roots, oldest first
    List {
        /// How many
        #[arg(long)]
        limit: Option<u32>,
        /// Only roots with higher versions than this
        #[arg(long)]
        after: Option<u64>,
    },
    /// Check that one root follows from another by new blocks and nothing else
    Transitions {
        /// The root to begin at
        from: Root,
        /// The root to come to [default: the current one]
        to: Option<Root>,
    },
}

#[derive(clap::Args, Debug, Default)]
struct Show {
    /// The root [default: the current one]
    root: Option<Root>,
}

impl Roots {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let (client, out) = (context.client()?, &context.out);
        match self.command.unwrap_or(RootsCommand::Show(Show::default())) {
            RootsCommand::Show(Show { root }) => {
                let root = match root {
                    Some(root) => client.root(&root).await?,
                    None => client.current_root().await?,
                };
                out.result(&root, || describe(out, &root))
            }
            RootsCommand::List { limit, after } => {
                let list = client.roots(after, limit).await?;
                out.result(&list, || {
                    let more = list.next.map_or_else(String::new, |next| format!("\nmore: --after {next}"));
                    table(out, &list.items) + &more
                })
            }
            RootsCommand::Transitions { from, to } => {
                let (steps, last) = follow(&client, from, to).await?;
                let list = TransitionList { items: steps, next: None };
                out.result(&list, || {
                    let steps = text::count(list.items.len() as u64, "step", "steps");
                    step_table(out, &list.items)
                        + &format!("\n{last} follows from {from} by {steps}, each checked here")
                })
            }
        }
    }
}

/// Every step from one root to another, each checked from the root before it; and the root they come to.
async fn follow(client: &Client, from: Root, to: Option<Root>) -> Result<(Vec<TransitionView>, Root), CliError> {
    // What is newest may change meanwhile.
    let to = match to {
        Some(to) => to,
        None => read(&client.current_root().await?.root)?,
    };
    let (mut steps, mut at) = (Vec::new(), from);
    while at != to {
        let page = client.transitions(&at, Some(&to), Some(1000)).await?;
        if page.items.is_empty() {
            return Err(CliError::NotShown { reason: format!("nothing leads from root {at} to root {to}") });
        }
        for step in page.items {
            let next = read(&step.to)?;
            let wrong =
                |error| CliError::NotShown { reason: format!("the step from root {at} to root {next}: {error}") };
            step.verify(&at, &next).map_err(wrong)?;
            at = next;
            steps.push(step);
        }
    }
    Ok((steps, at))
}

/// A root that the service named.
pub(crate) fn read(root: &str) -> Result<Root, CliError> {
    root.parse()
        .map_err(|error| CliError::NotShown { reason: format!("the coprocessor named a root that is none: {error}") })
}

fn describe(out: &Output, root: &RootView) -> String {
    let mut fields = vec![("root", root.root.clone()), ("version", root.version.to_string())];
    if let Some(block) = &root.block {
        fields.push(("made by", format!("block {} of domain {}", block.number, block.domain)));
    }
    fields.extend([("instance", root.instance.clone()), ("made", root.at.to_string())]);
    out.fields(fields)
}

fn table(out: &Output, roots: &[RootView]) -> String {
    if roots.is_empty() {
        return "no roots".to_owned();
    }
    let row = |root: &RootView| {
        let block = root.block.as_ref();
        let (domain, number) = block.map_or_else(
            || ("-".to_owned(), "-".to_owned()),
            |block| (text::short(&block.domain).to_owned(), block.number.to_string()),
        );
        [root.version.to_string(), root.root.clone(), domain, number, format!("{:.0}", root.at)]
    };
    out.table(["version", "root", "domain", "block", "made"], &[0, 3], roots.iter().map(row).collect())
}

fn step_table(out: &Output, steps: &[TransitionView]) -> String {
    let row = |step: &TransitionView| {
        [step.version.to_string(), step.to.clone(), text::short(&step.domain).to_owned(), step.number.to_string()]
    };
    out.table(["version", "root", "domain", "block"], &[0, 3], steps.iter().map(row).collect())
}
