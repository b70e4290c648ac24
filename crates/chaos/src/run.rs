//! One run from start to report.

use anyhow::{Context, Result};
use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    args::Args,
    audit::audit,
    book::{Book, Breach},
    faults::{self, FaultLog},
    load::{self, Load},
    owners,
    plan::{self, Fault},
    random::Random,
    report::{self, Report, StreamFigures, TaskFigures, WebhookFigures},
    settle::settle,
    system::System,
    terminal,
    watch::Watcher,
};

/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(10);
/// How often processes are looked after.
const SUPERVISION: Duration = Duration::from_millis(500);
/// How long a watcher and webhooks may take to catch up once everything has finished.
const CATCH_UP: Duration = Duration::from_secs(180);
/// How long a coprocessor may take to end at the end.
const END: Duration = Duration::from_secs(20);

/// Starts the system, harms it, heals it, and looks at what became of it.
///
/// # Errors
/// The run could not be made. Promises that were broken are in the report.
pub(crate) async fn run(args: &Args, directory: &Path) -> Result<Report> {
    let seed = args.seed.unwrap_or_else(|| jiff::Timestamp::now().as_millisecond().unsigned_abs());
    let mut random = Random::new(seed);
    let book = Arc::new(Book::default());
    terminal::heading(&format!("Chaos on the {} store, seed {seed}", args.store.as_str()));
    let system = Arc::new(System::start(args, seed, directory).await?);
    let admin = system.make_admin_key().await?;
    for coprocessor in &system.coprocessors {
        coprocessor.lock().await.start().await?;
    }
    let owners = Arc::new(owners::make(&system, &admin).await.context("before the first fault")?);
    let plan = plan::draw(random.next(), args.faults as usize, args.span(), &system.shape);
    write_plan(&plan, directory)?;
    terminal::line(format!(
        "  {} faults over {}, {} tasks a second, {} coprocessors, {} nodes; logs in {}",
        plan.len(),
        terminal::duration(args.span()),
        args.tasks_per_second,
        system.coprocessors.len(),
        system.nodes.len(),
        directory.display()
    ));

    let watchers: Vec<Watcher> =
        owners.iter().map(|owner| Watcher::start(owner.doors.clone(), owner.name.clone(), Arc::clone(&book))).collect();
    let log = Arc::new(FaultLog::begin(directory)?);
    let load = Load { rate: args.tasks_per_second, span: args.span(), patience: args.settle() };
    let asking = tokio::spawn(load::ask(load, Arc::clone(&owners), Arc::clone(&book), random.branch()));
    let looking = tokio::spawn(load::look(Arc::clone(&owners), Arc::clone(&book), random.branch()));
    let supervision = tokio::spawn(supervise(Arc::clone(&system), Arc::clone(&book)));
    let telling = tokio::spawn(tell(Arc::clone(&log), Arc::clone(&book), plan.len()));
    faults::carry_out(Arc::clone(&system), Arc::clone(&book), Arc::clone(&log), plan).await;
    terminal::line("  everything is healed");
    asking.await.context("the load panicked")?;
    let settled = settle(&owners, &book, args.settle()).await;
    looking.abort();
    telling.abort();
    // What is told at a task's end does not come where there is none.
    if settled.all {
        catch_up(&owners, &watchers, &system, &book).await;
    }
    supervision.abort();

    let received = system.receiver.received();
    let audit = audit(&owners, &book, &watchers, &received).await;
    end(&system, &book).await;
    let connections = watchers.iter().map(Watcher::connections).sum();
    let happened = log.happened();
    let violations = book.violations();
    let count = |breach| report::count(&violations, breach);
    Ok(Report {
        store: args.store.as_str(),
        seed,
        coprocessors: system.coprocessors.len(),
        nodes: system.nodes.len(),
        lease_seconds: args.lease().as_secs(),
        span_seconds: args.span().as_secs_f64(),
        settled_seconds: settled.took.as_secs_f64(),
        tasks_per_second: args.tasks_per_second,
        lost: count(Breach::Lost),
        doubled: count(Breach::Doubled),
        otherwise_broken: count(Breach::Other),
        faults: report::by_kind(&happened, &audit.delivered_at),
        fault_count: happened.len(),
        tasks: TaskFigures::of(book.entries().len(), book.acknowledged(), &audit),
        starts: system.starts().await,
        streams: StreamFigures { events: audit.events, connections },
        webhooks: WebhookFigures::of(&received),
        violations,
    })
}

fn write_plan(plan: &[Fault], directory: &Path) -> Result<()> {
    let path = directory.join("plan.json");
    fs::write(&path, serde_json::to_string_pretty(plan)?).with_context(|| format!("cannot write {}", path.display()))
}

/// Starts again what ended though nobody harmed it, as an operator's supervisor would; and writes it down.
async fn supervise(system: Arc<System>, book: Arc<Book>) {
    loop {
        tokio::time::sleep(SUPERVISION).await;
        for fallen in system.start_the_fallen().await {
            book.violate(Breach::Other, fallen);
        }
    }
}

async fn tell(log: Arc<FaultLog>, book: Arc<Book>, faults: usize) {
    let began = Instant::now();
    loop {
        tokio::time::sleep(PROGRESS).await;
        terminal::line(format!(
            "  {:>6}  {} of {faults} faults, {} tasks acknowledged, {} promises broken",
            terminal::duration(began.elapsed()),
            log.count(),
            book.acknowledged(),
            book.broken()
        ));
    }
}

/// Waits until nothing new comes to the watchers and to the receiver, but not for ever: what is missing then is missing.
async fn catch_up(owners: &[owners::Owner], watchers: &[Watcher], system: &System, book: &Book) {
    let began = Instant::now();
    while began.elapsed() < CATCH_UP {
        let mut behind = 0;
        for (owner, watcher) in owners.iter().zip(watchers) {
            let last = watcher.events().last().copied().unwrap_or(0);
            let newer = owner.doors[0].all_events(&coprocessor_api::client::Whose::Mine, Some(last), Some(1));
            behind += owners::answer(newer).await.map_or(1, |newer| newer.items.len());
        }
        let received = system.receiver.received();
        let missing =
            book.entries().into_iter().filter_map(|entry| entry.task).filter(|task| !received.has_end_of(task));
        if behind == 0 && missing.count() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Ends every coprocessor as an operator does, and looks at what they leave.
async fn end(system: &System, book: &Book) {
    for coprocessor in &system.coprocessors {
        let mut coprocessor = coprocessor.lock().await;
        match coprocessor.terminate(END).await {
            Some(status) if status.success() => {}
            Some(status) => book.violate(Breach::Other, format!("{} ended with {status}", coprocessor.name())),
            None => book.violate(Breach::Other, format!("{} does not end when it is told to", coprocessor.name())),
        }
    }
    for node in &system.nodes {
        node.lock().await.kill().await;
    }
    if let Err(problems) = system.offline(&["check"]).await {
        book.violate(Breach::Other, format!("{problems:#}"));
    }
    for left in system.left_over().await {
        book.violate(Breach::Other, format!("a process is left over: {left}"));
    }
    for log in system.logs().await {
        let text = fs::read(&log).unwrap_or_default();
        for line in String::from_utf8_lossy(&text).lines().filter(|line| is_panic(line)) {
            book.violate(Breach::Other, format!("{}: {line}", log.display()));
        }
    }
}

/// Whether a line of a log is a panic of the process itself; those of guests are parts of other lines.
fn is_panic(line: &str) -> bool {
    line.starts_with("thread '") && line.contains("panicked at")
}
