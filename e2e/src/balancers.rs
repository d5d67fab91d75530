//! A round-robin in front of replicas: each request goes to the next one. It mends nothing: who is
//! sent to a replica that is gone hears so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::answers::Api;

/// How often a replica is asked whether it is ready: more often than within the seconds for which
/// one that stops goes on serving.
const ASKED_EVERY: Duration = Duration::from_millis(250);

/// A running balancer. Dropping it ends it and breaks its connections.
#[derive(Debug)]
pub struct Balancer {
    pub port: u16,
    pub url: String,
    line: Arc<Line>,
    tasks: JoinSet<()>,
}

/// Whose turn it is.
#[derive(Debug)]
struct Line {
    replicas: [Replica; 2],
    next: AtomicUsize,
}

#[derive(Debug)]
struct Replica {
    port: u16,
    is_ready: AtomicBool,
    taken: AtomicU64,
}

impl Balancer {
    /// Sends each request to the next replica, whatever the replica says of itself.
    pub async fn open(ports: [u16; 2]) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let replicas = ports.map(|port| Replica {
            port,
            is_ready: AtomicBool::new(true),
            taken: AtomicU64::new(0),
        });
        let line = Arc::new(Line { replicas, next: AtomicUsize::new(0) });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, line.clone()));
        Ok(Self { port, url: format!("http://127.0.0.1:{port}"), line, tasks })
    }

    /// From now on only replicas get a turn that `/health/ready` says are ready.
    pub fn heed_readiness(&mut self) -> Result<()> {
        for turn in 0..self.line.replicas.len() {
            let base = format!("http://127.0.0.1:{}", self.line.replicas[turn].port);
            let (line, api) = (self.line.clone(), Api::new(&base, None)?);
            self.tasks.spawn(async move {
                loop {
                    let told = api.get("/health/ready").await;
                    let is_ready = told.is_ok_and(|answer| answer.status == 200);
                    line.replicas[turn].is_ready.store(is_ready, Ordering::Relaxed);
                    tokio::time::sleep(ASKED_EVERY).await;
                }
            });
        }
        Ok(())
    }

    /// Which replicas get a turn.
    pub fn ready(&self) -> [bool; 2] {
        self.line.replicas.each_ref().map(|replica| replica.is_ready.load(Ordering::Relaxed))
    }

    /// How many requests each replica got.
    pub fn taken(&self) -> [u64; 2] {
        self.line.replicas.each_ref().map(|replica| replica.taken.load(Ordering::Relaxed))
    }
}

impl Line {
    /// The next one that is ready, if any is.
    fn choose(&self) -> Option<&Replica> {
        let count = self.replicas.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut turns = (0..count).map(|turn| &self.replicas[(first + turn) % count]);
        turns.find(|replica| replica.is_ready.load(Ordering::Relaxed))
    }
}

async fn accept(listener: TcpListener, line: Arc<Line>) {
    let mut carried = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let line = line.clone();
        carried.spawn(async move {
            // A connection that breaks off is closed at both ends, and both hear of it.
            let _closed = carry(client, &line).await;
        });
        while carried.try_join_next().is_some() {}
    }
}

async fn carry(mut client: TcpStream, line: &Line) -> Result<()> {
    let head = only_request(&mut client).await?;
    let Some(replica) = line.choose() else {
        return Ok(());
    };
    replica.taken.fetch_add(1, Ordering::Relaxed);
    let mut server = TcpStream::connect(("127.0.0.1", replica.port)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    server.write_all(&head).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// The head of a request, and what has come after it, with the wish that the connection ends with
/// the answer: clients that keep connections, as the provider does, would stay with one replica.
async fn only_request(client: &mut TcpStream) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    loop {
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            head.splice(end + 2..end + 2, *b"connection: close\r\n");
            return Ok(head);
        }
        ensure!(0 < client.read_buf(&mut head).await?, "it was closed before anything was asked");
    }
}
