//! A PostgreSQL cluster in a temporary directory.

use crate::ServerError;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, TcpListener},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long a server may take to start, recovery included, or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a cluster does when the process that started it is gone: it reads the postmaster's ids from its standard
/// input, and when that ends it stops the last one and removes the directory. Zero: none runs.
const WATCHER: &str = r#"
pid=0
while read -r line; do pid=$line; done
if [ "$pid" -gt 0 ] && kill -QUIT "$pid" 2>/dev/null; then
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
fi
rm -rf "$1"
"#;

/// What can be chosen about a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PostgresSettings {
    /// Whether commits reach the disk. Without, tests are faster; what a `kill -9` of the server takes back is the same.
    pub fsync: bool,
    /// Connections it takes at once.
    pub max_connections: u32,
}

impl Default for PostgresSettings {
    fn default() -> Self {
        Self { fsync: true, max_connections: 300 }
    }
}

/// A cluster of its own: nobody needs a password, and all of it is gone with this value, or with this process.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    directory: PathBuf,
    /// Whom the server runs as, where this process is root: it refuses to be root itself.
    user: Option<User>,
    settings: PostgresSettings,
    port: u16,
    server: Option<Child>,
    watcher: Child,
    /// `None` only while it is dropped.
    watched: Option<ChildStdin>,
}

#[derive(Clone, Copy, Debug)]
struct User {
    uid: u32,
    gid: u32,
}

impl Postgres {
    /// Makes a cluster and starts it.
    ///
    /// # Errors
    /// [`ServerError::Missing`] where PostgreSQL is not installed; what else fails.
    pub fn start(settings: PostgresSettings) -> Result<Self, ServerError> {
        let programs = postgres_programs()?;
        let user = if rustix::process::geteuid().is_root() { Some(postgres_user()?) } else { None };
        let directory =
            tempfile::Builder::new().prefix("test-postgres-").tempdir().map_err(ServerError::io("a directory"))?;
        let directory = directory.keep();
        let (watcher, watched) = watch(&directory)?;
        // From here on dropping it removes the directory.
        let mut cluster =
            Self { programs, directory, user, settings, port: 0, server: None, watcher, watched: Some(watched) };
        cluster.make()?;
        cluster.run()?;
        Ok(cluster)
    }

    /// The URL of the database that every cluster has, for a superuser.
    pub fn url(&self) -> String {
        self.database_url("postgres")
    }

    /// Where it listens.
    pub fn address(&self) -> std::net::SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Makes an empty database; its URL.
    ///
    /// # Errors
    /// What `createdb` says: when there is one of that name, for one.
    pub fn create_database(&self, name: &str) -> Result<String, ServerError> {
        let port = self.port.to_string();
        self.call("createdb", &["-h", "127.0.0.1", "-p", &port, "-U", "postgres", name])?;
        Ok(self.database_url(name))
    }

