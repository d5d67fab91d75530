//! The sandbox alone, for driving it with the official SDKs:
//! `cargo run -p sandbox --example serve -- PORT [DIRECTORY]`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use anyhow::Context;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().unwrap_or("12111".to_owned()).parse().context("PORT")?;
    let data = arguments.next().map(PathBuf::from);
    let provider = rustls::crypto::ring::default_provider();
    provider.install_default().map_err(|_| anyhow::anyhow!("a TLS provider is installed"))?;
    let sandbox = sandbox::start(sandbox::Config {
        listener: tokio::net::TcpListener::bind(("127.0.0.1", port)).await?,
        reach: sandbox::Reach::ThisMachine,
        data,
        offset: Arc::new(AtomicI64::new(0)),
        secret_key: None,
        after_advance: None,
    })
    .await?;
    eprintln!("serving {}", sandbox.base_url);
    let interrupted = async {
        // Without a way to hear Ctrl-C, the process is ended from outside.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    sandbox.serve(interrupted).await?;
    Ok(())
}
