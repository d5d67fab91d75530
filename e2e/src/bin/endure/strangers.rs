//! Clients that mean no good: who never says what they want, who takes for ever to say it, and who
//! asks and never listens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const EACH: usize = 50;
const DRIBBLE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(500);

/// All of them; dropping this ends them.
pub struct Strangers {
    _tasks: JoinSet<()>,
    counts: Arc<[AtomicU64; 3]>,
}

/// The kinds, in the order of their counts.
pub const KINDS: [&str; 3] = ["dribbling", "silent", "deaf"];

impl Strangers {
    /// Fifty of each kind, who come back when they are shown out.
    pub fn enter(address: SocketAddr) -> Self {
        let counts: Arc<[AtomicU64; 3]> = Arc::default();
        let mut tasks = JoinSet::new();
        for kind in 0..KINDS.len() {
            for _ in 0..EACH {
                let counts = counts.clone();
                tasks.spawn(async move {
                    loop {
                        let visit = async {
                            let stream = TcpStream::connect(address).await?;
                            match kind {
                                0 => dribble(stream).await,
                                1 => stay_silent(stream).await,
                                _ => stay_deaf(stream).await,
                            }
                        };
                        if visit.await.is_ok() {
                            counts[kind].fetch_add(1, Ordering::Relaxed);
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                });
            }
        }
        Self { _tasks: tasks, counts }
    }

    /// How many of each kind were shown out so far.
    pub fn shown_out(&self) -> [u64; 3] {
        std::array::from_fn(|kind| self.counts[kind].load(Ordering::Relaxed))
    }
}

/// A head that never ends, byte by byte.
async fn dribble(mut stream: TcpStream) -> std::io::Result<()> {
    if stream.write_all(b"GET /v1/check HTTP/1.1\r\nhost: localhost\r\nx-slow: ").await.is_err() {
        return Ok(());
    }
    let mut input = [0; 1024];
    loop {
        tokio::select! {
            read = stream.read(&mut input) => if !matches!(read, Ok(1..)) { return Ok(()) },
            () = tokio::time::sleep(DRIBBLE) => if stream.write_all(b"x").await.is_err() {
                return Ok(());
            },
        }
    }
}

async fn stay_silent(mut stream: TcpStream) -> std::io::Result<()> {
    let mut input = [0; 1024];
    while matches!(stream.read(&mut input).await, Ok(1..)) {}
    Ok(())
}

/// Asks for something long again and again until nothing more can be said, and never reads.
async fn stay_deaf(mut stream: TcpStream) -> std::io::Result<()> {
    let request = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n";
    // Writing stops when both sides' buffers are full, and goes on when the connection is cut.
    while stream.write_all(request).await.is_ok() {
        tokio::time::sleep(DRIBBLE).await;
    }
    Ok(())
}
