//! `storage`: how large the store is, and how long things are kept.

use crate::{context::Context, error::CliError, output::Tone, text};
use coprocessor_api::CompiledView;
use std::time::Duration;

#[derive(clap::Args, Debug)]
pub(crate) struct Storage {}

impl Storage {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let (client, out) = (context.client()?, &context.out);
        let storage = client.storage().await?;
        out.result(&storage, || {
            let kept = |seconds: Option<u64>| {
                seconds.map_or_else(|| "for ever".to_owned(), |seconds| text::span(Duration::from_secs(seconds)))
            };
            let blobs = text::count(storage.blobs, "blob", "blobs");
            let mut fields = vec![
                ("database", text::size(storage.database_bytes)),
                ("blobs", format!("{} in {blobs}", text::size(storage.blob_bytes))),
            ];
            fields.extend(storage.free_bytes.map(|free| ("free", text::size(free))));
            fields.push(match &storage.low {
                Some(reason) => ("room", out.paint(Tone::Bad, text::printable(reason))),
                None => ("room", out.paint(Tone::Good, "enough")),
            });
            fields.push(("witnesses", format!("kept {}", kept(storage.retention.witnesses))));
            fields.push(("proofs", format!("kept {}", kept(storage.retention.proofs))));
            fields.push(("recordings", format!("kept {}", kept(storage.retention.recordings))));
            fields.push(("tasks", format!("kept {}", kept(storage.retention.tasks))));
            fields.push(("roots", format!("can be opened {}", kept(storage.retention.roots))));
            fields.push(("compiled", compiled(&storage.compiled)));
            if let Some(problem) = &storage.compiled.problem {
                fields.push(("", out.paint(Tone::Bad, text::printable(problem))));
            }
            out.fields(fields)
        })
    }
}

/// What is kept of compiled controllers, and what it was good for.
fn compiled(view: &CompiledView) -> String {
    let controllers = text::count(view.files, "controller", "controllers");
    let kept = match view.limit {
        0 => "none kept".to_owned(),
        limit => format!("{} of {} in {controllers}", text::size(view.bytes), text::size(limit)),
    };
    let CompiledView { compiled, loaded, found, .. } = view;
    format!("{kept}; since the start {compiled} compiled, {loaded} loaded, {found} found in memory")
}
