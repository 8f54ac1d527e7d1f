//! Hostile images under a counting allocator: bounded memory, bounded time, no panic.
//!
//! `mutants_are_pixels_or_a_reason` is the fuzz target that runs in CI: a fixed number of mutants from
//! one seed. `WEIR_MUTANTS` and `WEIR_SEED` make it longer or other.

mod corpus;
#[path = "support/cpu.rs"]
mod cpu;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard};

use corpus::{Chance, Jpeg, chunk, deflate, deflate_zeros, png_of};
use cpu::cpu;
use jpeg_encoder::{ColorType, SamplingFactor};
use peak_alloc::PeakAlloc;
use weir_vision::decode::{Frame, Limits, OVERHEAD_BYTES, PANICKED, Reason, Refused, decode, header};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// The counts are the whole process's.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|e| e.into_inner())
}

/// Decodes, and checks memory against the header's promise.
#[track_caller]
fn measured(bytes: &[u8], limits: &Limits) -> (Result<Frame, Refused>, u64) {
    let promised = header(bytes, limits).map_or(0, |h| h.alloc_bytes);
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let found = decode(bytes, limits);
    let used = (HEAP.peak_usage() - before) as u64;
    let most = promised + OVERHEAD_BYTES + bytes.len() as u64;
    assert!(used <= most, "{used} bytes were used, {promised} promised: {found:?}");
    assert!(promised <= limits.alloc_bytes_max);
    (found, used)
}

#[test]
fn the_largest_images_stay_within_what_their_headers_promise() {
    let _alone = alone();
    let limits = Limits::default();
    let flat = vec![127_u8; 4096 * 4096 * 4];
    let mut worst = 0;
    for (progressive, color, sampling) in [
        (false, ColorType::Rgb, SamplingFactor::R_4_2_0),
        (false, ColorType::Rgb, SamplingFactor::R_4_4_4),
        (true, ColorType::Rgb, SamplingFactor::R_4_2_0),
        (true, ColorType::Rgb, SamplingFactor::R_4_4_4),
        (true, ColorType::Luma, SamplingFactor::R_4_4_4),
        (false, ColorType::Cmyk, SamplingFactor::R_4_4_4),
    ] {
        let channels = match color {
            ColorType::Luma => 1,
            ColorType::Rgb => 3,
            _ => 4,
        };
        let jpeg = Jpeg { width: 4096, height: 4096, color, sampling, progressive, restart: 0 };
        let bytes = jpeg.bytes_of(&flat[..4096 * 4096 * channels]);
        let (found, used) = measured(&bytes, &limits);
        assert!(found.is_ok(), "{color:?} {found:?}");
        worst = worst.max(used);
    }
    // Four planes of coefficients do not fit: told by the header.
    let jpeg = Jpeg {
        width: 4096,
        height: 4096,
        color: ColorType::Cmyk,
        sampling: SamplingFactor::R_4_4_4,
        progressive: true,
        restart: 0,
    };
    let (found, used) = measured(&jpeg.bytes_of(&flat), &limits);
    assert_eq!(found.unwrap_err().reason, Reason::TooMuchMemory);
    assert!(used < 4096, "{used} bytes for a header");
    // 128 MB of RGBA in 16 bits out of some 130 KB.
    let zeros = deflate_zeros(4096 * (4096 * 8 + 1));
    for interlaced in [false, true] {
        let (found, used) = measured(&png_of(4096, 4096, 16, 6, interlaced, &[], &zeros), &limits);
        // As interlaced rows the zeros are fewer than the seven passes have, or just enough.
        assert!(found.is_ok() || interlaced, "{found:?}");
        worst = worst.max(used);
    }
    println!("the most that one image used: {worst} bytes");
    assert!(worst <= limits.alloc_bytes_max + OVERHEAD_BYTES);
}

#[test]
fn a_bomb_is_refused_or_costs_no_more_than_its_pixels() {
    let _alone = alone();
    let limits = Limits::default();
    let bomb = deflate_zeros(1 << 30);
    let text = [b"Comment\0\0".as_slice(), &bomb].concat();
    let profile = [b"icc\0\0".as_slice(), &bomb].concat();
    let international = [b"Comment\0\x01\0\0\0".as_slice(), &bomb].concat();
    let pixel = deflate(&[0, 10, 20, 30]);
    let cases = [
        ("a gigabyte behind one pixel", png_of(1, 1, 8, 2, false, &[], &bomb)),
        ("zTXt", png_of(1, 1, 8, 2, false, &[chunk(b"zTXt", &text)], &pixel)),
        ("iTXt", png_of(1, 1, 8, 2, false, &[chunk(b"iTXt", &international)], &pixel)),
        ("iCCP", png_of(1, 1, 8, 2, false, &[chunk(b"iCCP", &profile)], &pixel)),
        ("100000×100000", png_of(100_000, 100_000, 1, 0, false, &[], &bomb)),
        ("8192×8192", png_of(8192, 8192, 8, 2, false, &[], &bomb)),
    ];
    for (name, bytes) in cases {
        let begun = cpu();
        let (found, used) = measured(&bytes, &limits);
        let took = cpu() - begun;
        println!("{name}: {} bytes, {used} used, {took:?}, {found:?}", bytes.len());
        assert!(used < 8 << 20, "{name}: {used} bytes");
        assert!(took.as_millis() < 1000, "{name}: {took:?}");
        match name {
            "100000×100000" | "8192×8192" => {
                assert_eq!(found.unwrap_err().reason, Reason::TooLarge, "{name}")
            }
            _ => assert!(found.is_ok(), "{name}: {found:?}"),
        }
    }
}

