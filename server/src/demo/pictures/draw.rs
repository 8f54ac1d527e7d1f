//! Draws what the cameras of a few minutes see, and writes a script for each device.
//!
//! In:   shots. Out: `STATION/000000.jpg`, … and `STATION/script.jsonl` in a folder.
//! Owns: nothing; the same shots give the same files.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use weir_contract::{Code, Error, EventTime, Result};
use weir_engine::run::Stop;
use weir_render::{Barcode, Brand, Shown, render, station};
use weir_sim::shots::{Moment, Shift, Shots};

/// Width and height of a frame in pixels.
pub const SIZE: (u32, u32) = (480, 480);

pub const SCRIPT: &str = "script.jsonl";

struct Job<'a> {
    shift: &'a Shift,
    number: usize,
    at: EventTime,
    parcels: &'a [usize],
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::of_io(error, path)
}

fn name_of(number: usize) -> String {
    format!("{number:06}.jpg")
}

/// Gives the number of frames; fewer are there where it was stopped.
pub fn draw(shots: &Shots, folder: &Path, threads: usize, stop: &Stop) -> Result<usize> {
    let mut jobs = Vec::new();
    for shift in &shots.shifts {
        let own = folder.join(&shift.station.id);
        std::fs::create_dir_all(&own).map_err(|e| failed(&own, &e))?;
        let mut script = String::new();
        let mut number = 0;
        for moment in &shift.moments {
            let line = match moment {
                Moment::Scan { at, code } => json!({"at": at.to_string(), "scan": code}),
                Moment::Frame { at, parcels } => {
                    jobs.push(Job { shift, number, at: *at, parcels });
                    number += 1;
                    json!({"at": at.to_string(), "frame": name_of(number - 1)})
                }
            };
            let _ = writeln!(script, "{line}");
        }
        let _ = writeln!(script, "{}", json!({"at": shots.truth.to.to_string()}));
        let path = own.join(SCRIPT);
        std::fs::write(&path, script).map_err(|e| failed(&path, &e))?;
    }
    let (next, first_fault) = (AtomicUsize::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if stop.stopping() {
                        return;
                    }
                    if let Err(error) = one(shots, folder, job) {
                        first_fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        return;
                    }
                }
            });
        }
    });
    match first_fault.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(jobs.len()),
    }
}

fn one(shots: &Shots, folder: &Path, job: &Job<'_>) -> Result<()> {
    let seconds = |us: i64| us as f64 / 1e6;
    let shown: Vec<Shown> = job
        .parcels
        .iter()
        .filter_map(|n| job.shift.parcels.get(*n))
        .map(|parcel| Shown {
            parcel: parcel.id.clone(),
            marks: parcel.marks.iter().filter_map(|name| Brand::of_name(name)).collect(),
            barcode: Barcode::of(&parcel.barcode).ok(),
            since_s: seconds(job.at.0 - parcel.at.0) as f32,
        })
        .collect();
    let id = &job.shift.station.id;
    let scene = station::scene(id, seconds(job.at.0 - shots.truth.from.0), &shown);
    // Noise of its own for each frame: two of the same still place are two frames.
    let noise = shots.truth.seed << 40 ^ u64::from(crc(id)) << 20 ^ job.number as u64;
    let drawn = render(&scene, SIZE, noise).and_then(|picture| picture.jpeg());
    let bytes = drawn.map_err(|e| Error::new(Code::Internal, format!("a frame was not drawn: {e}")))?;
    let path = folder.join(id).join(name_of(job.number));
    std::fs::write(&path, bytes).map_err(|e| failed(&path, &e))
}

/// Spreads a station's name over twenty bits.
fn crc(name: &str) -> u32 {
    weir_contract::partitioner::murmur2(name.as_bytes()) & 0xf_ffff
}
