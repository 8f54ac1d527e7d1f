//! What becomes of good images and of each kind of bad one.

mod corpus;

use corpus::{Jpeg, chunk, deflate, picture, png_of, png_rows};
use jpeg_encoder::{ColorType, SamplingFactor};
use weir_contract::{Code, Error};
use weir_vision::decode::{Frame, Limits, Reason, decode, header};

fn decoded(bytes: &[u8]) -> Frame {
    decode(bytes, &Limits::default()).unwrap_or_else(|e| panic!("{e}"))
}

#[track_caller]
fn refused(bytes: &[u8], reason: Reason, detail: &str) {
    let found = decode(bytes, &Limits::default()).expect_err("the image was decoded");
    assert_eq!(found.reason, reason, "{found}");
    assert!(found.detail.contains(detail), "{found}");
}

/// Mean difference of two pictures by sample.
fn difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
}

#[test]
fn every_kind_gives_its_pixels() {
    for (name, bytes) in corpus::good() {
        let frame = decode(&bytes, &Limits::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(frame, decoded(&bytes), "{name}");
        let size = if name.ends_with("1×1") { (1, 1) } else { (37, 29) };
        assert_eq!((frame.width(), frame.height()), size, "{name}");
        let want = picture(37, 29, 3);
        match name {
            "png rgb" | "png rgba" | "png rgb 16" | "png rgba 16" | "png interlaced" => {
                assert_eq!(frame.rgb(), want, "{name}");
            }
            "png grey" | "png grey alpha" | "png grey 16" => {
                assert!(frame.rgb().chunks(3).zip(want.chunks(3)).all(|(f, w)| f == [w[0]; 3]), "{name}");
            }
            "png grey 1" => assert_eq!(frame.rgb()[..9], [255, 255, 255, 0, 0, 0, 255, 255, 255]),
            "png palette" => {
                assert!(
                    frame
                        .rgb()
                        .chunks(3)
                        .zip(want.chunks(3))
                        .all(|(f, w)| { f == [w[0], 255 - w[0], w[0] / 2] })
                );
            }
            "png 1×1" => assert_eq!(frame.rgb(), [10, 20, 30]),
            "jpeg grey" | "jpeg progressive grey" => {
                let grey: Vec<u8> = want.chunks(3).flat_map(|p| [p[0]; 3]).collect();
                assert!(difference(frame.rgb(), &grey) < 2.0, "{name}");
            }
            "jpeg cmyk" | "jpeg ycck" | "jpeg 1×1" => {}
            _ => {
                let off = difference(frame.rgb(), &want);
                assert!(off < if name == "jpeg 4:1:1" { 5.0 } else { 2.5 }, "{name}: {off} a sample");
            }
        }
    }
}

/// Ink is what is not reflected: without black, red is 255 less the cyan.
#[test]
fn cmyk_becomes_rgb() {
    for (color, name) in [(ColorType::Cmyk, "cmyk"), (ColorType::CmykAsYcck, "ycck")] {
        for (ink, want) in [([200, 30, 90, 0], [55, 225, 165]), ([0, 0, 0, 255], [0; 3]), ([0; 4], [255; 3])]
        {
            let pixels: Vec<u8> = ink.repeat(32 * 32);
            let jpeg = Jpeg { color, sampling: SamplingFactor::R_4_4_4, ..Jpeg::plain(32, 32) };
            let frame = decoded(&jpeg.bytes_of(&pixels));
            let off = frame.rgb()[..3].iter().zip(want).map(|(f, w): (&u8, u8)| f.abs_diff(w)).max();
            assert!(off <= Some(6), "{name} {ink:?}: {:?}", &frame.rgb()[..3]);
        }
    }
}

#[test]
fn what_is_no_image_is_called_so() {
    refused(b"", Reason::NotAnImage, "no bytes");
    refused(b"GIF89a\x01\0\x01\0", Reason::NotAnImage, "47, 49, 46");
    refused(b"\xFF\xD8", Reason::NotAnImage, "begins with");
    refused(b"<html>503 Service Unavailable</html>", Reason::NotAnImage, "begins with");
    refused(&[0; 4096], Reason::NotAnImage, "begins with");
}

#[test]
fn what_ends_early_is_refused_and_never_filled_with_grey() {
    let limits = Limits::default();
    for (name, bytes) in corpus::good().into_iter().filter(|(name, _)| !name.ends_with("1×1")) {
        for cut in 0..bytes.len() {
            let Err(found) = decode(&bytes[..cut], &limits) else {
                panic!("{name} cut at {cut} of {} was decoded", bytes.len())
            };
            let early = matches!(found.reason, Reason::Truncated | Reason::NotAnImage | Reason::Corrupt);
            assert!(early, "{name} cut at {cut}: {found}");
            if cut >= 8 {
                assert_eq!(found.reason, Reason::Truncated, "{name} cut at {cut}: {found}");
            }
        }
    }
}

/// An Exif thumbnail has an end marker of its own.
#[test]
fn a_thumbnails_end_is_not_the_images_end() {
    let whole = Jpeg::plain(64, 64).bytes();
    let mut exif = b"Exif\0\0".to_vec();
    exif.extend(Jpeg::plain(8, 8).bytes());
    let mut bytes = whole[..2].to_vec();
    bytes.extend([0xFF, 0xE1]);
    bytes.extend(((exif.len() + 2) as u16).to_be_bytes());
    bytes.extend(&exif);
    bytes.extend(&whole[2..]);
    assert_eq!(decoded(&bytes), decoded(&whole));
    refused(&bytes[..bytes.len() - 2], Reason::Truncated, "no end marker");
}

/// The tag says "turn by 90°"; the pixels stay as the camera sent them.
#[test]
fn exif_orientation_is_not_applied() {
    let whole = Jpeg::plain(48, 16).bytes();
    let tiff = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let mut bytes = whole[..2].to_vec();
    bytes.extend([0xFF, 0xE1]);
    bytes.extend(((tiff.len() + 2) as u16).to_be_bytes());
    bytes.extend(tiff);
    bytes.extend(&whole[2..]);
    let frame = decoded(&bytes);
    assert_eq!((frame.width(), frame.height()), (48, 16));
    assert_eq!(frame, decoded(&whole));
}

fn sized_jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = Jpeg::plain(16, 16).bytes();
    let sof = bytes.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    bytes[sof + 5..sof + 7].copy_from_slice(&height.to_be_bytes());
    bytes[sof + 7..sof + 9].copy_from_slice(&width.to_be_bytes());
    bytes
}

