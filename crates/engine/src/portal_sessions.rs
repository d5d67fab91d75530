//! Signing in: a single-use link opens a browser session. Only digests are stored.

use crate::clock::{random, random_secret};
use crate::failures::Failure;
use crate::{Engine, Subject};
use domain::ids::{CustomerId, PortalSessionId};
use domain::time::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use store::Tx;
use store::portal_sessions::{PortalKind, PortalSession};

const LINK_SECONDS: i64 = 30 * 60;
const SESSION_SECONDS: i64 = 12 * 60 * 60;

/// A secret that signs in once.
#[derive(Debug, Clone)]
pub struct PortalLink {
    pub token: SecretString,
    pub expires_at: Timestamp,
}

/// A signed-in browser: the cookie's secret, and what its forms must carry.
#[derive(Debug, Clone)]
pub struct WebSession {
    pub token: SecretString,
    pub csrf: String,
    pub customer: CustomerId,
}

/// Secrets are as random as their digests, so no salt or slow hash is needed.
pub(crate) fn digest(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

fn secret() -> SecretString {
    SecretString::from(hex::encode(random_secret()))
}

impl Engine {
    /// A link for whoever the subject is.
    pub async fn portal_sessions_create(&self, subject: &Subject) -> Result<PortalLink, Failure> {
        let mut tx = self.store().begin("portal_sessions.create").await?;
        let customer = self.customer_ensured(&mut tx, subject, None).await?;
        let (token, row) = self.portal_row(&customer.id, LINK_SECONDS);
        tx.portal_sessions_insert(PortalKind::Link, &row).await?;
        tx.commit().await?;
        Ok(PortalLink { token, expires_at: row.expires_at })
    }

    /// Uses a link up. Used, expired and invented ones open nothing.
    pub async fn portal_sessions_redeem(&self, token: &str) -> Result<Option<WebSession>, Failure> {
        let wall = self.clock().wall();
        let hash = digest(token);
        let mut tx = self.store().begin("portal_sessions.redeem").await?;
        let Some(link) = tx.portal_sessions_find(PortalKind::Link, &hash, wall).await? else {
            return Ok(None);
        };
        if !tx.portal_sessions_close(PortalKind::Link, &hash, wall).await? {
            return Ok(None);
        }
        let web = self.web_session_start(&mut tx, &link.customer_id).await?;
        tx.commit().await?;
        Ok(Some(web))
    }

    /// Whose browser session that is, and what its forms must carry.
    pub async fn web_session(&self, token: &str) -> Result<Option<(CustomerId, String)>, Failure> {
        let wall = self.clock().wall();
        let mut tx = self.store().read("portal_sessions.find").await?;
        let found = tx.portal_sessions_find(PortalKind::Session, &digest(token), wall).await?;
        Ok(found.map(|session| (session.customer_id, session.csrf)))
    }

    /// Signs out.
    pub async fn web_session_end(&self, token: &str) -> Result<(), Failure> {
        let wall = self.clock().wall();
        let mut tx = self.store().begin("portal_sessions.end").await?;
        tx.portal_sessions_close(PortalKind::Session, &digest(token), wall).await?;
        tx.commit().await?;
        Ok(())
    }

    pub(crate) async fn web_session_start(
        &self,
        tx: &mut Tx,
        customer: &CustomerId,
    ) -> Result<WebSession, Failure> {
        let (token, row) = self.portal_row(customer, SESSION_SECONDS);
        tx.portal_sessions_insert(PortalKind::Session, &row).await?;
        Ok(WebSession { token, csrf: row.csrf, customer: row.customer_id })
    }

    fn portal_row(&self, customer: &CustomerId, seconds: i64) -> (SecretString, PortalSession) {
        let wall = self.clock().wall();
        let token = secret();
        let row = PortalSession {
            id: PortalSessionId::new(wall, random()),
            customer_id: customer.clone(),
            hash: digest(token.expose_secret()),
            csrf: hex::encode(random_secret()),
            expires_at: wall.plus_seconds(seconds),
            created_at: wall,
        };
        (token, row)
    }
}
