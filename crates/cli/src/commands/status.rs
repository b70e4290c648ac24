//! `status`: how the coprocessor is.

use super::provers;
use crate::{context::Context, error::CliError, output::Tone, text};
use serde_json::json;

#[derive(clap::Args, Debug)]
pub(crate) struct Status {}

impl Status {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let (client, out) = (context.client()?, &context.out);
        let server = client.base_url().to_owned();
        let (ready, health) = client.ready().await?;
        if !ready {
            return Err(CliError::NotReady { server, status: text::printable(&health.status) });
        }
        let (info, root, provers) = (client.info().await?, client.current_root().await?, client.provers().await?);
        let document = json!({
            "server": server, "ready": ready, "info": info, "health": health, "root": root.root, "provers": provers.items,
        });
        out.result(&document, || {
            let tasks: Vec<_> = health
                .tasks
                .iter()
                .filter(|(_, count)| **count > 0)
                .map(|(state, count)| format!("{} {state}", text::thousands(*count)))
                .collect();
            let fields = out.fields([
                ("coprocessor", format!("{server}, {}", out.paint(Tone::Good, "ready"))),
                ("version", format!("{} {}", text::printable(&info.name), text::printable(&info.version))),
                ("instance", info.instance.clone()),
                ("root", root.root.clone()),
                ("tasks", if tasks.is_empty() { "none".to_owned() } else { tasks.join(", ") }),
            ]);
            format!("{fields}\n{}", provers::table(out, &provers.items))
        })
    }
}
