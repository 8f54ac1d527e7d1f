//! The one HTTP client of the agent: for weir's embedded log and for cameras that speak HTTP.
//!
//! Owns: TLS settings, and that nothing is asked but what the configuration names: no redirect is followed,
//!       no proxy is taken from the environment.

use std::time::Duration;

use serde::Deserialize;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig};
use weir_contract::{Code, Error, Place, Result};

/// Certificates, as paths of PEM files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// Authorities that the peer's certificate has to come from; default: those of the web.
    pub ca: Option<String>,
    /// Own certificate and key, where the peer asks for them.
    pub cert: Option<String>,
    pub key: Option<String>,
}

fn read(path: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::new(Code::BadFile, e.to_string()).at(Place::Path(path.into())))
}

fn certificates(path: &str) -> Result<Vec<Certificate<'static>>> {
    let bad = |why: String| Error::new(Code::BadFile, why).at(Place::Path(path.into()));
    let mut found = Vec::new();
    for item in ureq::tls::parse_pem(&read(path)?) {
        if let PemItem::Certificate(certificate) = item.map_err(|e| bad(e.to_string()))? {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(bad("no certificate is in this file".into()).expected("PEM"));
    }
    Ok(found)
}

/// Whether a request can be sent there: `http` or `https`, and a host.
pub fn is_address(url: &str) -> bool {
    let Ok(url) = url.parse::<ureq::http::Uri>() else { return false };
    matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
}

/// Whether a token goes over a network in the clear; this machine's own address is none.
pub fn shows_token(url: &str) -> bool {
    let Ok(url) = url.parse::<ureq::http::Uri>() else { return false };
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let own = host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    url.scheme_str() == Some("http") && !own
}

/// A client. `whole` bounds a request with its answer, none where an answer goes on for ever; `silence`
/// bounds how long the peer may say nothing.
pub fn client(tls: &Tls, whole: Option<Duration>, silence: Duration) -> Result<ureq::Agent> {
    let mut config = TlsConfig::builder();
    if let Some(ca) = &tls.ca {
        config = config.root_certs(RootCerts::new_with_certs(&certificates(ca)?));
    }
    if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
        let bad = |e: ureq::Error| Error::new(Code::BadFile, e.to_string()).at(Place::Path(key.clone()));
        let key_read = PrivateKey::from_pem(&read(key)?).map_err(bad)?;
        config = config.client_cert(Some(ClientCert::new_with_certs(&certificates(cert)?, key_read)));
    }
    Ok(ureq::Agent::config_builder()
        .tls_config(config.build())
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .timeout_global(whole)
        .timeout_connect(Some(silence))
        .timeout_per_read(Some(silence))
        .build()
        .new_agent())
}
