//! Clients that say nothing, say it slowly or never leave keep nobody else from being served.

use crate::servers::Server;
use server::connections::{Bounds, listen};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const HEALTH: &[u8] = b"GET /health/ready HTTP/1.1\r\nHost: shop.test\r\n\r\n";

const PRODUCT: &str = r#"{"name":"Slowly told"}"#;

struct Listening {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<anyhow::Result<()>>,
}

async fn listening(server: &Server, connections: usize) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let limit = Duration::from_millis(400);
    let bounds = Bounds { connections, header_timeout: limit, write_timeout: limit };
    let serving = tokio::spawn(listen(listener, server.router.clone(), bounds, stopped));
    Listening { address, stop, serving }
}

async fn said(stream: &mut TcpStream) -> String {
    let mut bytes = vec![0; 4096];
    let read = stream.read(&mut bytes).await.unwrap_or_default();
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

fn product_head(server: &Server) -> String {
    format!(
        "POST /v1/products HTTP/1.1\r\nHost: shop.test\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        server.key,
        PRODUCT.len()
    )
}

async fn ask(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(HEALTH).await.unwrap();
    said(&mut stream).await
}

#[tokio::test]
async fn who_never_finishes_a_header_is_let_go_and_starves_nobody() {
    let server = Server::start().await;
    let listening = listening(&server, 20).await;
    // All places are taken by clients that say half a word, or nothing at all.
    let mut slow = Vec::new();
    for n in 0..20 {
        let mut stream = TcpStream::connect(listening.address).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(b"GET /health HTTP/1.1\r\nHost: sh").await.unwrap();
        }
        slow.push(stream);
    }
    let started = Instant::now();
    let answer = ask(listening.address).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    for mut stream in slow {
        let last = said(&mut stream).await;
        assert!(last.is_empty() || last.starts_with("HTTP/1.1 408"), "{last}");
    }
}

#[tokio::test]
async fn who_never_reads_is_let_go_and_starves_nobody() {
    let server = Server::start().await;
    let listening = listening(&server, 4).await;
    // Each asks for megabytes and reads nothing of them, until the system's buffers are full.
    let mut deaf = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(listening.address).await.unwrap();
        let wish = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: shop.test\r\n\r\n";
        for _ in 0..10 {
            stream.write_all(wish).await.unwrap();
        }
        deaf.push(stream);
    }
    let answer = tokio::time::timeout(Duration::from_secs(20), ask(listening.address)).await;
    let answer = answer.expect("clients that do not read keep their places");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(deaf);
}

#[tokio::test]
async fn large_bodies_that_never_end_keep_small_ones_from_nothing() {
    let server = Server::start().await;
    let listening = listening(&server, 400).await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(listening.address).await.unwrap();
        let head = b"POST /payments/webhook HTTP/1.1\r\nHost: shop.test\r\n\
            Stripe-Signature: t=1,v1=00\r\nContent-Length: 900000\r\n\r\n";
        stream.write_all(head).await.unwrap();
        // What is not read stays in the sender's system.
        let half = stream.write_all(&[b' '; 100_000]);
        let _ = tokio::time::timeout(Duration::from_millis(5), half).await;
        slow.push(stream);
    }
    let started = Instant::now();
    let mut stream = TcpStream::connect(listening.address).await.unwrap();
    stream.write_all(format!("{}{PRODUCT}", product_head(&server)).as_bytes()).await.unwrap();
    let answer = said(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_end() {
    let server = Server::start().await;
    let listening = listening(&server, 20).await;
    let mut stream = TcpStream::connect(listening.address).await.unwrap();
    stream.write_all(product_head(&server).as_bytes()).await.unwrap();
    stream.write_all(&PRODUCT.as_bytes()[..5]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    listening.stop.send(true).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    stream.write_all(&PRODUCT.as_bytes()[5..]).await.unwrap();
    let answer = said(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let ended = tokio::time::timeout(Duration::from_secs(3), listening.serving).await;
    ended.expect("the last answer ends the server").unwrap().unwrap();
}

#[tokio::test]
async fn a_kept_connection_serves_again_and_ends_with_the_server() {
    let server = Server::start().await;
    let listening = listening(&server, 20).await;
    let mut stream = TcpStream::connect(listening.address).await.unwrap();
    for _ in 0..3 {
        stream.write_all(HEALTH).await.unwrap();
        let answer = said(&mut stream).await;
        assert!(answer.contains(r#"{"status":"ready"}"#), "{answer}");
    }
    listening.stop.send(true).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(3), listening.serving).await;
    ended.expect("an idle connection keeps nobody waiting").unwrap().unwrap();
    assert_eq!(said(&mut stream).await, "");
    assert!(TcpStream::connect(listening.address).await.is_err());
}

#[tokio::test]
async fn who_is_about_to_stop_says_so_and_still_answers() {
    let server = Server::start().await;
    let status = async |path: &str| server.call("GET", path, &server.key, "").await.status;
    assert_eq!(status("/health/ready").await, 200);
    server.site.stopping.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(status("/health/ready").await, 503);
    assert_eq!(status("/health").await, 200);
    assert_eq!(status("/v1/products").await, 200);
}
