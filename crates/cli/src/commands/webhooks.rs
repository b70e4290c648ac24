//! `webhooks`: where events of one's tasks are sent.

use crate::{context::Context, error::CliError, output::Output, text};
use clap::Subcommand;
use coprocessor_api::{DeliveryState, DeliveryView, WebhookRequest, WebhookView, client::Page};
use serde_json::json;

/// Where a webhook's secret is, unless the coprocessor is to draw one.
const SECRET_VARIABLE: &str = "COPROCESSOR_WEBHOOK_SECRET";

#[derive(clap::Args, Debug)]
pub(crate) struct Webhooks {
    #[command(subcommand)]
    command: Option<WebhooksCommand>,
}

#[derive(Subcommand, Debug)]
enum WebhooksCommand {
    /// List webhooks, newest first (the default)
    List(List),
    /// Have events sent to an address; the secret they are signed with is printed once
    Add {
        /// Where they are sent
        url: String,
        /// Which events, by name; may be given several times [default: delivered, failed, cancelled]
        #[arg(long = "event", value_delimiter = ',')]
        events: Vec<String>,
    },
    /// Remove a webhook, with what it has still to be sent
    Rm {
        /// The webhook's id
        webhook: String,
    },
    /// What was sent to a webhook or is to be, newest first
    Deliveries(Deliveries),
    /// Have something sent once more
    Redeliver {
        /// The webhook's id
        webhook: String,
        /// The delivery's id
        delivery: String,
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
struct Deliveries {
    /// The webhook's id
    webhook: String,
    #[command(flatten)]
    page: List,
}

impl Webhooks {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let (client, out) = (context.client()?, &context.out);
        match self.command.unwrap_or(WebhooksCommand::List(List::default())) {
            WebhooksCommand::List(page) => {
                let list = client.webhooks(&page.into()).await?;
                out.result(&list, || table(out, &list.items) + &text::more(list.next.as_deref()))
            }
            WebhooksCommand::Add { url, events } => {
                let secret = std::env::var(SECRET_VARIABLE).ok().filter(|secret| !secret.is_empty());
                let made = client.add_webhook(&WebhookRequest { url, events, secret }).await?;
                out.note(format_args!("webhook {}; its secret is shown once:", made.webhook.id));
                out.result(&made, || made.secret.clone())
            }
            WebhooksCommand::Rm { webhook } => {
                client.remove_webhook(&webhook).await?;
                out.result(&json!({"webhook": webhook, "removed": true}), || format!("removed {webhook}"))
            }
            WebhooksCommand::Deliveries(Deliveries { webhook, page }) => {
                let list = client.deliveries(&webhook, &page.into()).await?;
                out.result(&list, || deliveries(out, &list.items) + &text::more(list.next.as_deref()))
            }
            WebhooksCommand::Redeliver { webhook, delivery } => {
                let delivery = client.redeliver(&webhook, &delivery).await?;
                out.result(&delivery, || format!("{} is pending", delivery.id))
            }
        }
    }
}

impl From<List> for Page {
    fn from(List { limit, cursor }: List) -> Self {
        Self { cursor, limit }
    }
}

fn table(out: &Output, webhooks: &[WebhookView]) -> String {
    if webhooks.is_empty() {
        return "no webhooks; add one: cargo coprocessor webhooks add https://…".to_owned();
    }
    let row = |webhook: &WebhookView| {
        [webhook.id.clone(), webhook.owner.clone(), text::printable(&webhook.url), webhook.events.join(" ")]
    };
    out.table(["webhook", "owner", "url", "events"], &[], webhooks.iter().map(row).collect())
}

fn deliveries(out: &Output, deliveries: &[DeliveryView]) -> String {
    if deliveries.is_empty() {
        return "nothing was sent yet".to_owned();
    }
    let row = |delivery: &DeliveryView| {
        let answer = delivery.last.as_ref().map_or_else(String::new, |last| match (&last.error, last.status) {
            (Some(error), _) => text::printable(error),
            (None, Some(status)) => status.to_string(),
            (None, None) => String::new(),
        });
        let state = match (delivery.state, delivery.next_at) {
            (DeliveryState::Pending, Some(at)) if delivery.attempts > 0 => format!("again at {at:.0}"),
            (DeliveryState::Pending, _) => "pending".to_owned(),
            (DeliveryState::Delivered, _) => "delivered".to_owned(),
            (DeliveryState::Failed, _) => "given up".to_owned(),
        };
        let event = text::printable(&delivery.event.name);
        [delivery.id.clone(), delivery.event.task.clone(), event, delivery.attempts.to_string(), state, answer]
    };
    let header = ["delivery", "task", "event", "attempts", "state", "last answer"];
    out.table(header, &[3], deliveries.iter().map(row).collect())
}
