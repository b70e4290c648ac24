//! `owners`: shares and quotas.

use crate::{context::Context, error::CliError, output::Output, text};
use clap::Subcommand;
use coprocessor_api::{OwnerRequest, OwnerView, Quotas, client::Page};
use coprocessor_types::OwnerId;

#[derive(clap::Args, Debug)]
pub(crate) struct Owners {
    #[command(subcommand)]
    command: Option<OwnersCommand>,
}

#[derive(Subcommand, Debug)]
enum OwnersCommand {
    /// List owners for whom something was set (the default)
    List(List),
    /// Show an owner's share and limits
    Show {
        /// The owner
        owner: OwnerId,
    },
    /// Set an owner's share and quotas; what is left out goes back to the operator's default
    Set(Set),
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
struct Set {
    /// The owner
    owner: OwnerId,
    /// Its share of the work while others wait too, 1 to 1000: tasks in a row before the next owner's turn
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    weight: Option<u32>,
    /// Tasks that are not finished, at most
    #[arg(long)]
    unfinished_tasks: Option<u64>,
    /// Programs, at most
    #[arg(long)]
    programs: Option<u64>,
    /// Requests a second that change something, sustained
    #[arg(long)]
    requests_per_second: Option<u32>,
    /// Such requests at once
    #[arg(long)]
    burst: Option<u32>,
}

impl Owners {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let (client, out) = (context.client()?, &context.out);
        match self.command.unwrap_or(OwnersCommand::List(List::default())) {
            OwnersCommand::List(List { limit, cursor }) => {
                let list = client.owners(&Page { cursor, limit }).await?;
                out.result(&list, || table(out, &list.items) + &text::more(list.next.as_deref()))
            }
            OwnersCommand::Show { owner } => {
                let owner = client.owner(&owner).await?;
                out.result(&owner, || describe(out, &owner))
            }
            OwnersCommand::Set(set) => {
                let Set { owner, weight, unfinished_tasks, programs, requests_per_second, burst } = set;
                let quotas = Quotas { unfinished_tasks, programs, requests_per_second, burst };
                let owner = client.set_owner(&owner, &OwnerRequest { weight, quotas }).await?;
                out.result(&owner, || describe(out, &owner))
            }
        }
    }
}

fn table(out: &Output, owners: &[OwnerView]) -> String {
    if owners.is_empty() {
        return "nothing was set for any owner: all have the operator's defaults".to_owned();
    }
    let row = |owner: &OwnerView| {
        let limits = &owner.limits;
        [
            owner.owner.clone(),
            owner.weight.to_string(),
            text::thousands(limits.unfinished_tasks),
            text::thousands(limits.programs),
            format!("{}/s, {} at once", limits.requests_per_second, limits.burst),
        ]
    };
    let header = ["owner", "weight", "unfinished tasks", "programs", "requests"];
    out.table(header, &[1, 2, 3], owners.iter().map(row).collect())
}

fn describe(out: &Output, owner: &OwnerView) -> String {
    let limits = &owner.limits;
    let of = |amount: String, own: bool| if own { amount } else { format!("{amount} (default)") };
    let quotas = &owner.quotas;
    out.fields([
        ("owner", owner.owner.clone()),
        ("weight", owner.weight.to_string()),
        ("unfinished tasks", of(text::thousands(limits.unfinished_tasks), quotas.unfinished_tasks.is_some())),
        ("programs", of(text::thousands(limits.programs), quotas.programs.is_some())),
        ("requests a second", of(limits.requests_per_second.to_string(), quotas.requests_per_second.is_some())),
        ("requests at once", of(limits.burst.to_string(), quotas.burst.is_some())),
    ])
}
