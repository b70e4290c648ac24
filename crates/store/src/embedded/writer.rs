//! The one connection that writes, and the thread that owns it.
//!
//! The thread takes all waiting jobs, runs each in a savepoint of its own inside one transaction, and commits once: a
//! job that fails takes back only itself. Jobs there are very many of do without the savepoint, see [`Writer::write_bare`]. Commits go to the log without an fsync; a second thread does those, so that
//! one fsync serves all that was committed while the one before was running, and the next transactions need not wait
//! for it. Jobs that promise durability are answered after it, the others after the commit.

use super::fault::{Fault, io_error, is_out_of_space};
use crate::{Change, StoreError};
use rusqlite::Connection;
use std::{
    fmt, io, mem,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc as threads,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::{broadcast, mpsc, oneshot};

/// Jobs that can wait for the writer; more make their callers wait before they are queued.
const QUEUED_JOBS: usize = 1024;

/// Jobs in one transaction. Bounds how long the first waits for the last.
const BATCH: usize = 256;

/// Batches that can wait for an fsync.
const UNSYNCED_BATCHES: usize = 64;

/// When a job's caller is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Durability {
    /// After the commit: survives the process, and with a delay the loss of power.
    Committed,
    /// After an fsync of the commit and all before it.
    Synced,
}

/// Hands jobs to the writer's thread.
pub(super) struct Writer {
    /// `None` once closed.
    jobs: Mutex<Option<mpsc::Sender<Box<dyn Job>>>>,
    /// Jobs that go before all others.
    first: First,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

type First = Arc<Mutex<Vec<Box<dyn Job>>>>;

/// How the log is made durable.
pub(super) struct Log {
    /// For errors.
    pub(super) path: PathBuf,
    /// An fsync of it.
    pub(super) sync: Box<dyn FnMut() -> io::Result<()> + Send>,
    /// How long after a commit that nobody waits for.
    pub(super) delay: Duration,
}

impl Writer {
    /// Starts the threads. `db` must be in WAL mode with `synchronous=NORMAL`.
    pub(super) fn start(db: Connection, log: Log, changes: broadcast::Sender<Change>) -> Result<Self, StoreError> {
        let path = log.path.clone();
        let (jobs, waiting) = mpsc::channel(QUEUED_JOBS);
        let (unsynced, to_sync) = threads::sync_channel(UNSYNCED_BATCHES);
        let failed = Arc::new(AtomicBool::new(false));
        let syncer = Syncer { log, failed: failed.clone(), synced: 0 };
        let first = First::default();
        let committer = Committer { db, changes, unsynced, failed, commits: 0, first: first.clone() };
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(|error| io_error(&path, error))
        };
        let threads = vec![
            spawn("store-writer", Box::new(move || committer.run(waiting)))?,
            spawn("store-sync", Box::new(move || syncer.run(&to_sync)))?,
        ];
        Ok(Self { jobs: Mutex::new(Some(jobs)), first, threads: Mutex::new(threads) })
    }

    /// Runs `work` in the next transaction. It is run, and committed, even when the caller goes away meanwhile.
    pub(super) async fn write<T, F>(&self, durability: Durability, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &mut Vec<Change>) -> Result<T, Fault> + Send + 'static,
    {
        self.queue(durability, true, work).await
    }

    /// As [`write`](Self::write), for work that refuses before it writes anything: a savepoint copies every page that is
    /// changed in it, which is a third of what the smallest work costs. Work that fails all the same when it has written
    /// something takes the whole transaction with it.
    pub(super) async fn write_bare<T, F>(&self, durability: Durability, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &mut Vec<Change>) -> Result<T, Fault> + Send + 'static,
    {
        self.queue(durability, false, work).await
    }

