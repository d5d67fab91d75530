//! Receivers: posting our own signed messages to servers that somebody else runs.
//!
//! An address can be typed by a person, so it is judged twice: as text when it is accepted, and as
//! the addresses it resolves to at the moment of connecting, so that a name cannot mean one thing
//! when it is checked and another when it is used. Redirects are answers, not invitations.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret, SecretString};

use crate::errors::ClientError;
use crate::messages;

/// Where the proof of origin is.
pub const SIGNATURE_HEADER: &str = "tollgate-signature";
const TIMEOUT: Duration = Duration::from_secs(10);
const URL_LENGTH_MAX: usize = 2_000;

/// Which addresses may be posted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those that the whole internet can reach, encrypted.
    PublicEncrypted,
    /// Those that the whole internet can reach.
    Public,
    /// This machine and its network too: development, and addresses that only the operator sets.
    Anywhere,
}

/// Why an address is not posted to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("must be an http or https address of at most {URL_LENGTH_MAX} characters")]
    NotAnAddress,
    #[error("must be an https address")]
    NotEncrypted,
    #[error("must not hold a user name, a password or a fragment")]
    Decorated,
    #[error("must be reachable from the internet, not in a private network")]
    Private,
}

/// What is posted.
#[derive(Debug)]
pub struct Message<'a> {
    pub url: &'a str,
    pub reach: Reach,
    pub body: Vec<u8>,
    /// One signature for each: two while a secret is being replaced.
    pub secrets: &'a [SecretString],
    pub signed_at_seconds: i64,
}

/// Connection pools to receivers. Clones share them.
#[derive(Debug, Clone)]
pub struct Sender {
    public: reqwest::Client,
    anywhere: reqwest::Client,
}

impl Sender {
    /// Connects to nothing yet.
    pub fn new() -> Result<Self, ClientError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(ClientError::TlsMissing);
        }
        // A proxy would resolve names itself, past our judgement of what they resolve to.
        let http = || {
            reqwest::Client::builder()
                .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .timeout(TIMEOUT)
                .no_proxy()
        };
        let public = http().dns_resolver(Arc::new(PublicOnly)).build();
        let anywhere = http().build();
        Ok(Self {
            public: public.map_err(ClientError::Http)?,
            anywhere: anywhere.map_err(ClientError::Http)?,
        })
    }

    /// Posts once: the status that came back, or why none did.
    pub async fn post(&self, message: Message<'_>) -> Result<u16, String> {
        let url = check(message.url, message.reach).map_err(|error| format!("url {error}"))?;
        let http = match message.reach {
            Reach::Anywhere => &self.anywhere,
            Reach::Public | Reach::PublicEncrypted => &self.public,
        };
        let signature = signature(&message.body, message.secrets, message.signed_at_seconds);
        let request = http
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(SIGNATURE_HEADER, signature)
            .body(message.body);
        match request.send().await {
            Ok(response) => Ok(response.status().as_u16()),
            Err(error) if error.is_timeout() => Err("no answer in time".to_owned()),
            Err(error) => Err(messages::causes(error)),
        }
    }
}

/// `t=…,v1=…` with one `v1` for each secret, over the time and the body.
fn signature(body: &[u8], secrets: &[SecretString], at_seconds: i64) -> String {
    let at = at_seconds.to_string();
    let mut header = format!("t={at}");
    for secret in secrets {
        header.push_str(",v1=");
        header.push_str(&messages::sign(body, secret.expose_secret(), &at));
    }
    header
}

/// Reads an address and judges all that its text tells.
pub fn check(text: &str, reach: Reach) -> Result<Url, AddressError> {
    if URL_LENGTH_MAX < text.len() {
        return Err(AddressError::NotAnAddress);
    }
    let url = Url::parse(text).map_err(|_| AddressError::NotAnAddress)?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(AddressError::NotAnAddress);
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(AddressError::Decorated);
    }
    if reach == Reach::PublicEncrypted && url.scheme() != "https" {
        return Err(AddressError::NotEncrypted);
    }
    if reach != Reach::Anywhere && is_inside(&url) {
        return Err(AddressError::Private);
    }
    Ok(url)
}

