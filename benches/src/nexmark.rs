//! Auctions and bids as nested JSON lines, after the Nexmark benchmark's model (P. Tucker, K. Tufte,
//! V. Papadimos, D. Maier, "NEXMark – A Benchmark for Queries over Data Streams", 2002): one auction
//! for nine bids, bids mostly on recent auctions. Fixed seed, event times ascending, 10 000 events a
//! second of event time.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use weir_contract::{Code, Error, EventTime, Place, Result};

/// 2026-03-01T00:00:00Z.
const START: i64 = 1_772_323_200_000_000;
/// Microseconds of event time between two events.
const STEP: i64 = 100;

/// The folders of the two tables; each holds one file a partition.
pub struct Data {
    pub bids: PathBuf,
    pub auctions: PathBuf,
    pub rows: u64,
}

fn mix(mut x: u64) -> u64 {
    // SplitMix64 (S. Vigna): one multiply-xorshift a number is enough for skewed keys.
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Writes `rows` events over `files` files under `dir`, unless they are there already.
pub fn write(dir: &Path, rows: u64, files: u64) -> Result<Data> {
    let dir = dir.join(format!("nexmark-{rows}-{files}"));
    let data = Data { bids: dir.join("bids"), auctions: dir.join("auctions"), rows };
    let done = dir.join("done");
    if done.exists() {
        return Ok(data);
    }
    let io =
        |e: std::io::Error| Error::new(Code::Io, e.to_string()).at(Place::Path(dir.display().to_string()));
    std::fs::create_dir_all(&data.bids).map_err(io)?;
    std::fs::create_dir_all(&data.auctions).map_err(io)?;
    for file in 0..files {
        let open = |folder: &Path| File::create(folder.join(format!("{file}.json"))).map(BufWriter::new);
        let (mut bids, mut auctions) = (open(&data.bids).map_err(io)?, open(&data.auctions).map_err(io)?);
        for n in (file..rows).step_by(files as usize) {
            let ts = EventTime(START + n as i64 * STEP);
            let chance = mix(n);
            let newest = n / 10;
            if n % 10 == 0 {
                let (seller, reserve) = (chance % 1_000, 100 + chance % 10_000);
                writeln!(
                    auctions,
                    r#"{{"ts":"{ts}","auction":{{"id":{newest},"seller":{seller},"category":{},"reserve":{reserve},"item":"item-{newest}"}}}}"#,
                    chance % 10
                )
                .map_err(io)?;
            } else {
                let auction = newest.saturating_sub((chance >> 20) % 100);
                let (bidder, price) = (chance % 10_000, 100 + (chance >> 32) % 100_000);
                writeln!(
                    bids,
                    r#"{{"ts":"{ts}","bid":{{"auction":{auction},"bidder":{bidder},"price":{price},"channel":"channel-{}","url":"https://www.example.com/item?q={auction}&c={}"}}}}"#,
                    chance % 7,
                    chance % 1_000
                )
                .map_err(io)?;
            }
        }
        bids.flush().map_err(io)?;
        auctions.flush().map_err(io)?;
    }
    std::fs::write(&done, b"").map_err(io)?;
    Ok(data)
}
