//! `owners`: shares and quotas.

use crate::{context::Context, error::CliError, output::Output, text};
use clap::Subcommand;
use coprocessor_api::{ControllerQuotas, OwnerRequest, OwnerView, Quotas, client::Page};
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
    /// MiB that the volumes of its programs hold together, at most
    #[arg(long)]
    volumes_mib: Option<u32>,
    /// Requests a second that change something, sustained
    #[arg(long)]
    requests_per_second: Option<u32>,
    /// Such requests at once
    #[arg(long)]
    burst: Option<u32>,
    #[command(flatten)]
    controllers: Controllers,
}

impl Set {
    fn request(&self) -> OwnerRequest {
        let quotas = Quotas {
            unfinished_tasks: self.unfinished_tasks,
            programs: self.programs,
            volume_bytes: mib(self.volumes_mib),
            requests_per_second: self.requests_per_second,
            burst: self.burst,
            controllers: self.controllers.quotas(),
        };
        OwnerRequest { weight: self.weight, quotas }
    }
}

/// As many bytes.
fn mib(amount: Option<u32>) -> Option<u64> {
    amount.map(|mib| u64::from(mib) << 20)
}

// No documentation comment: clap would take it for the command's.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Each call of its controllers, at most")]
struct Controllers {
    /// Fuel: about one per WebAssembly instruction
    #[arg(long)]
    controller_fuel: Option<u64>,
    /// Milliseconds from begin to end
    #[arg(long)]
    controller_ms: Option<u64>,
    /// Linear memory in MiB; no more than the service has set apart
    #[arg(long)]
    controller_memory_mib: Option<u32>,
    /// Result in KiB of JSON
    #[arg(long)]
    controller_output_kib: Option<u32>,
    /// Log in KiB
    #[arg(long)]
    controller_log_kib: Option<u32>,
    /// Host calls
    #[arg(long)]
    controller_host_calls: Option<u64>,
    /// Network calls
    #[arg(long)]
    network_calls: Option<u64>,
    /// Milliseconds of each network call
    #[arg(long)]
    network_call_ms: Option<u64>,
    /// What network calls send, in MiB
    #[arg(long)]
    network_sent_mib: Option<u32>,
    /// What network calls receive, in MiB
    #[arg(long)]
    network_received_mib: Option<u32>,
}

impl Controllers {
    fn quotas(&self) -> ControllerQuotas {
        let kib = |amount: Option<u32>| amount.map(|kib| u64::from(kib) << 10);
        ControllerQuotas {
            fuel: self.controller_fuel,
            wall_clock_ms: self.controller_ms,
            memory_bytes: mib(self.controller_memory_mib),
            output_bytes: kib(self.controller_output_kib),
            log_bytes: kib(self.controller_log_kib),
            host_calls: self.controller_host_calls,
            network_calls: self.network_calls,
            network_call_ms: self.network_call_ms,
            network_sent_bytes: mib(self.network_sent_mib),
            network_received_bytes: mib(self.network_received_mib),
        }
    }
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
                let owner = client.set_owner(&set.owner, &set.request()).await?;
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
    let controllers = controllers(&quotas.controllers);
    out.fields([
        ("owner", owner.owner.clone()),
        ("weight", owner.weight.to_string()),
        ("unfinished tasks", of(text::thousands(limits.unfinished_tasks), quotas.unfinished_tasks.is_some())),
        ("programs", of(text::thousands(limits.programs), quotas.programs.is_some())),
        (
            "volumes",
            format!(
                "{} of {}",
                text::size(owner.volume_bytes),
                of(text::size(limits.volume_bytes), quotas.volume_bytes.is_some())
            ),
        ),
        ("requests a second", of(limits.requests_per_second.to_string(), quotas.requests_per_second.is_some())),
        ("requests at once", of(limits.burst.to_string(), quotas.burst.is_some())),
        ("a controller call", controllers),
    ])
}

/// What was set of them.
fn controllers(quotas: &ControllerQuotas) -> String {
    let number = |name: &str, amount: Option<u64>| amount.map(|amount| format!("{name} {}", text::thousands(amount)));
    let size = |name: &str, amount: Option<u64>| amount.map(|amount| format!("{name} {}", text::size(amount)));
    let time = |name: &str, ms: Option<u64>| {
        ms.map(|ms| format!("{name} {}", text::duration(std::time::Duration::from_millis(ms))))
    };
    let set = [
        number("fuel", quotas.fuel),
        time("time", quotas.wall_clock_ms),
        size("memory", quotas.memory_bytes),
        size("result", quotas.output_bytes),
        size("log", quotas.log_bytes),
        number("host calls", quotas.host_calls),
        number("network calls", quotas.network_calls),
        time("each", quotas.network_call_ms),
        size("sent", quotas.network_sent_bytes),
        size("received", quotas.network_received_bytes),
    ];
    let set: Vec<String> = set.into_iter().flatten().collect();
    if set.is_empty() { "(default)".to_owned() } else { set.join(", ") }
}
