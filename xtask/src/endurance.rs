//! Load that never breaks: the checker drives the load, and the database servers under it are ours
//! to stop and to start when it asks for that.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::mariadb::Mariadb;
use crate::postgres::Postgres;
use crate::servers::{Ending, Purpose};
use crate::steps::{Repository, run as step};
use crate::{benchmarks, tools};

const LOOK_STEP: Duration = Duration::from_millis(20);
/// Whoever speaks to us is a program of ours.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The database servers that this run needs.
struct Databases {
    postgres: Option<Postgres>,
    mariadb: Option<Mariadb>,
}

/// The checker takes the arguments as they are. A server that `TOLLGATE_BIN` names is tried as it
/// is; otherwise it is built.
pub fn run(repository: &Repository, arguments: &[String]) -> Result<()> {
    let release = repository.target().join("release");
    let mut build = repository.cargo();
    build.args(["build", "--release", "--locked", "--package", "server", "--package", "e2e"]);
    build.args(["--bin", "endure"]);
    let named = std::env::var_os("TOLLGATE_BIN").map(PathBuf::from);
    if named.is_none() {
        build.args(["--bin", "tollgate"]);
    }
    step("building for release", &mut build)?;

    let folder = repository.target().join("bench");
    fs::create_dir_all(&folder)?;
    let mut endure = Command::new(release.join("endure"));
    endure.args(arguments);
    endure.env("TOLLGATE_BIN", named.unwrap_or_else(|| release.join("tollgate")));
    endure.env("TOLLGATE_BENCH_FOLDER", &folder);
    if benchmarks::asks_for_help(arguments) {
        return step("help", &mut endure);
    }
    let mut databases = Databases::start(repository, arguments)?;
    if let Some(postgres) = &databases.postgres {
        endure.env("TOLLGATE_BENCH_POSTGRES", postgres.url());
    }
    if let Some(mariadb) = &databases.mariadb {
        endure.env("TOLLGATE_BENCH_MYSQL", mariadb.url());
    }
    let control = TcpListener::bind("127.0.0.1:0")?;
    control.set_nonblocking(true)?;
    endure.env("TOLLGATE_ENDURE_CONTROL", control.local_addr()?.to_string());
    eprintln!("==> enduring");
    let mut child = endure.spawn().context("cannot start the checker")?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        match control.accept() {
            Ok((stream, _)) => databases.obey(stream)?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(LOOK_STEP),
            Err(error) => return Err(error).context("the checker cannot be heard"),
        }
    };
    match status.success() {
        true => Ok(()),
        false => bail!("not everything was endured ({status})"),
    }
}

impl Databases {
    fn start(repository: &Repository, arguments: &[String]) -> Result<Self> {
        let names = |name: &str| arguments.iter().any(|argument| argument.ends_with(name));
        let mut databases = Self { postgres: None, mariadb: None };
        if names("postgres") || !(names("mysql") || names("sqlite")) {
            let installation = tools::set_up_postgres(repository)?;
            databases.postgres = Some(Postgres::start(&installation, Purpose::Measurements)?);
        }
        if names("mysql") {
            let installation = tools::set_up_mariadb(repository)?;
            databases.mariadb = Some(Mariadb::start(&installation, Purpose::Measurements)?);
        }
        Ok(databases)
    }

    /// `postgres killed` and the like; the answer is "ready", or what went wrong.
    fn obey(&mut self, mut stream: TcpStream) -> Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        let mut asked = String::new();
        stream.read_to_string(&mut asked)?;
        let answer = match self.restart(&asked) {
            Ok(()) => "ready".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        stream.write_all(answer.as_bytes()).context("the checker does not listen")
    }

    fn restart(&mut self, asked: &str) -> Result<()> {
        let (name, ending) = asked.split_once(' ').context("nothing is asked")?;
        let ending = match ending {
            "asked" => Ending::Asked,
            "killed" => Ending::Killed,
            other => bail!("nobody knows how to end a server {other:?}"),
        };
        match (name, &mut self.postgres, &mut self.mariadb) {
            ("postgres", Some(postgres), _) => postgres.restart(ending),
            ("mysql", _, Some(mariadb)) => mariadb.restart(ending),
            _ => bail!("there is no server {name:?}"),
        }
    }
}
