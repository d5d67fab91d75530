//! What the private database servers have in common: a folder, a port, no rights of root.

use std::fs;
use std::net::TcpListener;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::tools;

const PORTS: Range<u16> = 10_000..20_000;
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// Where root keeps servers and their data: `nobody` must be able to walk there.
const SHARED_FOLDER: &str = "/var/tmp/tollgate-tools";

/// What a server's data are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// They are thrown away: nothing has to reach the disk.
    Tests,
    /// Every commit is as durable as in production.
    Measurements,
}

/// How a server is made to end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// In order, though its clients are cut off.
    Asked,
    /// `kill -9`.
    Killed,
}

/// Where one server keeps its data, in a folder that names the process it belongs to.
pub struct DataFolder {
    pub path: PathBuf,
}

impl DataFolder {
    pub fn create(home: &Path, prefix: &str) -> Result<Self> {
        let path = home.join(format!("{prefix}{}", std::process::id()));
        remove_folder(&path)?;
        fs::create_dir(&path)?;
        if tools::is_root() {
            let (user, group) = nobody()?;
            chown(&path, Some(user), Some(group))?;
        }
        Ok(Self { path })
    }

    pub fn remove(&self) {
        if let Err(error) = remove_folder(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// From below those that the system gives to clients: who knocks again and again while a server is
/// away would now and then be given its very port, and talk to itself.
pub fn spare_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % u32::from(PORTS.end - PORTS.start))?;
    for _ in PORTS {
        let number = u32::from(first) + u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + u16::try_from(number % u32::from(PORTS.end - PORTS.start))?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("every port of {PORTS:?} is taken")
}

/// Starts a server again whose last run may have left processes behind that are still ending.
pub fn start_again(mut start: impl FnMut() -> Result<Child>) -> Result<Child> {
    let began = Instant::now();
    loop {
        match start() {
            Err(_) if began.elapsed() < READY_TIMEOUT => sleep(Duration::from_millis(100)),
            outcome => return outcome,
        }
    }
}

/// Waits until the server's log says that it is ready; one that does not get there is ended.
pub fn wait_until_ready(name: &str, mut child: Child, log: &Path, ready: &str) -> Result<Child> {
    let started = Instant::now();
    loop {
        let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
        if text.contains(ready) {
            return Ok(child);
        }
        let is_late = READY_TIMEOUT < started.elapsed();
        if is_late {
            stop(name, &mut child, "-KILL");
        }
        if is_late || child.try_wait()?.is_some() {
            bail!("{name} did not start:\n{text}");
        }
        sleep(Duration::from_millis(50));
    }
}

/// Asks the server to end by that signal, and waits for it.
pub fn stop(name: &str, child: &mut Child, signal: &str) {
    let pid = child.id().to_string();
    let asked = Command::new("kill").args([signal, &pid]).status();
    if !asked.is_ok_and(|status| status.success()) {
        eprintln!("cannot ask {name} {pid} to stop");
    }
    if let Err(error) = child.wait() {
        eprintln!("{name} {pid} did not stop: {error}");
    }
}

/// A command that gets that signal when we die, and that does not run as root, which the servers
/// refuse.
pub fn confined(program: &Path, root: bool, signal: &str) -> Command {
    let mut command = Command::new("setpriv");
    if root {
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    }
    command.args(["--pdeathsig", signal]).arg(program);
    command
}

pub fn shared_folder() -> Result<PathBuf> {
    let folder = PathBuf::from(SHARED_FOLDER);
    fs::create_dir_all(&folder)?;
    // Anybody may create a folder in /var/tmp; root must not run programs out of a stranger's.
    let owner = fs::symlink_metadata(&folder)?;
    if !owner.is_dir() || owner.uid() != 0 {
        bail!("{SHARED_FOLDER} belongs to user {}, not to root: remove it", owner.uid());
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

/// A run that was killed leaves its data behind; its process number is in the name.
pub fn remove_stale_data(folder: &Path, prefix: &str) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let pid = name.as_deref().and_then(|name| name.strip_prefix(prefix));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove_folder(&path)?;
        }
    }
    Ok(())
}

fn nobody() -> Result<(u32, u32)> {
    let number = |arguments: &[&str]| -> Result<u32> {
        let output = Command::new("id").args(arguments).output()?;
        let text = String::from_utf8(output.stdout)?;
        text.trim().parse().with_context(|| format!("no user `nobody`: id answered {text:?}"))
    };
    Ok((number(&["-u", "nobody"])?, number(&["-g", "nobody"])?))
}

pub fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
