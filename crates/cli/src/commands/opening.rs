//! `opening`: what a root commits to, checked on this machine.

use super::{domains::committed, roots};
use crate::{context::Context, error::CliError};
use coprocessor_types::{BlockNumber, DomainId, Root};

#[derive(clap::Args, Debug)]
pub(crate) struct Opening {
    /// The domain's name or id
    domain: String,
    /// The block's number
    number: BlockNumber,
    /// The root [default: the current one, as the coprocessor says]
    #[arg(long)]
    root: Option<Root>,
}

impl Opening {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let (client, out) = (context.client()?, &context.out);
        let Self { domain: named, number, root } = self;
        let root = match root {
            Some(root) => root,
            None => roots::read(&client.current_root().await?.root)?,
        };
        // Not what the service says it is: the name alone decides.
        let domain = named.parse().unwrap_or_else(|_| DomainId::derive(&named));
        let opening = client.opening(&root, &named, number).await?;
        let block = opening.verify(&root, domain, number).map_err(|error| CliError::NotShown {
            reason: format!("root {root}, block {number} of domain {domain}: {error}"),
        })?;
        out.result(&opening, || match block {
            Some(block) => {
                format!("root {root} commits to this block, as was checked here:\n\n{}", out.fields(committed(block)))
            }
            None => format!("root {root} commits to no block {number} of domain {domain}, as was checked here"),
        })
    }
}