    /// As [`write_bare`](Self::write_bare), before whatever waits already: for what is small and must not be late. Answered
    /// after the commit.
    pub(super) async fn write_first<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &mut Vec<Change>) -> Result<T, Fault> + Send + 'static,
    {
        let jobs = self.jobs()?;
        let (job, answer) = Command::new(Durability::Committed, false, work);
        lock(&self.first).push(job);
        // Wakes the thread. Where no more jobs fit, it is awake.
        let _ = jobs.try_send(Command::new(Durability::Committed, false, |_, _| Ok(())).0);
        drop(jobs);
        answer.await.map_err(|_| StoreError::Closed)?
    }

    async fn queue<T, F>(&self, durability: Durability, savepoint: bool, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &mut Vec<Change>) -> Result<T, Fault> + Send + 'static,
    {
        let jobs = self.jobs()?;
        let (job, answer) = Command::new(durability, savepoint, work);
        jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        drop(jobs);
        answer.await.map_err(|_| StoreError::Closed)?
    }

    fn jobs(&self) -> Result<mpsc::Sender<Box<dyn Job>>, StoreError> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(StoreError::Closed)
    }

    /// Takes no more jobs, finishes those it has, syncs, and closes the connection.
    pub(super) fn close(&self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // A thread that panicked has said so on standard error; its callers got `Closed`.
            let _ = thread.join();
        }
    }
}

/// A unit of work with somebody waiting for its result.
trait Job: Send {
    /// Does the work; whether it went well.
    fn run(&mut self, db: &Connection, changes: &mut Vec<Change>) -> bool;
    /// Why the transaction is no more, for the others in it, after this one's failure has ended it.
    fn transaction_lost(&self) -> StoreError;
    /// Makes it a failure, unless it is one already.
    fn fail(&mut self, error: StoreError);
    fn durability(&self) -> Durability;
    fn has_savepoint(&self) -> bool;
    fn answer(self: Box<Self>);
}

struct Command<T, F> {
    durability: Durability,
    savepoint: bool,
    step: Step<T, F>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

/// Where a job's answer comes.
type Answer<T> = oneshot::Receiver<Result<T, StoreError>>;

impl<T, F> Command<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Connection, &mut Vec<Change>) -> Result<T, Fault> + Send + 'static,
{
    #[allow(clippy::new_ret_no_self, reason = "who waits for the answer needs its other end")]
    fn new(durability: Durability, savepoint: bool, work: F) -> (Box<dyn Job>, Answer<T>) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Self { durability, savepoint, step: Step::Waiting(work), reply }), answer)
    }
}

enum Step<T, F> {
    Waiting(F),
    Done(Result<T, StoreError>),
}

impl<T, F> Job for Command<T, F>
where
    T: Send,
    F: FnOnce(&Connection, &mut Vec<Change>) -> Result<T, Fault> + Send,
{
    fn run(&mut self, db: &Connection, changes: &mut Vec<Change>) -> bool {
        let Step::Waiting(work) = mem::replace(&mut self.step, Step::Done(Err(StoreError::Closed))) else {
            return false;
        };
        let result = work(db, changes).map_err(StoreError::from);
        let succeeded = result.is_ok();
        self.step = Step::Done(result);
        succeeded
    }

    fn transaction_lost(&self) -> StoreError {
        match &self.step {
            Step::Done(Err(StoreError::Full)) => StoreError::Full,
            Step::Done(Err(error)) => StoreError::Database(format!("a write in the same transaction: {error}").into()),
            Step::Done(Ok(_)) | Step::Waiting(_) => StoreError::Database("the transaction was ended".into()),
        }
    }

    fn fail(&mut self, error: StoreError) {
        if !matches!(self.step, Step::Done(Err(_))) {
            self.step = Step::Done(Err(error));
        }
    }

    fn durability(&self) -> Durability {
        self.durability
    }

    fn has_savepoint(&self) -> bool {
        self.savepoint
    }

    fn answer(self: Box<Self>) {
        let result = match self.step {
            Step::Done(result) => result,
            Step::Waiting(_) => Err(StoreError::Closed),
        };
        // The caller may have gone away.
        let _ = self.reply.send(result);
    }
}

/// What the syncer gets after each transaction: its number, and who waits for it to be durable.
struct Unsynced {
    commit: u64,
    jobs: Vec<Box<dyn Job>>,
}

struct Committer {
    db: Connection,
    changes: broadcast::Sender<Change>,
    unsynced: threads::SyncSender<Unsynced>,
    failed: Arc<AtomicBool>,
    /// Number of transactions that changed something.
    commits: u64,
    first: First,
}

impl Committer {
    fn run(mut self, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
        let mut batch = Vec::with_capacity(BATCH);
        while waiting.blocking_recv_many(&mut batch, BATCH) > 0 {
            batch.splice(0..0, lock(&self.first).drain(..));
            let mut changes = Vec::new();
            if let Err(fault) = self.transact(&mut batch, &mut changes) {
                changes.clear();
                fail_all(&mut batch, &fault);
            }
            self.answer(mem::replace(&mut batch, Vec::with_capacity(BATCH)));
            self.tell(changes);
        }
    }