/// A progressive image may repeat scans that say nothing: each costs a pass over the planes.
#[test]
fn scans_without_end_are_cut_off() {
    let _alone = alone();
    let limits = Limits::default();
    let jpeg = Jpeg { progressive: true, color: ColorType::Luma, ..Jpeg::plain(2048, 2048) };
    let whole = jpeg.bytes_of(&vec![90; 2048 * 2048]);
    let scan = whole.windows(2).rposition(|w| w == [0xFF, 0xDA]).unwrap();
    let (head, last) = (&whole[..scan], &whole[scan..whole.len() - 2]);
    let mut bytes = head.to_vec();
    (0..100).for_each(|_| bytes.extend_from_slice(last));
    bytes.extend([0xFF, 0xD9]);
    let begun = cpu();
    let (found, _) = measured(&bytes, &limits);
    let took = cpu() - begun;
    println!("100 more scans of 4 Mpx: {took:?}, {found:?}");
    assert_eq!(found.unwrap_err().reason, Reason::Corrupt);
    assert!(took.as_secs() < 10, "{took:?}");
}

fn mutant(chance: &mut Chance, seeds: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = seeds[chance.below(seeds.len())].1.clone();
    for _ in 0..=chance.below(4) {
        let length = bytes.len();
        let at = chance.below(length);
        match chance.below(8) {
            0 if length > 0 => bytes[at] ^= 1 << chance.below(8),
            1 if length > 0 => bytes[at] = chance.word() as u8,
            2 if length > 0 => bytes[at] = [0, 0xFF, 0x7F, 0x80, 1, 0xD9, 0xDA, 0xC4][chance.below(8)],
            3 => bytes.truncate(at),
            4 => {
                let end = (at + chance.below(64)).min(length);
                let part = bytes[at..end].to_vec();
                let to = chance.below(length);
                bytes.splice(to..to, part);
            }
            5 => {
                let end = (at + chance.below(64)).min(length);
                bytes.drain(at..end);
            }
            6 => {
                let other = &seeds[chance.below(seeds.len())].1;
                let from = chance.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => {
                let end = (at + 4).min(length);
                let word = chance.word().to_be_bytes();
                bytes[at..end].copy_from_slice(&word[..end - at]);
            }
        }
    }
    // Half of the PNGs get past their checksums.
    if chance.below(2) == 0 && bytes.starts_with(b"\x89PNG") {
        corpus::mend_png(&mut bytes);
    }
    bytes
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

#[test]
fn mutants_are_pixels_or_a_reason() {
    let _alone = alone();
    let (seed, count) = (number("WEIR_SEED", 20_261_121), number("WEIR_MUTANTS", 20_000));
    let mut chance = Chance(seed);
    let seeds = corpus::good();
    let limits = Limits::default();
    let (mut pixels, mut panics, mut worst) = (0_u64, 0_u64, 0_u64);
    let mut reasons = std::collections::BTreeMap::new();
    for number in 0..count {
        let bytes = mutant(&mut chance, &seeds);
        // Without the hook: a backtrace takes 30 MB of its own.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let found = catch_unwind(AssertUnwindSafe(|| measured(&bytes, &limits)));
        std::panic::set_hook(hook);
        let (found, used) = found.unwrap_or_else(|cause| {
            let text = cause.downcast_ref::<String>().map_or("a panic", String::as_str);
            panic!("mutant {number} of seed {seed}: {text}")
        });
        worst = worst.max(used);
        match found {
            Ok(frame) => {
                pixels += 1;
                let size = u64::from(frame.width()) * u64::from(frame.height());
                assert!(size <= limits.pixels_max && frame.rgb().len() as u64 == size * 3);
            }
            Err(refused) => {
                panics += u64::from(refused.detail == PANICKED);
                *reasons.entry(refused.reason.word()).or_insert(0_u64) += 1;
            }
        }
    }
    println!("{count} mutants, seed {seed}: {pixels} gave pixels, {reasons:?}");
    println!("{panics} panics of a decoder were caught; at most {worst} bytes were used");
    assert_eq!(pixels + reasons.values().sum::<u64>(), count);
    // The mutants reach deep: else this test would say little.
    if count >= 20_000 {
        assert!(pixels > count / 20, "{pixels}");
        assert!(reasons.len() >= 5, "{reasons:?}");
    }
}
