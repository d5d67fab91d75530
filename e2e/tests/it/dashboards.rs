//! The sandbox with a browser: its own page.

use anyhow::Result;
use e2e::answers::text_at;
use e2e::sandboxes::Sandbox;
use e2e::tools::run_in_browser;
use serde_json::json;

// The browser blocks one thread, and the shop has to answer on another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sandbox_page_moves_the_clock_resends_events_and_breaks_things() -> Result<()> {
    let sandbox = Sandbox::start()?;
    let api = sandbox.api()?;
    let form = [("name", "Pro")];
    let product = text_at(&api.post_form("/v1/products", &form).await?.expect(200)?, "/id");
    let url = hook().await?;
    let endpoint = [("url", url.as_str()), ("enabled_events[]", "*")];
    api.post_form("/v1/webhook_endpoints", &endpoint).await?.expect(200)?;
    let price = [
        ("product", product.as_str()),
        ("currency", "usd"),
        ("unit_amount", "2900"),
        ("recurring[interval]", "month"),
    ];
    let price = text_at(&api.post_form("/v1/prices", &price).await?.expect(200)?, "/id");
    let session = [
        ("mode", "subscription"),
        ("line_items[0][price]", price.as_str()),
        ("line_items[0][quantity]", "1"),
        ("success_url", "https://shop.example.com/ok"),
    ];
    let paid = api.post_form("/v1/checkout/sessions", &session).await?.expect(200)?;
    let complete = format!("/_sandbox/checkout/{}/complete", text_at(&paid, "/id"));
    api.post_form(&complete, &[]).await?.expect(200)?;
    let open = api.post_form("/v1/checkout/sessions", &session).await?.expect(200)?;
    let bearer = format!("Bearer {}", sandbox.ready.secret_key);
    let input = json!({
        "sandbox_url": sandbox.ready.base_url,
        "event": "checkout.session.completed",
        "checkout_url": text_at(&open, "/url"),
        "authorised": { "headers": { "Authorization": bearer } },
        "screenshots": std::env::var("TOLLGATE_SCREENSHOTS").ok(),
    });
    run_in_browser("dashboard", &input)?;
    Ok(())
}

/// A shop that takes every webhook, for as long as the test runs.
async fn hook() -> Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/hook", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0_u8; 65_536];
                // One read is enough: nobody looks at what came.
                if stream.read(&mut bytes).await.is_ok() {
                    let answer =
                        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    let _gone_already = stream.write_all(answer).await;
                }
            });
        }
    });
    Ok(url)
}
