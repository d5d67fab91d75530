//! Listening: bounded, with a time limit on what a client may leave unsaid, and drained at the end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_io_timeout::TimeoutStream;
use tower::Service;

use crate::limits::{
    CONNECTIONS, DRAIN_TIMEOUT, FILES_RESERVED, HEADER_BYTES, HEADER_TIMEOUT, WRITE_TIMEOUT,
};

/// How long to wait when the system has no more sockets for us.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What a process may have open where nobody has said otherwise.
const FILES_USUAL: u64 = 1024;

/// What clients may take of us.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub connections: usize,
    pub header_timeout: Duration,
    /// How long a client may read nothing of what it is sent.
    pub write_timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            header_timeout: HEADER_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
        }
    }
}

impl Bounds {
    /// As many connections as the system lets this process have files, after as many as it allows
    /// were asked for; the database, the provider and receivers need some, too.
    pub fn of_this_process() -> Self {
        let wanted = (CONNECTIONS + FILES_RESERVED) as u64;
        let files = rlimit::increase_nofile_limit(wanted).unwrap_or_else(|error| {
            tracing::warn!(%error, "the limit of open files cannot be raised");
            FILES_USUAL
        });
        let connections = usize::try_from(files).unwrap_or(CONNECTIONS);
        let connections = connections.saturating_sub(FILES_RESERVED).clamp(1, CONNECTIONS);
        if connections < CONNECTIONS {
            tracing::warn!(
                files,
                connections,
                "open files are limited, and with them connections: raise `ulimit -n`"
            );
        }
        Self { connections, ..Self::default() }
    }
}

/// Serves until `stopped` turns true, then lets requests in flight end.
pub async fn listen(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let graceful = GracefulShutdown::new();
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(bounds.header_timeout);
    builder.max_buf_size(HEADER_BYTES);
    let room = Arc::new(Semaphore::new(bounds.connections));
    let mut end = std::pin::pin!(turned(stopped));
    loop {
        // Who comes when all places are taken waits in the system's own line.
        let accepted = async {
            let place = room.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            biased;
            () = &mut end => break,
            accepted = accepted => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                refused(&error).await;
                continue;
            }
        };
        let io = io_of(stream, bounds.write_timeout);
        let connection = builder.serve_connection(io, service(&router, address));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A connection that broke off is its client's affair.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("stopped before every request had ended");
    }
    Ok(())
}

fn io_of(
    stream: TcpStream,
    write_timeout: Duration,
) -> TokioIo<Pin<Box<TimeoutStream<TcpStream>>>> {
    // Answers are written whole; waiting for more of them only delays the last part.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(write_timeout));
    TokioIo::new(Box::pin(stream))
}

/// The router as one client reaches it.
fn service(
    router: &Router,
    address: SocketAddr,
) -> impl hyper::service::Service<
    axum::http::Request<Incoming>,
    Response = axum::response::Response,
    Error = Infallible,
    Future: Send,
> + use<> {
    let router = router.clone();
    hyper::service::service_fn(move |request: axum::http::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(address));
        router.clone().call(request)
    })
}

/// What one client did wrong is forgotten; where the system is short of something, it gets time.
async fn refused(error: &io::Error) {
    let is_the_clients = matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    );
    if !is_the_clients {
        tracing::error!(%error, "no connection can be accepted");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Ends when the value is true, or when nobody can set it any more.
pub async fn turned(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