    /// Runs SQL in a database; what `psql` prints, without headings. For what the code under test has no call for.
    ///
    /// # Errors
    /// What `psql` says.
    pub fn sql(&self, url: &str, sql: &str) -> Result<String, ServerError> {
        self.call("psql", &["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql, url])
    }

    /// Ends every process of the server at once, as a crash does: what was not in its log on the disk is lost. Does nothing
    /// when it is not running.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<(), ServerError> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        // Listed before their parent is gone, after which they are nobody's; and while it makes no more.
        halt(server.id());
        let children = children_of(server.id());
        server.kill().map_err(ServerError::io("killing the server"))?;
        server.wait().map_err(ServerError::io("waiting for the server"))?;
        for child in &children {
            // It may have seen its parent's end first.
            if let Some(pid) = Pid::from_raw(*child) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let deadline = Instant::now() + PATIENCE;
        while children.iter().any(|child| is_running(*child)) && Instant::now() < deadline {
            sleep(Duration::from_millis(5));
        }
        self.tell_watcher(0)
    }

    /// Starts it again on the same port and directory, after [`kill`](Self::kill); stops it first when it runs.
    ///
    /// # Errors
    /// What starting fails with.
    pub fn restart(&mut self) -> Result<(), ServerError> {
        self.stop();
        self.run()
    }

    fn database_url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn make(&mut self) -> Result<(), ServerError> {
        if let Some(user) = self.user {
            chown(&self.directory, Some(user.uid), Some(user.gid)).map_err(ServerError::file(&self.directory))?;
        }
        fs::set_permissions(&self.directory, fs::Permissions::from_mode(0o700))
            .map_err(ServerError::file(&self.directory))?;
        let data = self.data();
        let data = data.to_str().expect("a temporary directory's name is text");
        self.call("initdb", &["-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"])?;
        Ok(())
    }

    fn run(&mut self) -> Result<(), ServerError> {
        // Between finding a free port and the server's taking it, somebody else may.
        for _ in 0..3 {
            let port = if self.port == 0 { free_port()? } else { self.port };
            if self.run_on(port)? {
                self.port = port;
                return Ok(());
            }
        }
        Err(ServerError::Failed { program: "postgres".to_owned(), output: self.last_words() })
    }

    /// Starts the server; false when it ended again.
    fn run_on(&mut self, port: u16) -> Result<bool, ServerError> {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .map_err(ServerError::file(&self.log()))?;
        let fsync = if self.settings.fsync { "on" } else { "off" };
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-p").arg(port.to_string());
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "shared_buffers=64MB",
            "max_wal_size=1GB",
            "logging_collector=off",
            &format!("fsync={fsync}"),
            &format!("full_page_writes={fsync}"),
            &format!("max_connections={}", self.settings.max_connections),
        ] {
            command.arg("-c").arg(setting);
        }
        let errors = log.try_clone().map_err(ServerError::io("the log"))?;
        // An interrupt from the terminal is for who started it, who then stops it.
        command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        let server = command.spawn().map_err(ServerError::io("starting postgres"))?;
        let id = server.id();
        let server = self.server.insert(server);
        let started = Instant::now();
        while server.try_wait().map_err(ServerError::io("waiting for postgres"))?.is_none() {
            if is_ready(&self.directory.join("data/postmaster.pid"), id) {
                self.tell_watcher(id)?;
                return Ok(true);
            }
            if started.elapsed() > PATIENCE {
                self.stop();
                return Err(ServerError::Failed { program: "postgres".to_owned(), output: self.last_words() });
            }
            sleep(Duration::from_millis(10));
        }
        self.server = None;
        Ok(false)
    }

    /// Ends it in order, but at once.
    fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let pid = i32::try_from(server.id()).ok().and_then(Pid::from_raw);
        if pid.is_none_or(|pid| kill_process(pid, Signal::QUIT).is_err()) {
            let _ = server.kill();
        }
        // Nothing is left to be done where this fails: the server is not ours any more.
        let _ = server.wait();
        let _ = self.tell_watcher(0);
    }

    fn tell_watcher(&mut self, server: u32) -> Result<(), ServerError> {
        let Some(watched) = &mut self.watched else { return Ok(()) };
        writeln!(watched, "{server}").map_err(ServerError::io("the cluster's watcher"))
    }

    /// Runs one of PostgreSQL's own programs to its end, such as `pgbench`; what it prints.
    ///
    /// # Errors
    /// What it says.
    pub fn call(&self, program: &str, arguments: &[&str]) -> Result<String, ServerError> {
        let output =
            self.command(program).args(arguments).output().map_err(ServerError::io(format!("starting {program}")))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(ServerError::Failed {
            program: program.to_owned(),
            output: String::from_utf8_lossy(&said).trim().to_owned(),
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        // Settings of the environment are for somebody else's server; messages are to be readable.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C").current_dir(&self.directory);
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
        drop(self.watched.take());
        // It removes the directory, and then ends.
        let _ = self.watcher.wait();
    }
}

/// The folder of PostgreSQL's programs: of those on the path, those that `pg_config` names, or the newest that Debian installed.
///
/// # Errors
/// There are none.
pub fn postgres_programs() -> Result<PathBuf, ServerError> {
    let complete = |directory: &PathBuf| {
        ["initdb", "postgres", "createdb", "psql"].iter().all(|name| directory.join(name).is_file())
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).find(complete);
    let configured = || {
        let output = Command::new("pg_config").arg("--bindir").output().ok()?;
        Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim())).filter(complete)
    };
    // Where Debian keeps each version; the newest.
    let versions = || {
        let found = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
        let mut versions: Vec<_> = found.map(|version| version.path().join("bin")).filter(complete).collect();
        versions.sort_by_key(|bin| {
            bin.parent().and_then(Path::file_name).and_then(|name| name.to_str()?.parse::<u32>().ok())
        });
        versions.pop()
    };
    in_path
        .or_else(configured)
        .or_else(versions)
        .ok_or(ServerError::Missing { program: "initdb", package: "postgresql" })
}

