//! The process itself: one per data directory, a clean end, secrets and state that survive it.

use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use e2e::purchases::{Buyer, offer};
use e2e::servers::{Data, tollgate};

#[tokio::test]
async fn a_second_dev_on_the_same_data_says_so_and_fails() -> Result<()> {
    let data = Data::new()?;
    let first = data.start()?;
    let second = data.run(&["dev", "--port", "0", "--sandbox-port", "0"])?;
    let message = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success());
    assert!(message.contains(&*data.path().to_string_lossy()), "it does not say where: {message}");
    assert!(second.stdout.is_empty(), "it printed a ready line");
    first.nobody()?.get("/health").await?.expect(200)?;
    Ok(())
}

#[test]
fn signals_end_it_with_success() -> Result<()> {
    let data = Data::new()?;
    for signal in ["-TERM", "-INT"] {
        let dev = data.start()?;
        println!("start to ready: {:?}", dev.started_in);
        assert_eq!(dev.stdout, "", "stdout has more than the ready line");
        let status = dev.stop(signal)?;
        assert_eq!(status.code(), Some(0), "after {signal}");
    }
    Ok(())
}

#[tokio::test]
async fn a_restart_keeps_secrets_customers_and_credits() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let mode = std::fs::metadata(data.path().join("dev.json"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let buyer = Buyer::new(&dev, &data).await?;
    buyer.buy(&dev, &offer(&buyer.api, "Pro", Some("month")).await?, 100).await?;
    let before = dev.ready.clone();
    dev.stop("-TERM")?;

    let dev = data.start()?;
    assert_eq!(dev.ready.admin_key, before.admin_key);
    assert_eq!(dev.ready.webhook_secret, before.webhook_secret);
    assert_eq!(dev.ready.customer_id, before.customer_id);
    // The ports are new, and the customer's old token is still good.
    let api = e2e::answers::Api::new(&dev.ready.api_url, Some(&buyer.token))?;
    let buyer = Buyer { api, ..buyer };
    assert_eq!(buyer.total_credits().await?, 100);
    // The sandbox delivers to the new address.
    buyer.buy(&dev, &offer(&buyer.api, "100 Credits", None).await?, 200).await?;
    Ok(())
}

#[test]
fn fresh_forgets_everything() -> Result<()> {
    let data = Data::new()?;
    let first = data.start()?.ready.clone();
    let second = data.start_with(&["--fresh"], &[])?.ready.clone();
    assert_ne!(first.admin_key, second.admin_key);
    assert_ne!(first.webhook_secret, second.webhook_secret);
    Ok(())
}

#[tokio::test]
async fn the_token_command_speaks_for_its_customer() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let output = data.run(&["token", "--customer", &dev.ready.customer_id])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let token = String::from_utf8(output.stdout)?;
    for token in [token.trim(), dev.ready.customer_token.as_str()] {
        let api = dev.nobody()?.with_bearer(Some(token));
        let state = api.get("/v1/customers/state").await?.expect(200)?;
        assert_eq!(state["customer"]["id"], dev.ready.customer_id.as_str(), "{state}");
    }
    Ok(())
}

#[tokio::test]
async fn logs_hold_no_secrets_and_no_complaints_about_a_purchase() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start_with(&[], &[("LOG_LEVEL", "debug")])?;
    let buyer = Buyer::new(&dev, &data).await?;
    let pro = offer(&buyer.api, "Pro", Some("month")).await?;
    let session = buyer.checkout(&pro).await?;
    let path = format!("/_sandbox/checkout/{session}/complete");
    let declined = [("payment_method", "pm_card_visa_chargeDeclined")];
    dev.sandbox()?.post_form(&path, &declined).await?.expect(402)?;
    buyer.buy(&dev, &offer(&buyer.api, "100 Credits", None).await?, 100).await?;
    let log = dev.log_after_welcome()?;
    assert!(!log.is_empty(), "nothing is logged at debug");
    let jwt_secret = data.secret("jwt_secret")?;
    let email = format!("{}@example.com", buyer.external_id);
    for (name, secret) in [
        ("admin key", dev.ready.admin_key.as_str()),
        ("webhook secret", &dev.ready.webhook_secret),
        ("token secret", &jwt_secret),
        ("token", &buyer.token),
        ("signature", "v1="),
        ("card", "4242424242424242"),
        ("address", &email),
    ] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "the log shows the {name}");
    }
    let complaint = log.lines().find(|line| line.contains(" WARN ") || line.contains(" ERROR "));
    assert_eq!(complaint, None);
    Ok(())
}

#[test]
fn every_command_has_help() -> Result<()> {
    for arguments in [
        &["--help"][..],
        &["dev", "--help"],
        &["sandbox", "--help"],
        &["serve", "--help"],
        &["migrate", "--help"],
        &["doctor", "--help"],
        &["token", "--help"],
        &["keys", "create", "--help"],
        &["clock", "advance", "--help"],
    ] {
        let output = tollgate(arguments)?.output()?;
        assert!(output.status.success(), "tollgate {arguments:?}");
        assert!(output.stdout.len() > 100, "tollgate {arguments:?} says nothing");
    }
    Ok(())
}

#[test]
fn serve_without_its_settings_names_them_and_stops() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let output = tollgate(&["serve"])?.current_dir(folder.path()).output()?;
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(message.contains("DATABASE_URL"), "{message}");

    let mut conflicting = tollgate(&["serve"])?;
    conflicting.current_dir(folder.path()).env("DATABASE_URL", "sqlite://x.db");
    conflicting.env("WEBHOOK_SECRET", "whsec_one").env("STRIPE_WEBHOOK_SECRET", "whsec_two");
    let output = conflicting.output()?;
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(message.contains("STRIPE_WEBHOOK_SECRET"), "{message}");
    assert!(message.contains("WEBHOOK_SECRET"), "{message}");
    assert!(!message.contains("whsec_one"), "a secret was printed: {message}");
    Ok(())
}
