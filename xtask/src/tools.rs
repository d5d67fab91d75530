//! What the tests need beside Rust: looked for first, installed only when missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::steps::{Repository, answers, run, run_quietly};
use crate::{mariadb, postgres, redis};

/// Where the tools are, for the environment of the tests.
pub struct Tools {
    pub python: PathBuf,
    pub node_modules: PathBuf,
    pub chromium: String,
    pub postgres: postgres::Installation,
    pub mariadb: mariadb::Installation,
    pub redis: redis::Installation,
}

/// A program the tests call, and the Debian packages it comes from.
struct Need {
    what: &'static str,
    packages: &'static [&'static str],
    present: fn() -> bool,
}

const NEEDS: [Need; 7] = [
    Need {
        what: "a C compiler (bundled SQLite and ring)",
        packages: &["build-essential"],
        present: || answers("cc", &["--version"]),
    },
    Need {
        what: "python3 with venv and pip",
        packages: &["python3", "python3-venv", "python3-pip"],
        present: || answers("python3", &["-c", "import venv, ensurepip"]),
    },
    Need {
        what: "node 20 or newer",
        packages: &["nodejs"],
        present: || {
            answers("node", &["-e", "process.exit(+(parseInt(process.versions.node) < 20))"])
        },
    },
    Need { what: "npm", packages: &["npm"], present: || answers("npm", &["--version"]) },
    Need {
        what: "chromium",
        packages: &["chromium", "fonts-dejavu-core"],
        present: || chromium().is_some(),
    },
    MARIADB,
    REDIS,
];

const MARIADB: Need = Need {
    what: "MariaDB 10.11's server",
    packages: &mariadb::PACKAGES,
    present: mariadb::is_present,
};

const REDIS: Need =
    Need { what: "Redis's server", packages: &redis::PACKAGES, present: redis::is_present };

/// Makes sure that everything is there, and says where.
pub fn set_up(repository: &Repository) -> Result<Tools> {
    toolchain_components()?;
    programs(&NEEDS)?;
    let folder = repository.target().join("tools");
    fs::create_dir_all(&folder)?;
    let python = python(repository, &folder)?;
    let node_modules = node_modules(repository, &folder)?;
    let postgres = postgres::unpack(repository, &folder, &python)?;
    let mariadb = mariadb::prepare(&folder)?;
    let redis = redis::prepare(&folder)?;
    let chromium = chromium().context("chromium is still missing after the installation")?;
    Ok(Tools { python, node_modules, chromium, postgres, mariadb, redis })
}

/// Only the official SDK for Python.
pub fn set_up_python(repository: &Repository) -> Result<PathBuf> {
    let folder = repository.target().join("tools");
    fs::create_dir_all(&folder)?;
    python(repository, &folder)
}

/// Only what `cargo xtask postgres` needs: no browser, no SDKs.
pub fn set_up_postgres(repository: &Repository) -> Result<postgres::Installation> {
    let folder = repository.target().join("tools");
    fs::create_dir_all(&folder)?;
    let python = python(repository, &folder)?;
    postgres::unpack(repository, &folder, &python)
}

/// Only what `cargo xtask mariadb` needs.
pub fn set_up_mariadb(repository: &Repository) -> Result<mariadb::Installation> {
    programs(&[MARIADB])?;
    let folder = repository.target().join("tools");
    fs::create_dir_all(&folder)?;
    mariadb::prepare(&folder)
}

/// Only what `cargo xtask redis` needs.
pub fn set_up_redis(repository: &Repository) -> Result<redis::Installation> {
    programs(&[REDIS])?;
    let folder = repository.target().join("tools");
    fs::create_dir_all(&folder)?;
    redis::prepare(&folder)
}

pub fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn toolchain_components() -> Result<()> {
    for (component, program) in [("rustfmt", "cargo-fmt"), ("clippy", "cargo-clippy")] {
        if !answers(program, &["--version"]) {
            run(
                &format!("rustup component add {component}"),
                Command::new("rustup").args(["component", "add", component]),
            )?;
        }
    }
    Ok(())
}

fn programs(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages).copied().collect();
    let names: Vec<&str> = missing.iter().map(|need| need.what).collect();
    if !is_root() || !Path::new("/etc/debian_version").exists() {
        bail!(
            "missing: {}\non Debian or Ubuntu, install with\n\n    \
             sudo apt-get install {}\n\nelsewhere, install the same programs, so that `cc`, \
             `python3`, `node`, `npm`, `chromium`, `mariadbd` and `redis-server` are there, then \
             run this again",
            names.join(", "),
            packages.join(" ")
        );
    }
    eprintln!("missing: {}", names.join(", "));
    run_quietly("apt-get update", Command::new("apt-get").args(["update", "-q"]))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-q", "--no-install-recommends"]).args(&packages);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    run_quietly(&format!("apt-get install {}", packages.join(" ")), &mut install)?;
    match needs.iter().find(|need| !(need.present)()) {
        Some(need) => bail!("{} is still missing after the installation", need.what),
        None => Ok(()),
    }
}

fn chromium() -> Option<String> {
    let named = std::env::var("TOLLGATE_CHROMIUM").ok();
    let known = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    let mut candidates = named.into_iter().chain(known.map(String::from));
    candidates.find(|path| Path::new(path).exists())
}

/// A virtual environment with the official SDKs, made again only when the pinned list changes.
fn python(repository: &Repository, folder: &Path) -> Result<PathBuf> {
    let wanted = repository.path("e2e/requirements.txt");
    let venv = folder.join("venv");
    let python = venv.join("bin/python");
    let stamp = venv.join("requirements.txt");
    if is_current(&wanted, &stamp) && answers(&python.to_string_lossy(), &["-c", "import stripe"]) {
        return Ok(python);
    }
    let mut create = Command::new("python3");
    create.args(["-m", "venv", "--clear"]).arg(&venv);
    run_quietly("python virtual environment", &mut create)?;
    let mut install = pip(&python);
    install.args(["install", "--no-deps", "-r"]).arg(&wanted);
    run_quietly("python packages (official stripe SDK)", &mut install)?;
    fs::copy(&wanted, &stamp)?;
    Ok(python)
}

pub fn pip(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]);
    command
}

/// Playwright, axe and the official SDK, installed beside the build so that the source tree
/// stays clean.
fn node_modules(repository: &Repository, folder: &Path) -> Result<PathBuf> {
    let source = repository.path("e2e/browser");
    let target = folder.join("browser");
    let modules = target.join("node_modules");
    let stamp = modules.join("package-lock.json");
    let wanted = source.join("package-lock.json");
    if is_current(&wanted, &stamp) {
        return Ok(modules);
    }
    fs::create_dir_all(&target)?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(source.join(name), target.join(name))?;
    }
    let mut install = Command::new("npm");
    install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&target);
    let title = "node packages (playwright-core, axe-core, official stripe SDK)";
    run_quietly(title, &mut install)?;
    fs::copy(&wanted, &stamp)?;
    Ok(modules)
}

pub fn is_current(wanted: &Path, stamp: &Path) -> bool {
    match (fs::read(wanted), fs::read(stamp)) {
        (Ok(wanted), Ok(stamp)) => wanted == stamp,
        _ => false,
    }
}
