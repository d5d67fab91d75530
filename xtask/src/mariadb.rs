//! A private MariaDB for tests: its own port, its own data, gone afterwards.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result};

use crate::servers::{DataFolder, Ending, Purpose, confined, remove_stale_data, shared_folder};
use crate::steps::{Repository, run_quietly};
use crate::{servers, tools};

const DATA_PREFIX: &str = "mariadb-data-";
/// Debian's packages with the programs alone: they bring no service.
pub const PACKAGES: [&str; 2] = ["mariadb-server-core", "mariadb-client-core"];
const SERVER: [&str; 3] = ["/usr/sbin/mariadbd", "/usr/bin/mariadbd", "/usr/local/bin/mariadbd"];
const INSTALLER: &str = "mariadb-install-db";

/// The folder where its data may live; the programs are the machine's.
pub struct Installation {
    home: PathBuf,
}

/// A running server; dropping it stops it and removes its data.
pub struct Mariadb {
    child: Child,
    folder: DataFolder,
    port: u16,
    purpose: Purpose,
}

/// Whether the server and what makes its data are there.
pub fn is_present() -> bool {
    server().is_some() && crate::steps::answers("my_print_defaults", &["--version"])
}

pub fn prepare(tools: &Path) -> Result<Installation> {
    let home = if tools::is_root() { shared_folder()? } else { tools.to_path_buf() };
    remove_stale_data(&home, DATA_PREFIX)?;
    Ok(Installation { home })
}

impl Mariadb {
    pub fn start(installation: &Installation, purpose: Purpose) -> Result<Self> {
        let folder = DataFolder::create(&installation.home, DATA_PREFIX)?;
        // No option file of the machine has a say.
        let mut create = confined(Path::new(INSTALLER), tools::is_root(), "TERM");
        create.args(["--no-defaults", "--skip-test-db"]).arg(argument(&folder, "datadir", "data"));
        create.arg("--auth-root-authentication-method=normal").current_dir(&folder.path);
        run_quietly("creating a MariaDB data folder", &mut create)?;
        let port = servers::spare_port()?;
        let child = start_at(port, &folder, purpose)?;
        Ok(Self { child, folder, port, purpose })
    }

    /// Ends it in that way and starts it on the same data, at the same port.
    pub fn restart(&mut self, ending: Ending) -> Result<()> {
        let signal = match ending {
            Ending::Asked => "-TERM",
            Ending::Killed => "-KILL",
        };
        servers::stop("MariaDB", &mut self.child, signal);
        let start = || start_at(self.port, &self.folder, self.purpose);
        self.child = servers::start_again(start)?;
        Ok(())
    }

    /// Tests add the name of a database of their own.
    pub fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}", self.port)
    }
}

fn argument(folder: &DataFolder, name: &str, value: &str) -> String {
    format!("--{name}={}", folder.path.join(value).display())
}

/// Starts the server on the data of that folder and waits until it is ready.
fn start_at(port: u16, folder: &DataFolder, purpose: Purpose) -> Result<Child> {
    let log = folder.path.join("log");
    let program = server().context("mariadbd is not installed")?;
    let mut server = confined(program, tools::is_root(), "TERM");
    server.arg("--no-defaults").arg(argument(folder, "datadir", "data"));
    server.arg(argument(folder, "socket", "socket")).arg(argument(folder, "pid-file", "pid"));
    server.arg(format!("--port={port}")).arg("--bind-address=127.0.0.1");
    server.arg("--max-connections=500").args(settings(purpose));
    server.current_dir(&folder.path).stdin(Stdio::null());
    server.stdout(File::create(&log)?).stderr(File::options().append(true).open(&log)?);
    let child = server.spawn().context("cannot start MariaDB")?;
    servers::wait_until_ready("MariaDB", child, &log, "ready for connections.")
}

/// Measurements have room for a large database.
fn settings(purpose: Purpose) -> &'static [&'static str] {
    match purpose {
        // The data are thrown away: nothing has to reach the disk.
        Purpose::Tests => &[
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-flush-method=nosync",
            "--innodb-buffer-pool-size=512M",
        ],
        Purpose::Measurements => &[
            "--innodb-flush-log-at-trx-commit=1",
            "--innodb-buffer-pool-size=1G",
            "--innodb-log-file-size=1G",
        ],
    }
}

impl Drop for Mariadb {
    fn drop(&mut self) {
        servers::stop("MariaDB", &mut self.child, "-TERM");
        self.folder.remove();
    }
}

/// `cargo xtask mariadb`: prints the address and stays until Ctrl-C.
pub fn run_until_interrupted(repository: &Repository) -> Result<()> {
    let installation = tools::set_up_mariadb(repository)?;
    let mut mariadb = Mariadb::start(&installation, Purpose::Tests)?;
    writeln!(std::io::stdout(), "{}", mariadb.url())?;
    eprintln!("use it with: export TOLLGATE_TEST_MYSQL={}", mariadb.url());
    eprintln!("Ctrl-C stops it; the next start removes its data");
    // The server gets a signal, too, when this process ends.
    mariadb.child.wait()?;
    Ok(())
}

fn server() -> Option<&'static Path> {
    SERVER.map(Path::new).into_iter().find(|path| fs::metadata(path).is_ok())
}
