//! A private Redis for tests: its own port, nothing on the disk, gone afterwards.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result};

use crate::servers::{DataFolder, confined, remove_stale_data, shared_folder};
use crate::steps::Repository;
use crate::{servers, tools};

const DATA_PREFIX: &str = "redis-data-";
/// Debian's package with the program alone: it brings no service.
pub const PACKAGES: [&str; 1] = ["redis-tools"];
/// One program with several names, of which that package has all but the server's.
const PROGRAMS: [&str; 3] =
    ["/usr/bin/redis-server", "/usr/local/bin/redis-server", "/usr/bin/redis-check-rdb"];

/// The folder where it may write; the program is the machine's.
pub struct Installation {
    home: PathBuf,
}

/// A running server; dropping it stops it.
pub struct Redis {
    child: Child,
    folder: DataFolder,
    port: u16,
}

pub fn is_present() -> bool {
    program().is_some()
}

pub fn prepare(tools: &Path) -> Result<Installation> {
    let home = if tools::is_root() { shared_folder()? } else { tools.to_path_buf() };
    remove_stale_data(&home, DATA_PREFIX)?;
    Ok(Installation { home })
}

impl Redis {
    pub fn start(installation: &Installation) -> Result<Self> {
        let folder = DataFolder::create(&installation.home, DATA_PREFIX)?;
        let named = folder.path.join("redis-server");
        symlink(program().context("redis-server is not installed")?, &named)?;
        let port = servers::spare_port()?;
        let log = folder.path.join("log");
        let mut server = confined(&named, tools::is_root(), "TERM");
        server.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        server.args(["--save", "", "--appendonly", "no"]);
        server.current_dir(&folder.path).stdin(Stdio::null());
        server.stdout(File::create(&log)?).stderr(File::options().append(true).open(&log)?);
        let child = server.spawn().context("cannot start Redis")?;
        let child = servers::wait_until_ready("Redis", child, &log, "Ready to accept connections")?;
        Ok(Self { child, folder, port })
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        servers::stop("Redis", &mut self.child, "-TERM");
        self.folder.remove();
    }
}

/// `cargo xtask redis`: prints the address and stays until Ctrl-C.
pub fn run_until_interrupted(repository: &Repository) -> Result<()> {
    let installation = tools::set_up_redis(repository)?;
    let mut redis = Redis::start(&installation)?;
    writeln!(std::io::stdout(), "{}", redis.url())?;
    eprintln!("use it with: export TOLLGATE_TEST_REDIS={}", redis.url());
    eprintln!("Ctrl-C stops it");
    // The server gets a signal, too, when this process ends.
    redis.child.wait()?;
    Ok(())
}

fn program() -> Option<&'static Path> {
    PROGRAMS.map(Path::new).into_iter().find(|path| fs::metadata(path).is_ok())
}
