//! A deployment under load: `tollgate serve` in processes of its own, on a database of its own, in
//! front of a simulated provider, with customers who have credits to spend.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::answers::{Api, text_at};
use crate::databases::{Backend, Database};
use crate::loads::{Bodies, Load, Order, Outcome, Pace};
use crate::requests::{Request, Target};
use crate::sandboxes::Sandbox;
use crate::servers::{kill, last_lines, tollgate};

/// More than any run can spend.
pub const CREDITS: i64 = 1_000_000_000;
pub const FEATURE: &str = "bench_feature";
pub const WEBHOOK_SECRET: &str = "whsec_of_the_benchmark_alone";
pub const JWT_SECRET: &str = "of the benchmark alone, and longer than 32 bytes";
/// Below those from which the system takes the ports of clients: who knocks again and again while
/// nobody listens would now and then be given that very port, and talk to itself.
const PORTS: Range<u16> = 20_000..32_000;
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const READY_STEP: Duration = Duration::from_millis(1);
const CONNECTIONS: usize = 32;
/// Everything that only prepares a measurement has to be done by then.
const PREPARATION: Duration = Duration::from_secs(1800);

/// A running `tollgate serve`. Dropping it kills it.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// From its start until it said that it is healthy.
    pub ready_in: Duration,
}

/// How the servers of one deployment are started, and its other commands run.
#[derive(Debug, Clone)]
pub struct Launch {
    settings: Vec<(String, String)>,
    folder: PathBuf,
}

impl Launch {
    /// One more server, at an address of its own.
    pub fn start(&self) -> Result<Server> {
        self.start_at(spare_address()?)
    }

    /// `kill -9`, and at once a new process at the same address.
    pub fn replace(&self, server: &mut Server) -> Result<()> {
        kill(&mut server.child)?;
        *server = self.start_at(server.address)?;
        Ok(())
    }

    fn start_at(&self, address: SocketAddr) -> Result<Server> {
        let log = self.log();
        let mut command = self.command(&["serve"])?;
        command.env("LISTEN", address.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::options().create(true).append(true).open(&log)?);
        let started = Instant::now();
        let child = command.spawn().context("cannot start tollgate serve")?;
        let mut server = Server { child, address, ready_in: Duration::ZERO };
        while !is_healthy(address) {
            if server.child.try_wait()?.is_some() || READY_TIMEOUT < started.elapsed() {
                bail!("the server did not start:\n{}", last_lines(&log));
            }
            std::thread::sleep(READY_STEP);
        }
        server.ready_in = started.elapsed();
        Ok(server)
    }

    /// What another command of the binary prints under the same settings.
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments)?.output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "tollgate {arguments:?}: {errors}");
        Ok(String::from_utf8(output.stdout)?)
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = tollgate(arguments)?;
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.current_dir(&self.folder);
        Ok(command)
    }

    /// Where all servers write what they have to say.
    pub fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }
}

impl Server {
    /// Whether the process has not ended by itself.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// The memory that it holds right now.
    pub fn memory_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        Ok(kilobytes.context("the system does not tell the memory of a process")? * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killing a process that has ended already is the only way this fails.
        let _ended_already = kill(&mut self.child);
    }
}

/// Nobody listens there, and no other call in this process gets it.
fn spare_address() -> Result<SocketAddr> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97);
    for _ in PORTS {
        let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + u16::try_from(number % u32::from(PORTS.end - PORTS.start))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("every port of {PORTS:?} is taken")
}