/// Whether an address says itself that it is in a private network; a name without a dot is one of
/// this machine or its neighbours.
pub fn is_inside(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    !name.contains(['.', ':'])
        || [".localhost", ".local", ".internal"].iter().any(|end| name.ends_with(end))
        || host.parse().is_ok_and(|ip| !is_public(ip))
}

/// Whether the internet routes there. What is not known to be public is not.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let assignments = a == 192 && b == 0 && c == 0;
    let benchmarks = a == 198 && (b == 18 || b == 19);
    let relays = (a, b, c) == (192, 88, 99);
    let special = shared || assignments || benchmarks || relays || a == 0 || 224 <= a;
    !(special || ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_documentation())
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.segments();
    if let Some(mapped) = ip.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    // Only 2000::/3 is routed; some of it carries or stands for addresses of other kinds.
    let global = first & 0xe000 == 0x2000;
    let protocols = first == 0x2001 && second < 0x0200;
    let documentation = (first == 0x2001 && second == 0x0db8) || first == 0x3fff;
    let relays = first == 0x2002;
    global && !protocols && !documentation && !relays
}

/// Resolves names to the public ones of their addresses.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|at| is_public(at.ip())).collect();
            if public.is_empty() {
                return Err(AddressError::Private.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_refused_in_every_spelling() {
        let private = [
            "http://127.0.0.1/hook",
            "http://127.1/hook",
            "http://2130706433/hook",
            "http://0x7f.0.0.1/hook",
            "http://0.0.0.0/",
            "http://10.1.2.3/",
            "http://172.16.0.1/",
            "http://192.168.1.1/",
            "http://169.254.169.254/latest/meta-data",
            "http://100.64.0.1/",
            "http://192.0.0.8/",
            "http://198.18.0.1/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[fc00::1]/",
            "http://[fe80::1]/",
            "http://[2002:7f00:1::]/",
            "http://[2001:0:1::]/",
            "http://localhost/",
            "http://localhost./",
            "http://LOCALHOST:8000/",
            "http://shop.localhost/",
            "http://mailer:8080/",
            "http://metadata.google.internal/",
        ];
        for text in private {
            assert_eq!(check(text, Reach::Public).unwrap_err(), AddressError::Private, "{text}");
            assert!(check(text, Reach::Anywhere).is_ok(), "{text}");
        }
        for text in ["http://93.184.215.14/", "https://shop.example.com:8443/hook?a=b"] {
            assert!(check(text, Reach::Public).is_ok(), "{text}");
        }
        assert!(check("https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/", Reach::Public).is_ok());
    }

    #[test]
    fn only_plain_addresses_are_taken_and_live_ones_are_encrypted() {
        let long = format!("https://shop.example.com/{}", "a".repeat(URL_LENGTH_MAX));
        for text in ["", "shop.example.com", "ftp://example.com", "file:///etc", "http://", &long] {
            let refused = check(text, Reach::Anywhere).unwrap_err();
            assert_eq!(refused, AddressError::NotAnAddress, "{text}");
        }
        for text in ["https://me@example.com/", "https://me:pw@example.com/", "https://e.com/#a"] {
            assert_eq!(check(text, Reach::Public).unwrap_err(), AddressError::Decorated, "{text}");
        }
        let plain = check("http://shop.example.com/", Reach::PublicEncrypted);
        assert_eq!(plain.unwrap_err(), AddressError::NotEncrypted);
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_this_machine_is_not_connected_to() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        // The text is not judged here: a name that anybody owns may resolve to this machine, too.
        let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        let sender = Sender::new().unwrap();
        let answer = async || {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The request is short: it comes in one piece.
            tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 4_096]).await.unwrap();
            let taken = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, taken).await.unwrap();
        };
        let error = tokio::select! {
            sent = sender.public.post(&url).send() => sent.expect_err("nobody connects"),
            () = answer() => panic!("this machine was connected to"),
        };
        let told = messages::causes(error);
        assert!(told.contains(&AddressError::Private.to_string()), "{told}");
        // The listener is there for whoever may reach it.
        let (taken, ()) = tokio::join!(sender.anywhere.post(&url).send(), answer());
        assert_eq!(taken.unwrap().status().as_u16(), 204);
    }
}