    /// Tells what has been committed. But for events, hearing it once a transaction is enough.
    fn tell(&self, changes: Vec<Change>) {
        let mut told = Vec::new();
        for change in changes {
            if !matches!(change, Change::Event { .. }) {
                if told.contains(&change) {
                    continue;
                }
                told.push(change.clone());
            }
            // Nobody may be listening.
            let _ = self.changes.send(change);
        }
    }

    /// One transaction for all jobs of the batch.
    fn transact(&mut self, batch: &mut [Box<dyn Job>], changes: &mut Vec<Change>) -> Result<(), Fault> {
        if self.failed.load(Ordering::Acquire) {
            return Err(StoreError::Closed.into());
        }
        let before = self.db.total_changes();
        self.execute("BEGIN IMMEDIATE")?;
        let result = self.run_jobs(batch, changes).and_then(|()| self.execute("COMMIT"));
        if result.is_err() && !self.db.is_autocommit() {
            // If even this fails, the next BEGIN does, and tells its callers.
            let _ = self.execute("ROLLBACK");
        }
        if result.is_ok() && self.db.total_changes() != before {
            self.commits += 1;
        }
        result
    }

    fn run_jobs(&self, batch: &mut [Box<dyn Job>], changes: &mut Vec<Change>) -> Result<(), Fault> {
        for job in batch {
            let (kept, written) = (changes.len(), self.db.total_changes());
            let savepoint = job.has_savepoint();
            if savepoint {
                self.execute("SAVEPOINT job")?;
            }
            if !job.run(&self.db, changes) {
                changes.truncate(kept);
                // Out of space, for one, takes back the whole transaction, and with it the jobs before this one.
                let lost = self.db.is_autocommit() || (!savepoint && self.db.total_changes() != written);
                if lost {
                    return Err(job.transaction_lost().into());
                }
                if savepoint {
                    self.execute("ROLLBACK TO job")?;
                }
            }
            if savepoint {
                self.execute("RELEASE job")?;
            }
        }
        Ok(())
    }

    fn execute(&self, sql: &str) -> Result<(), Fault> {
        Ok(self.db.prepare_cached(sql)?.execute([]).map(drop)?)
    }

    fn answer(&self, batch: Vec<Box<dyn Job>>) {
        let (synced, committed): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|job| job.durability() == Durability::Synced);
        for job in committed {
            job.answer();
        }
        if let Err(threads::SendError(lost)) = self.unsynced.send(Unsynced { commit: self.commits, jobs: synced }) {
            for mut job in lost.jobs {
                job.fail(StoreError::Closed);
                job.answer();
            }
        }
    }
}

fn lock(first: &First) -> MutexGuard<'_, Vec<Box<dyn Job>>> {
    // Nothing that is done under the lock can leave the list half changed.
    first.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Committer {
    fn drop(&mut self) {
        // After a panic, lest their callers wait for ever.
        lock(&self.first).clear();
    }
}

/// The error a whole batch gets. Every caller gets its own: it can't be cloned.
fn fail_all(batch: &mut [Box<dyn Job>], fault: &Fault) {
    for job in batch {
        job.fail(match fault {
            Fault::Store(StoreError::Full) => StoreError::Full,
            Fault::Store(StoreError::Closed) => StoreError::Closed,
            Fault::Store(error) => StoreError::Database(error.to_string().into()),
            Fault::Sqlite(error) if is_out_of_space(error) => StoreError::Full,
            Fault::Sqlite(error) => StoreError::Database(error.to_string().into()),
        });
    }
}

struct Syncer {
    log: Log,
    /// Set after a failed fsync: what the disk holds is unknown then, and another fsync would not tell.
    failed: Arc<AtomicBool>,
    /// Number of the last transaction that is durable.
    synced: u64,
}