fn is_healthy(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "GET /health HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        Ok(start.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

/// Everything a backend's rows are measured with.
pub struct Deployment {
    pub backend: Backend,
    pub database: Database,
    pub server: Server,
    pub sandbox: Sandbox,
    /// As the merchant's own server.
    pub merchant: Target,
    /// Our ids of the prices: one paid once, one every month.
    pub pack: String,
    pub plan: String,
    pub launch: Launch,
    /// Dropping it removes it.
    _folder: tempfile::TempDir,
}

impl Deployment {
    /// A new one with a catalogue and without customers.
    pub async fn start(backend: Backend, name: &str) -> Result<Self> {
        let folder = match std::env::var_os("TOLLGATE_BENCH_FOLDER") {
            Some(parent) => tempfile::Builder::new().prefix(name).tempdir_in(parent)?,
            None => tempfile::Builder::new().prefix(name).tempdir()?,
        };
        let unique = format!("{name}_{}", std::process::id());
        let database = Database::create(backend, &unique, folder.path()).await?;
        let sandbox = Sandbox::start()?;
        let settings = settings(&database.url, &sandbox);
        let launch = Launch { settings, folder: folder.path().to_owned() };
        launch.run(&["migrate", "up"])?;
        let key = launch.run(&["keys", "create", "--name", "bench", "--scope", "server"])?;
        let key = key.trim().to_owned();
        let server = launch.start()?;
        let merchant = Target { address: server.address, bearer: Some(key.clone()) };
        let api = Api::new(&format!("http://{}", server.address), Some(&key))?;
        let (pack, plan) = (price(&api, None).await?, price(&api, Some("month")).await?);
        let _folder = folder;
        Ok(Self { backend, database, server, sandbox, merchant, pack, plan, launch, _folder })
    }

    /// Stops the server and starts another one on the same data.
    pub fn restart(&mut self) -> Result<()> {
        self.launch.replace(&mut self.server)
    }

    /// Sends each of these once and answers their bodies in the same order.
    pub async fn ask_all(&self, requests: Vec<Request>) -> Result<Vec<String>> {
        ask_all(self.merchant.address, requests).await
    }

    /// Makes customers of these names, each with more credits than can be spent.
    pub async fn fund(&self, names: &[String]) -> Result<()> {
        let customers = names.iter().map(|name| {
            let body = json!({ "external_id": name, "email": format!("{name}@example.com") });
            self.merchant.post_json("/v1/customers", &body)
        });
        self.ask_all(customers.collect()).await?;
        let gifts = names.iter().map(|name| {
            let body = json!({ "customer": name, "amount": CREDITS, "reason": "a benchmark" });
            self.merchant.post_json("/v1/credits/grants", &body)
        });
        self.ask_all(gifts.collect()).await?;
        Ok(())
    }

    /// A load on this server.
    pub fn load(&self, requests: &Arc<Vec<Request>>, length: Duration) -> Load {
        Load {
            address: self.server.address,
            requests: requests.clone(),
            order: Order::AtRandom,
            pace: Pace::AtOnce,
            bodies: Bodies::Dropped,
            connections: CONNECTIONS,
            length,
        }
    }
}

/// The name of an account, as the merchant calls it.
pub fn account(number: usize) -> String {
    format!("bench-{number:07}")
}

/// The first so many of them.
pub fn accounts(count: usize) -> Vec<String> {
    (0..count).map(account).collect()
}

pub async fn ask_all(address: SocketAddr, requests: Vec<Request>) -> Result<Vec<String>> {
    let count = requests.len();
    let load = Load {
        address,
        requests: Arc::new(requests),
        order: Order::Once,
        pace: Pace::AtOnce,
        bodies: Bodies::Kept,
        connections: CONNECTIONS,
        length: PREPARATION,
    };
    let outcome: Outcome = load.run().await?;
    let bodies = outcome.into_bodies()?;
    ensure!(bodies.len() == count, "{} of {count} were answered", bodies.len());
    Ok(bodies)
}

/// The settings of an ordinary deployment; it is only never told to look for news by itself.
fn settings(database_url: &str, sandbox: &Sandbox) -> Vec<(String, String)> {
    let pairs = [
        ("DATABASE_URL", database_url),
        ("STRIPE_API_BASE", &sandbox.ready.base_url),
        ("STRIPE_SECRET_KEY", &sandbox.ready.secret_key),
        ("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET),
        ("JWT_SECRET", JWT_SECRET),
        ("SYNC_PENDING_SECONDS", "0"),
        ("SYNC_EVENTS_SECONDS", "0"),
        ("SYNC_OBJECTS_SECONDS", "0"),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Something for sale that grants credits and a feature.
async fn price(api: &Api, interval: Option<&str>) -> Result<String> {
    let product = json!({ "name": format!("Bench {}", interval.unwrap_or("once")) });
    let product = api.post("/v1/products", &product).await?.expect(201)?;
    let body = json!({
        "product": product["id"],
        "unit_amount": 1999,
        "currency": "usd",
        "interval": interval,
        "grants": { "credits": [{ "amount": 100 }], "features": [{ "feature": FEATURE }] },
    });
    let made: Value = api.post("/v1/prices", &body).await?.expect(201)?;
    Ok(text_at(&made, "/id"))
}
