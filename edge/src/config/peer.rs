//! Whom the device talks to over HTTP: addresses, tokens, certificates.
//!
//! In:   the table that has them. Out: what is there; what cannot be meant is refused.
//! Owns: that no token goes in the clear unless the settings say so.

use super::section::Section;
use crate::web::{self, Tls};

/// The setting `url`.
pub(super) fn address(section: &Section<'_>, expected: &str) -> String {
    let url = section.need("url", expected);
    if !url.is_empty() {
        is_address(section, "url", &url);
    }
    url
}

/// Refuses what no request can be sent to.
pub(super) fn is_address(section: &Section<'_>, name: &str, url: &str) {
    if !web::is_address(url) {
        section.wrong(
            name,
            &format!("is `{url}`, which is no address"),
            "http or https, a host and its port",
        );
    }
}

/// Refuses a token that everybody on the way could read, unless the table says that nobody minds.
pub(super) fn hide_token(section: &Section<'_>, name: &str, url: Option<&str>, table: &str) {
    let insecure = section.flag("insecure").unwrap_or(false);
    if !insecure && url.is_some_and(web::shows_token) {
        let what = "is plain HTTP to another host: everybody on the way reads the token";
        section.wrong(name, what, &format!("https, or {table}.insecure = true"));
    }
}

pub(super) fn tls(section: &Section<'_>) -> Tls {
    let tls = Tls { ca: section.text("ca"), cert: section.text("cert"), key: section.text("key") };
    if tls.cert.is_some() != tls.key.is_some() {
        section.wrong("cert", "and `key` go together", "both or none");
    }
    tls
}
