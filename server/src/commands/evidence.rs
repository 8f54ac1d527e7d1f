//! `weir evidence`: keeps the frames that events rest on, before retention takes them.

use std::path::PathBuf;

use weir_contract::{Code, Error};

use crate::Done;
use crate::evidence::{Topics, keep};
use crate::wire::at::LogAt;
use crate::wire::models::Places;
use crate::wire::ports;

/// Lost frames that are told one by one.
const LOST_TOLD: usize = 10;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topic of the events, such as dev.events.validation
    events: String,
    /// Folder for annotated pictures, and for the frames themselves
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Topic of the detections
    #[arg(long, value_name = "NAME", default_value = "detections")]
    detections: String,
    /// Topic of the frames
    #[arg(long, value_name = "NAME", default_value = "frames")]
    frames: String,
    /// Folder of frames that are not in the log; default: WEIR_FRAMES, else `frames` beside the embedded log
    #[arg(long, value_name = "DIR")]
    stored: Option<PathBuf>,
    /// kafka://HOST:PORT or log:FOLDER; default: WEIR_LOG, else the embedded log under --data
    #[arg(long, value_name = "LOG")]
    log: Option<String>,
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
}

pub fn run(args: Args) -> Done {
    let log = LogAt::choose(args.log.as_deref(), &args.data)?;
    if let LogAt::Files { .. } = log {
        return Err(Error::new(Code::Usage, "plain files hold no topics")
            .expected("kafka://… or log:…")
            .into());
    }
    let registry = ports::registry(&log, &args.data)?;
    let stored =
        args.stored.clone().unwrap_or_else(|| Places::of_environment(log.frames(&args.data)).frames());
    let topics = Topics { events: &args.events, detections: &args.detections, frames: &args.frames };
    let kept = keep(&log, &registry, &topics, Some(&stored), &args.out)?;
    for picture in &kept.pictures {
        super::say(&picture.path.display().to_string());
    }
    for lost in kept.lost.iter().take(LOST_TOLD) {
        eprintln!("event {}: no picture, frame {}\n{}", lost.event_id, lost.frame_id, lost.why);
    }
    eprintln!(
        "{} pictures, {} were there before; {} events without a frame, {} whose frame is gone",
        kept.pictures.len(),
        kept.before,
        kept.without,
        kept.lost.len()
    );
    Ok(u8::from(!kept.lost.is_empty()))
}