#[test]
fn size_is_judged_by_the_header() {
    refused(&sized_jpeg(50_000, 50_000), Reason::TooLarge, "50000×50000");
    refused(&sized_jpeg(8193, 1), Reason::TooLarge, "8193×1");
    refused(&sized_jpeg(4097, 4096), Reason::TooLarge, "at most 8192 a side and 16777216 in all");
    refused(&sized_jpeg(0, 16), Reason::Corrupt, "0×16");
    refused(&sized_jpeg(16, 0), Reason::Corrupt, "16×0");
    let png = |w, h| png_of(w, h, 8, 2, false, &[], &deflate(&[0; 64]));
    refused(&png(50_000, 50_000), Reason::TooLarge, "50000×50000");
    refused(&png(u32::MAX, u32::MAX), Reason::TooLarge, "4294967295×4294967295");
    refused(&png(0, 1), Reason::Corrupt, "0×1");
    refused(&vec![0xFF; (8 << 20) + 1], Reason::TooManyBytes, "at most 8388608");

    let small = Limits { alloc_bytes_max: 3 * 37 * 29 - 1, ..Limits::default() };
    let found = decode(&Jpeg::plain(37, 29).bytes(), &small).unwrap_err();
    assert_eq!(found.reason, Reason::TooMuchMemory, "{found}");
    assert_eq!(header(&Jpeg::plain(37, 29).bytes(), &Limits::default()).unwrap().alloc_bytes, 3 * 37 * 29);
}

#[test]
fn what_no_camera_sends_is_unsupported() {
    let with = |from: [u8; 2], to: [u8; 2]| {
        let mut bytes = Jpeg::plain(16, 16).bytes();
        let at = bytes.windows(2).position(|w| w == from).unwrap();
        bytes[at..at + 2].copy_from_slice(&to);
        bytes
    };
    refused(&with([0xFF, 0xC0], [0xFF, 0xC3]), Reason::Unsupported, "JPEG process 0xc3");
    refused(&with([0xFF, 0xC0], [0xFF, 0xC9]), Reason::Unsupported, "JPEG process 0xc9");
    let mut deep = Jpeg::plain(16, 16).bytes();
    let sof = deep.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    deep[sof + 4] = 12;
    refused(&deep, Reason::Unsupported, "12 bits a sample");
    let mut odd = Jpeg::plain(16, 16).bytes();
    odd[sof + 11] = 0x31;
    refused(&odd, Reason::Unsupported, "chroma sampling 3×1");
}

#[test]
fn damage_is_corrupt() {
    let rows = png_rows(&picture(8, 8, 3), 24);
    let mut sum = png_of(8, 8, 8, 2, false, &[], &deflate(&rows));
    let at = sum.len() - 20;
    sum[at] ^= 1;
    refused(&sum, Reason::Corrupt, "");
    refused(&png_of(8, 8, 3, 2, false, &[], &deflate(&rows)), Reason::Corrupt, "");
    refused(&png_of(8, 8, 8, 3, false, &[], &deflate(&rows)), Reason::Corrupt, "");
    refused(&png_of(8, 9, 8, 2, false, &[], &deflate(&rows)), Reason::Corrupt, "");
    let two = [chunk(b"IHDR", &[0; 13])];
    refused(&png_of(8, 8, 8, 2, false, &two, &deflate(&rows)), Reason::Corrupt, "");
    let whole = Jpeg::plain(16, 16).bytes();
    let twice = [&whole[..whole.len() - 2], &whole].concat();
    refused(&twice, Reason::Corrupt, "");
    refused(&[0xFF, 0xD8, 0xFF, 0xD9], Reason::Corrupt, "ends before its pixels");
}

#[test]
fn a_refusal_is_an_error_with_a_code_and_one_short_line() {
    let error: Error = decode(b"GIF89a", &Limits::default()).unwrap_err().into();
    assert_eq!(error.code(), Code::BadImage);
    assert_eq!(error.what(), "not_an_image: begins with [47, 49, 46, 38, 39, 61]");
    assert_eq!(error.expectation(), Some("a JPEG or PNG"));
    let error: Error = decode(&sized_jpeg(9000, 9000), &Limits::default()).unwrap_err().into();
    assert_eq!(error.code(), Code::ImageTooLarge);
    for (_, bytes) in corpus::good() {
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x55;
            if let Err(found) = decode(&bytes, &Limits::default()) {
                assert!(found.detail.chars().count() <= 200 && !found.detail.contains(char::is_control));
                assert!(Reason::ALL.contains(&found.reason));
            }
        }
    }
}
