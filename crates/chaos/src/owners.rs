//! The owners whose tasks are asked for: their keys, their programs, and a client of each at every coprocessor.

use anyhow::{Context, Result};
use coprocessor_api::{
    DeliveryView, KeyRequest, Scope, TaskState, TaskView, WebhookRequest,
    client::{Client, ClientError, Deployment, Page, TaskFilter},
};
use coprocessor_types::ProgramId;
use secrecy::SecretString;
use std::{fmt, future::Future, time::Duration};

use crate::{guest, random::Random, system::System};

/// Owners; the work of each must not wait for the backlog of the others.
const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];
/// Programs of each, so that their volumes are written at the same time.
pub(crate) const PROGRAMS: usize = 4;
/// A volume's size in bytes.
const VOLUME: u64 = 8 << 20;
/// What webhooks are signed with.
const WEBHOOK_SECRET: &str = "whsec_Y2hhb3MtY2hhb3MtY2hhb3MtY2hhb3MtY2hhb3M=";
/// How long one answer may take before it counts as lost.
const ANSWER: Duration = Duration::from_secs(8);
/// Items of a page.
pub(crate) const PAGE: u32 = 500;

/// An owner.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) name: String,
    /// One client for each coprocessor.
    pub(crate) doors: Vec<Client>,
    pub(crate) programs: Vec<ProgramId>,
    /// Its webhook's id.
    webhook: String,
}

/// Makes keys, programs and webhooks, while nothing is harmed yet.
pub(crate) async fn make(system: &System, admin: &SecretString) -> Result<Vec<Owner>> {
    system.receiver.set_secret(WEBHOOK_SECRET.to_owned());
    let operator = doors(system, admin)?.into_iter().next().context("there is no coprocessor")?;
    let controller = guest::controller()?;
    let mut owners = Vec::new();
    for name in NAMES {
        let request = KeyRequest {
            owner: Some(name.to_owned()),
            name: "chaos".to_owned(),
            scopes: vec![Scope::Read, Scope::Deploy, Scope::Prove],
            expires_at: None,
        };
        let key = SecretString::from(operator.create_key(&request).await?.secret);
        let doors = doors(system, &key)?;
        let mut programs = Vec::new();
        for nonce in 0..PROGRAMS {
            let deployment = Deployment {
                name: format!("{name}-{nonce}"),
                controller: controller.clone(),
                circuit: guest::circuit(),
                // Programs of one circuit are told apart by it, whoever deploys them.
                nonce: (owners.len() * PROGRAMS + nonce) as u64,
                volume_size: Some(VOLUME),
                ..Deployment::default()
            };
            let deployed = doors[nonce % doors.len()].deploy(deployment).await?;
            programs.push(deployed.program.id.parse().context("the service named a program by no id")?);
        }
        let webhook = WebhookRequest {
            url: format!("http://{}/{name}", system.receiver.address()),
            events: Vec::new(),
            secret: Some(WEBHOOK_SECRET.to_owned()),
        };
        let made = doors[0].add_webhook(&webhook).await.context("a webhook cannot be registered")?;
        owners.push(Owner { name: name.to_owned(), doors, programs, webhook: made.webhook.id });
    }
    Ok(owners)
}

/// Clients with that key, one for each coprocessor.
pub(crate) fn doors(system: &System, key: &SecretString) -> Result<Vec<Client>> {
    let doors =
        system.caller_links.iter().map(|link| Client::new(&format!("http://{}", link.address()))?.with_key(key));
    Ok(doors.collect::<Result<_, ClientError>>()?)
}

/// Why an answer did not come.
#[derive(Debug)]
pub(crate) enum Miss {
    /// It may come if one asks again: a lost connection, a service that is busy, full or stopping.
    Passing(String),
    /// A bug of the service: HTTP 500, or an answer that is none.
    Bug(String),
    /// The service's own answer that it will not.
    Refused(Box<coprocessor_api::Problem>),
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passing(reason) | Self::Bug(reason) => f.write_str(reason),
            Self::Refused(problem) => problem.fmt(f),
        }
    }
}

/// Waits for an answer, but not for ever, and says what its absence means.
pub(crate) async fn answer<T>(request: impl Future<Output = Result<T, ClientError>>) -> Result<T, Miss> {
    match tokio::time::timeout(ANSWER, request).await {
        Err(_) => Err(Miss::Passing(format!("no answer within {} s", ANSWER.as_secs()))),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if error.may_pass() => Err(Miss::Passing(error.to_string())),
        // Space may be made.
        Ok(Err(ClientError::Problem(problem))) if problem.status == 507 => Err(Miss::Passing(problem.to_string())),
        Ok(Err(ClientError::Problem(problem))) if problem.status < 500 => Err(Miss::Refused(problem)),
        Ok(Err(error)) => Err(Miss::Bug(error.to_string())),
    }
}

impl Owner {
    /// One of its clients.
    pub(crate) fn door(&self, random: &mut Random) -> &Client {
        random.of(&self.doors)
    }

    /// All its tasks in a state, or in any.
    pub(crate) async fn tasks(&self, state: Option<TaskState>) -> Result<Vec<TaskView>, Miss> {
        let filter = TaskFilter { program: None, state };
        let mut tasks = Vec::new();
        let mut cursor = None;
        loop {
            let page = Page { cursor, limit: Some(PAGE) };
            let list = answer(self.doors[0].tasks(&filter, &page)).await?;
            tasks.extend(list.items);
            match list.next {
                Some(next) => cursor = Some(next),
                None => return Ok(tasks),
            }
        }
    }

    /// All deliveries of its webhook.
    pub(crate) async fn deliveries(&self) -> Result<Vec<DeliveryView>, Miss> {
        let mut deliveries = Vec::new();
        let mut cursor = None;
        loop {
            let page = Page { cursor, limit: Some(PAGE) };
            let list = answer(self.doors[0].deliveries(&self.webhook, &page)).await?;
            deliveries.extend(list.items);
            match list.next {
                Some(next) => cursor = Some(next),
                None => return Ok(deliveries),
            }
        }
    }
}
