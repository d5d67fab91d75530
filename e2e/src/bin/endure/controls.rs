//! The database servers belong to `cargo xtask endure`: it stops and starts them when it is asked.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use anyhow::{Context, Result, ensure};
use e2e::databases::Backend;

const VARIABLE: &str = "TOLLGATE_ENDURE_CONTROL";

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It cuts all sessions and writes down what it has.
    Asked,
    /// `kill -9`: what was promised has to be on the disk.
    Killed,
}

/// Stops the server and starts it on the same data, at the same port; comes back when it is ready.
pub async fn restart(backend: Backend, ending: Ending) -> Result<()> {
    let asked = tokio::task::spawn_blocking(move || {
        let address = std::env::var(VARIABLE)
            .with_context(|| format!("{VARIABLE} is not set; `cargo xtask endure` sets it"))?;
        let ending = match ending {
            Ending::Asked => "asked",
            Ending::Killed => "killed",
        };
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "{} {ending}", backend.name())?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer == "ready", "the database server did not come back: {answer}");
        Ok(())
    });
    asked.await?
}
