//! `tollgate sandbox save`, `load` and `reset`: by HTTP where a sandbox runs, else on its files.

use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, bail};
use reqwest::RequestBuilder;
use serde_json::Value;

use crate::cli::{SandboxCommand, SandboxPlace};
use crate::{dev, simulator};

/// Where the state is.
enum Source {
    Running(String),
    /// Nobody runs on it while we hold its lock.
    Directory(simulator::Home),
}

pub async fn run(command: SandboxCommand) -> anyhow::Result<()> {
    match command {
        SandboxCommand::Save { file, place } => {
            let text = save(&source(&place, Missing::Refused)?).await?;
            write(&file, &text)?;
            let rows = text.lines().count().saturating_sub(1);
            eprintln!("{rows} rows saved");
        }
        SandboxCommand::Load { file, place } => {
            let text = read(&file)?;
            load(&source(&place, Missing::Made)?, text).await?;
            eprintln!("{} loaded", file.display());
        }
        SandboxCommand::Reset { place } => {
            reset(&source(&place, Missing::Refused)?).await?;
            eprintln!("everything is forgotten");
        }
    }
    Ok(())
}

/// What to do about a data directory that is not there.
#[derive(PartialEq, Eq)]
enum Missing {
    Refused,
    Made,
}

fn source(place: &SandboxPlace, missing: Missing) -> anyhow::Result<Source> {
    if let Some(url) = &place.url {
        return Ok(Source::Running(url.as_str().trim_end_matches('/').to_owned()));
    }
    if missing == Missing::Refused && !place.data.exists() {
        bail!("there is no directory {}; --url reaches a running sandbox", place.data.display());
    }
    match simulator::open(&place.data) {
        Ok(home) => Ok(Source::Directory(home)),
        Err(error) => match simulator::running(&place.data)? {
            Some(running) => Ok(Source::Running(running.sandbox_url)),
            None => Err(error),
        },
    }
}

async fn save(source: &Source) -> anyhow::Result<String> {
    match source {
        Source::Directory(home) => Ok(sandbox::save_directory(&home.dir).await?),
        Source::Running(url) => {
            send(dev::local_client()?.get(format!("{url}/_sandbox/save"))).await
        }
    }
}

async fn load(source: &Source, text: String) -> anyhow::Result<()> {
    match source {
        Source::Directory(home) => Ok(sandbox::load_directory(&home.dir, &text).await?),
        Source::Running(url) => {
            let request = dev::local_client()?.post(format!("{url}/_sandbox/load"));
            send(request.body(text)).await.map(|_| ())
        }
    }
}

async fn reset(source: &Source) -> anyhow::Result<()> {
    match source {
        Source::Directory(home) => Ok(sandbox::reset_directory(&home.dir).await?),
        Source::Running(url) => {
            let request = dev::local_client()?.post(format!("{url}/_sandbox/reset"));
            send(request).await.map(|_| ())
        }
    }
}

/// The answer of a running sandbox, or its reason for none.
async fn send(request: RequestBuilder) -> anyhow::Result<String> {
    let answer = request.send().await.context("the sandbox does not answer")?;
    let status = answer.status();
    let text = answer.text().await.context("the sandbox's answer broke off")?;
    if !status.is_success() {
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        let reason = body["error"]["message"].as_str().unwrap_or("no reason given");
        bail!("the sandbox refused ({status}): {reason}");
    }
    Ok(text)
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    match file == Path::new("-") {
        true => std::io::stdin().read_to_end(&mut bytes).context("cannot read stdin")?,
        false => {
            bytes =
                std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            bytes.len()
        }
    };
    String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", file.display()))
}

/// Whole or not at all; it holds secrets of webhook endpoints, so it is for its owner.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    if file == Path::new("-") {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        return Ok(stdout.flush()?);
    }
    dev::write_private_text(file, text)
}
