//! `[frame_store]`: where frames go that are too large for a record of the log.
//!
//! In:   the table, and where records go. Out: [`FrameStore`].
//! Owns: what a record may carry, by the log.

use std::path::PathBuf;

use super::peer::{hide_token, is_address, tls};
use super::section::Section;
use super::{FRAME_BYTES, To};
use crate::publish::http::HttpTarget;
use crate::publish::kafka;

/// What librdkafka takes for one record unless `message.max.bytes` says otherwise, and what is left to the headers.
const KAFKA_RECORD_BYTES: u64 = 1_000_000;
const HEADERS_BYTES: u64 = 16 << 10;
/// What the centre's tables decode in one record.
const RECORD_BYTES: u64 = 1 << 20;

/// Where the store is.
#[derive(Debug, Clone)]
pub enum StoreAt {
    /// On this machine, or mounted here.
    Folder(PathBuf),
    /// Beside a log server: `PUT {url}/v1/frames/{sha256}`.
    Http(HttpTarget),
}

#[derive(Debug, Clone)]
pub struct FrameStore {
    pub at: StoreAt,
    /// Larger frames go by their uri.
    pub inline_bytes: usize,
}

/// None where the table is not there.
pub fn frame_store(section: Section<'_>, log: &To) -> Option<FrameStore> {
    let there = section.is_there();
    let text = section.text("to");
    let inline = section.bytes("inline_bytes").unwrap_or(FRAME_BYTES);
    let most = match log {
        To::Kafka { properties, .. } => {
            let set = properties.get("message.max.bytes").and_then(|b| b.parse().ok());
            set.unwrap_or(KAFKA_RECORD_BYTES).min(RECORD_BYTES)
        }
        To::Http(_) | To::Spool => RECORD_BYTES,
    };
    if inline > most.saturating_sub(HEADERS_BYTES) {
        let expected = format!("at most {} of {most} in a record", most.saturating_sub(HEADERS_BYTES));
        section.wrong("inline_bytes", "is more than the log takes", &expected);
    }
    let own = (section.text("token"), tls(&section));
    hide_token(&section, "to", text.as_deref().filter(|t| t.starts_with("http:")), "frame_store");
    let at = match (text, log) {
        (Some(text), _) if text.starts_with("http:") || text.starts_with("https:") => {
            is_address(&section, "to", &text);
            let token = match (own.0, log) {
                (Some(token), _) => kafka::look_up("token", &token).unwrap_or_else(|e| {
                    section.wrong("token", e.what(), "a readable file or a set variable");
                    String::new()
                }),
                (None, To::Http(log)) => log.token.clone(),
                (None, _) => section.need("token", "\"file:PATH\" or \"env:NAME\""),
            };
            StoreAt::Http(HttpTarget { url: text, token, tls: own.1 })
        }
        (Some(folder), _) => StoreAt::Folder(folder.into()),
        (None, To::Http(log)) => StoreAt::Http(log.clone()),
        (None, _) => {
            if there {
                section.need("to", "a folder, or the address of a log server");
            }
            StoreAt::Folder(PathBuf::new())
        }
    };
    section.done();
    there.then_some(FrameStore { at, inline_bytes: inline as usize })
}
