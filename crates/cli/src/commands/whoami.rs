//! `whoami`: who the coprocessor takes the caller for.

use crate::{context::Context, error::CliError, text};

#[derive(clap::Args, Debug)]
pub(crate) struct Whoami {}

impl Whoami {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let (client, out) = (context.client()?, &context.out);
        let caller = client.whoami().await?;
        out.result(&caller, || {
            let scopes: Vec<_> = caller.scopes.iter().map(|scope| scope.as_str()).collect();
            let limits = &caller.limits;
            out.fields([
                ("owner", caller.owner.clone()),
                ("key", caller.key.clone().unwrap_or_else(|| "none".to_owned())),
                ("scopes", scopes.join(" ")),
                ("unfinished tasks", format!("at most {}", text::thousands(limits.unfinished_tasks))),
                ("programs", format!("at most {}", text::thousands(limits.programs))),
                ("volumes", format!("{} of {}", text::size(caller.volume_bytes), text::size(limits.volume_bytes))),
                ("requests", format!("{} a second, {} at once", limits.requests_per_second, limits.burst)),
            ])
        })
    }
}
