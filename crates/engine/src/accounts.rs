//! The provider's account that this deployment is about, and whether it fits our settings.

use crate::Engine;
use crate::failures::Failure;
use domain::codes::Code;
use providers::errors::ProviderError;
use providers::stripe::API_VERSION;
use providers::stripe::webhook_endpoints::Endpoint;

/// What does not fit between the settings and the account at the provider.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("this database belongs to the provider's account {bound}, and the key to {found}")]
    OtherAccount { bound: String, found: String },
    #[error("the restricted key may not read {}", .0.join(", "))]
    Forbidden(Vec<&'static str>),
    #[error(
        "the webhook endpoint {url} sends events in version {}; {API_VERSION} is what we ask in",
        .version.as_deref().unwrap_or("of the account's default")
    )]
    Version { url: String, version: Option<String> },
}

impl Misfit {
    /// Whether starting all the same would do harm. Events of other versions are understood.
    pub fn is_fatal(&self) -> bool {
        match self {
            Misfit::OtherAccount { .. } | Misfit::Forbidden(_) => true,
            Misfit::Version { .. } => false,
        }
    }
}

impl Engine {
    /// Our own account's id: asked once and remembered. None while payments are switched off.
    pub(crate) async fn own_account(&self) -> Result<Option<String>, Failure> {
        if let Some(known) = self.known_account() {
            return Ok(Some(known.to_owned()));
        }
        let Some(provider) = &self.inner.provider else {
            return Ok(None);
        };
        let mut tx = self.store().read("accounts.own").await?;
        let bound = tx.deployment_account().await?;
        drop(tx);
        let account = match bound {
            Some(account) => account,
            None => {
                let account = provider.account().await?;
                let mut tx = self.store().begin("accounts.remember").await?;
                tx.deployment_account_set(&account).await?;
                tx.commit().await?;
                account
            }
        };
        Ok(Some(self.inner.account.get_or_init(|| account).clone()))
    }

    /// The same, as far as it is known without asking anybody.
    pub(crate) fn known_account(&self) -> Option<&str> {
        self.inner.account.get().map(String::as_str)
    }

    /// Fails where the key belongs to another account than this database; `false` where a
    /// restricted key may not tell.
    pub(crate) async fn check_own_account(&self) -> Result<bool, Failure> {
        let provider = self.provider()?;
        let found = match provider.account().await {
            Err(ProviderError::Unauthorized) if provider.is_restricted() => return Ok(false),
            answer => answer?,
        };
        match self.own_account().await? {
            Some(bound) if bound != found => {
                let detail = Misfit::OtherAccount { bound, found }.to_string();
                Err(Failure::Provider { code: Code::ProviderUnavailable, detail })
            }
            _ => Ok(true),
        }
    }

    /// Compares the settings with the account at the provider.
    pub async fn account_misfits(&self) -> Result<Vec<Misfit>, Failure> {
        let mut misfits = Vec::new();
        let Some(provider) = &self.inner.provider else {
            return Ok(misfits);
        };
        let forbidden = provider.forbidden().await?;
        if !forbidden.is_empty() {
            misfits.push(Misfit::Forbidden(forbidden));
        }
        // A restricted key need not see these two.
        let hidden = |error: &ProviderError| {
            provider.is_restricted() && *error == ProviderError::Unauthorized
        };
        match provider.account().await {
            Ok(found) => {
                if let Some(bound) = self.own_account().await?
                    && bound != found
                {
                    misfits.push(Misfit::OtherAccount { bound, found });
                }
            }
            Err(error) if hidden(&error) => {}
            Err(error) => return Err(error.into()),
        }
        let endpoints = match provider.webhook_endpoints().await {
            Err(error) if hidden(&error) => Vec::new(),
            answer => answer?,
        };
        misfits.extend(endpoints.into_iter().filter_map(|endpoint| self.other_version(endpoint)));
        Ok(misfits)
    }

    /// Only endpoints of ours: other applications on the account choose for themselves.
    fn other_version(&self, endpoint: Endpoint) -> Option<Misfit> {
        let ours = self.settings().public_url.as_str().trim_end_matches('/');
        let is_ours = endpoint.url.strip_prefix(ours).is_some_and(|path| path.starts_with('/'));
        let fits = endpoint.api_version.as_deref() == Some(API_VERSION);
        (endpoint.is_enabled && is_ours && !fits)
            .then_some(Misfit::Version { url: endpoint.url, version: endpoint.api_version })
    }
}

/// Whether an event's account is ours. An organisation names itself first: `org_1/acct_1`.
pub(crate) fn is_account(told: &str, ours: &str) -> bool {
    told.rsplit('/').next() == Some(ours)
}