impl Syncer {
    fn run(mut self, to_sync: &threads::Receiver<Unsynced>) {
        let mut newest = 0;
        let mut due: Option<Instant> = None;
        loop {
            let received = match due {
                None => to_sync.recv().map_err(|_| threads::RecvTimeoutError::Disconnected),
                Some(due) => to_sync.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            let mut jobs = Vec::new();
            let mut take = |batch: Unsynced| {
                newest = newest.max(batch.commit);
                jobs.extend(batch.jobs);
            };
            let closed = matches!(received, Err(threads::RecvTimeoutError::Disconnected));
            if let Ok(batch) = received {
                take(batch);
            }
            to_sync.try_iter().for_each(take);

            let overdue = closed || due.is_some_and(|due| due <= Instant::now());
            if !jobs.is_empty() || (overdue && newest > self.synced) {
                self.sync(newest, jobs);
            }
            due = (newest > self.synced).then(|| due.unwrap_or_else(|| Instant::now() + self.log.delay));
            if closed {
                return;
            }
        }
    }

    fn sync(&mut self, newest: u64, jobs: Vec<Box<dyn Job>>) {
        let mut failure = None;
        if newest > self.synced && !self.failed.load(Ordering::Acquire) {
            failure = (self.log.sync)().err();
            if failure.is_some() {
                self.failed.store(true, Ordering::Release);
            }
        }
        let failed = self.failed.load(Ordering::Acquire);
        for mut job in jobs {
            if let Some(error) = &failure {
                job.fail(io_error(&self.log.path, io::Error::new(error.kind(), error.to_string())));
            } else if failed {
                job.fail(StoreError::Closed);
            }
            job.answer();
        }
        // After a failure as well, lest it be tried again for ever.
        self.synced = newest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Durability::{Committed, Synced};
    use rusqlite::params;
    use std::sync::atomic::AtomicUsize;

    /// A writer on a database in a directory of its own, and how often it has synced.
    struct Bench {
        writer: Arc<Writer>,
        syncs: Arc<AtomicUsize>,
        reader: Connection,
        changes: broadcast::Receiver<Change>,
        _directory: tempfile::TempDir,
    }

    impl Bench {
        fn new(delay: Duration, mut outcome: impl FnMut() -> io::Result<()> + Send + 'static) -> Self {
            let directory = tempfile::TempDir::new().unwrap();
            let database = directory.path().join("db");
            let db = Connection::open(&database).unwrap();
            db.pragma_update(None, "journal_mode", "wal").unwrap();
            db.pragma_update(None, "synchronous", "normal").unwrap();
            db.execute_batch("CREATE TABLE notes (note INTEGER PRIMARY KEY)").unwrap();
            let syncs = Arc::new(AtomicUsize::new(0));
            let counted = syncs.clone();
            let sync = Box::new(move || {
                counted.fetch_add(1, Ordering::SeqCst);
                outcome()
            });
            let (sender, changes) = broadcast::channel(16);
            let writer = Writer::start(db, Log { path: database.clone(), sync, delay }, sender).unwrap();
            let reader = Connection::open(&database).unwrap();
            Self { writer: Arc::new(writer), syncs, reader, changes, _directory: directory }
        }

        fn syncs(&self) -> usize {
            self.syncs.load(Ordering::SeqCst)
        }

        fn notes(&self) -> Vec<i64> {
            let mut statement = self.reader.prepare("SELECT note FROM notes ORDER BY note").unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
        }
    }

    const LONG: Duration = Duration::from_secs(3600);

    fn note(value: i64) -> impl FnOnce(&Connection, &mut Vec<Change>) -> Result<i64, Fault> + Send + 'static {
        move |db, changes| {
            changes.push(Change::Work(crate::Stage::Execute));
            changes.push(event(value));
            db.execute("INSERT INTO notes (note) VALUES (?1)", params![value])?;
            Ok(value)
        }
    }

    fn event(seq: i64) -> Change {
        let (task, owner) = (coprocessor_types::TaskId(uuid::Uuid::nil()), coprocessor_types::OwnerId::anonymous());
        Change::Event { task, owner, seq: seq as u64, state: crate::TaskState::Queued }
    }

    /// Keeps the writer busy until the sender is used or dropped.
    async fn block(bench: &Bench) -> threads::Sender<()> {
        let (started, wait_started) = oneshot::channel();
        let (release, wait_release) = threads::channel::<()>();
        let writer = bench.writer.clone();
        tokio::spawn(async move {
            let block = move |_: &Connection, _: &mut Vec<Change>| {
                started.send(()).unwrap();
                let _ = wait_release.recv();
                Ok(())
            };
            writer.write(Committed, block).await
        });
        wait_started.await.unwrap();
        release
    }

    async fn until_queued(bench: &Bench, jobs: usize) {
        let queued = || bench.writer.jobs.lock().unwrap().as_ref().map_or(0, |jobs| QUEUED_JOBS - jobs.capacity());
        while queued() < jobs {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn waiting_jobs_share_a_transaction_and_a_sync() {
        let bench = Bench::new(LONG, || Ok(()));
        let release = block(&bench).await;
        let ran = Arc::new(AtomicUsize::new(0));
        let jobs: Vec<_> = (0..64)
            .map(|value| {
                let (writer, ran, counted) = (bench.writer.clone(), ran.clone(), ran.clone());
                tokio::spawn(async move {
                    let job = move |db: &Connection, changes: &mut Vec<Change>| {
                        counted.fetch_add(1, Ordering::SeqCst);
                        note(value)(db, changes)
                    };
                    writer.write(Synced, job).await.unwrap();
                    ran.load(Ordering::SeqCst)
                })
            })
            .collect();
        until_queued(&bench, 64).await;
        release.send(()).unwrap();
        for job in jobs {
            assert_eq!(job.await.unwrap(), 64, "answered before the transaction of all was committed");
        }
        assert_eq!(bench.syncs(), 1);
        assert_eq!(bench.notes().len(), 64);
    }

    #[tokio::test]
    async fn a_failing_job_takes_back_only_itself() {
        let mut bench = Bench::new(LONG, || Ok(()));
        let duplicate = |db: &Connection, changes: &mut Vec<Change>| {
            note(7)(db, changes)?;
            note(1)(db, changes)
        };
        let (first, second, third) = tokio::join!(
            bench.writer.write(Synced, note(1)),
            bench.writer.write(Synced, duplicate),
            bench.writer.write(Synced, note(2)),
        );
        assert!(matches!((first, second, third), (Ok(1), Err(StoreError::Database(_)), Ok(2))));
        assert_eq!(bench.notes(), [1, 2]);
        bench.writer.write(Committed, |_, _| Ok(())).await.unwrap();
        let told: Vec<_> = std::iter::from_fn(|| bench.changes.try_recv().ok()).collect();
        let events: Vec<_> = told.into_iter().filter(|change| matches!(change, Change::Event { .. })).collect();
        assert_eq!(events, [event(1), event(2)]);
    }

    #[tokio::test]
    async fn but_for_events_a_change_is_told_once_a_transaction() {
        let mut bench = Bench::new(LONG, || Ok(()));
        let release = block(&bench).await;
        let writers: Vec<_> = (0..3)
            .map(|value| {
                let writer = bench.writer.clone();
                tokio::spawn(async move { writer.write(Committed, note(value)).await })
            })
            .collect();
        until_queued(&bench, 3).await;
        drop(release);
        for writer in writers {
            writer.await.unwrap().unwrap();
        }
        bench.writer.write(Committed, |_, _| Ok(())).await.unwrap();
        let told: Vec<_> = std::iter::from_fn(|| bench.changes.try_recv().ok()).collect();
        assert_eq!(told, [Change::Work(crate::Stage::Execute), event(0), event(1), event(2)]);
    }

    #[tokio::test]
    async fn what_goes_first_waits_for_no_queue() {
        let bench = Bench::new(LONG, || Ok(()));
        let release = block(&bench).await;
        let writers: Vec<_> = (0..2 * QUEUED_JOBS as i64)
            .map(|value| {
                let writer = bench.writer.clone();
                tokio::spawn(async move { writer.write(Committed, note(value)).await })
            })
            .collect();
        until_queued(&bench, QUEUED_JOBS).await;
        let writer = bench.writer.clone();
        let count = |db: &Connection, _: &mut Vec<Change>| {
            Ok(db.query_row("SELECT count(*) FROM notes", [], |row| row.get::<_, i64>(0))?)
        };
        let first = tokio::spawn(async move { writer.write_first(count).await });
        while lock(&bench.writer.first).is_empty() {
            tokio::task::yield_now().await;
        }
        drop(release);
        assert_eq!(first.await.unwrap().unwrap(), 0);
        for writer in writers {
            writer.await.unwrap().unwrap();
        }
        // With nothing else to do, it is done as well.
        assert_eq!(bench.writer.write_first(count).await.unwrap(), 2 * QUEUED_JOBS as i64);
        bench.writer.close();
        assert!(matches!(bench.writer.write_first(count).await, Err(StoreError::Closed)));
    }

    #[tokio::test]
    async fn a_bare_job_that_fails_late_takes_back_its_transaction_and_early_nothing() {
        let bench = Bench::new(LONG, || Ok(()));
        let late = |db: &Connection, changes: &mut Vec<Change>| -> Result<i64, Fault> {
            note(7)(db, changes)?;
            Err(StoreError::BadCursor.into())
        };
        let early = |_: &Connection, _: &mut Vec<Change>| -> Result<i64, Fault> { Err(StoreError::BadCursor.into()) };
        for (bare, expected) in [(0, vec![1, 2]), (1, vec![1, 2])] {
            let release = block(&bench).await;
            let free = async {
                until_queued(&bench, 3).await;
                drop(release);
            };
            let (before, failed, after, ()) = if bare == 0 {
                tokio::join!(
                    bench.writer.write_bare(Committed, note(1)),
                    bench.writer.write_bare(Committed, early),
                    bench.writer.write_bare(Committed, note(2)),
                    free
                )
            } else {
                tokio::join!(
                    bench.writer.write_bare(Committed, note(3)),
                    bench.writer.write_bare(Committed, late),
                    bench.writer.write_bare(Committed, note(4)),
                    free
                )
            };
            assert!(matches!(failed, Err(StoreError::BadCursor)), "{failed:?}");
            assert_eq!((before.is_ok(), after.is_ok()), (bare == 0, bare == 0));
            assert_eq!(bench.notes(), expected);
        }
    }

    #[tokio::test]
    async fn a_job_that_ends_the_transaction_fails_those_before_it_and_no_later_one() {
        let bench = Bench::new(LONG, || Ok(()));
        let end = |db: &Connection, _: &mut Vec<Change>| -> Result<(), Fault> {
            db.execute_batch("ROLLBACK")?;
            Err(StoreError::Full.into())
        };
        let release = block(&bench).await;
        let free = async {
            until_queued(&bench, 2).await;
            drop(release);
        };
        let (first, second, ()) =
            tokio::join!(bench.writer.write(Synced, note(1)), bench.writer.write(Synced, end), free);
        assert!(matches!((first, second), (Err(StoreError::Full), Err(StoreError::Full))));
        assert_eq!(bench.notes(), Vec::<i64>::new());
        assert_eq!(bench.writer.write(Synced, note(2)).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn synced_jobs_are_answered_after_a_sync_and_others_before() {
        let bench = Bench::new(LONG, || Ok(()));
        bench.writer.write(Committed, note(1)).await.unwrap();
        assert_eq!((bench.syncs(), bench.notes()), (0, vec![1]));
        // What changes nothing itself waits for what came before it.
        bench.writer.write(Synced, |_, _| Ok(())).await.unwrap();
        assert_eq!(bench.syncs(), 1);
        bench.writer.write(Synced, |_, _| Ok(())).await.unwrap();
        assert_eq!(bench.syncs(), 1);
        bench.writer.write(Synced, note(2)).await.unwrap();
        assert_eq!(bench.syncs(), 2);
    }

    #[tokio::test]
    async fn commits_nobody_waits_for_are_synced_after_the_delay_and_at_the_end() {
        let bench = Bench::new(Duration::from_millis(5), || Ok(()));
        bench.writer.write(Committed, note(1)).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while bench.syncs() == 0 {
            assert!(Instant::now() < deadline, "never synced");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let bench = Bench::new(LONG, || Ok(()));
        bench.writer.write(Committed, note(1)).await.unwrap();
        bench.writer.close();
        assert_eq!(bench.syncs(), 1);
        assert!(matches!(bench.writer.write(Committed, note(2)).await, Err(StoreError::Closed)));
    }

    #[tokio::test]
    async fn after_a_failed_sync_nothing_is_promised_any_more() {
        let bench = Bench::new(LONG, || Err(io::Error::from(io::ErrorKind::Other)));
        let failed = bench.writer.write(Synced, note(1)).await;
        assert!(matches!(failed, Err(StoreError::Io { .. })), "{failed:?}");
        for durability in [Synced, Committed] {
            let after = bench.writer.write(durability, note(2)).await;
            assert!(matches!(after, Err(StoreError::Closed)), "{after:?}");
        }
        assert_eq!((bench.syncs(), bench.notes()), (1, vec![1]));
    }
}