/// The user Debian's package makes.
fn postgres_user() -> Result<User, ServerError> {
    let path = Path::new("/etc/passwd");
    let users = fs::read_to_string(path).map_err(ServerError::file(path))?;
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == "postgres");
    let number = |index: usize| fields.as_ref().and_then(|fields| fields.get(index)?.parse().ok());
    match (number(2), number(3)) {
        (Some(uid), Some(gid)) => Ok(User { uid, gid }),
        _ => Err(ServerError::Missing {
            program: "the user postgres, whom root needs to start it,",
            package: "postgresql",
        }),
    }
}

fn watch(directory: &Path) -> Result<(Child, ChildStdin), ServerError> {
    let mut watcher = Command::new("sh")
        .args(["-c", WATCHER, "watch-postgres"])
        .arg(directory)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(ServerError::io("starting sh"))?;
    let watched = watcher.stdin.take().expect("it was asked for");
    Ok((watcher, watched))
}

fn free_port() -> Result<u16, ServerError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(ServerError::io("a free port"))?;
    Ok(listener.local_addr().map_err(ServerError::io("a free port"))?.port())
}

/// Whether the server of that id has written that it is ready, in the eighth line of its file.
fn is_ready(file: &Path, server: u32) -> bool {
    let Ok(text) = fs::read_to_string(file) else { return false };
    let lines: Vec<_> = text.lines().collect();
    lines.first().is_some_and(|line| *line == server.to_string())
        && lines.get(7).is_some_and(|line| line.trim() == "ready")
}

/// Stops a process where it is. One that is gone stays so.
fn halt(process: u32) {
    let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) else { return };
    let deadline = Instant::now() + PATIENCE;
    let halted = || status(pid.as_raw_nonzero().get()).is_none_or(|(state, _)| matches!(state, 'T' | 'Z'));
    while kill_process(pid, Signal::STOP).is_ok() && !halted() && Instant::now() < deadline {
        sleep(Duration::from_millis(1));
    }
}

fn children_of(parent: u32) -> Vec<i32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = processes.flatten().filter_map(|process| process.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|id| status(*id).is_some_and(|(_, of)| of == parent)).collect()
}

/// Whether a process is more than an entry that nobody has asked for.
fn is_running(process: i32) -> bool {
    status(process).is_some_and(|(state, _)| state != 'Z')
}

/// A process's state and its parent.
fn status(process: i32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The program's name, in parentheses, may hold anything.
    let mut fields = text[text.rfind(')')? + 1..].split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip_or_fail;

    #[test]
    fn a_cluster_keeps_what_it_acknowledged_when_it_is_killed() {
        let Some(mut postgres) = skip_or_fail(Postgres::start(PostgresSettings::default())) else { return };
        let url = postgres.create_database("kept").unwrap();
        postgres.sql(&url, "CREATE TABLE t (n int); INSERT INTO t VALUES (7)").unwrap();
        postgres.kill().unwrap();
        assert!(postgres.sql(&url, "SELECT 1").is_err());
        postgres.restart().unwrap();
        assert_eq!(postgres.sql(&url, "SELECT n FROM t").unwrap(), "7");

        let (directory, server) = (postgres.directory.clone(), postgres.server.as_ref().unwrap().id());
        assert!(directory.exists());
        drop(postgres);
        assert!(!directory.exists());
        assert!(!is_running(i32::try_from(server).unwrap()));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let Some(postgres) = skip_or_fail(Postgres::start(PostgresSettings { fsync: false, max_connections: 20 }))
        else {
            return;
        };
        postgres.create_database("twice").unwrap();
        let error = postgres.create_database("twice").unwrap_err().to_string();
        assert!(error.contains("createdb failed") && error.contains("already exists"), "{error}");
    }
}
