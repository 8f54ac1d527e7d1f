//! Rendered barcodes: what is read, what is sure, where it stands.

#[path = "../benches/render.rs"]
#[allow(dead_code)]
mod render;

use render::{Chance, Code, code, render};
use weir_contract::Code as ErrorCode;
use weir_vision::barcode::{Method, NothingKnown, Reader, Reading, Symbology};
use weir_vision::boxes::Area;
use weir_vision::decode::Frame;
use weir_vision::stop::Stop;

fn read(frame: &Frame, boxes: &[Area]) -> Vec<Reading> {
    Reader::new(&Symbology::ALL).read(frame, boxes, &NothingKnown, &Stop::default()).unwrap()
}

/// Grey paper with codes at places.
fn desk(width: u32, height: u32, frames: &[(&Frame, u32, u32)]) -> Frame {
    let mut rgb = vec![140; (width * height * 3) as usize];
    for (frame, left, top) in frames {
        for (y, row) in frame.rgb().chunks_exact(frame.width() as usize * 3).enumerate() {
            let at = ((*top as usize + y) * width as usize + *left as usize) * 3;
            rgb[at..at + row.len()].copy_from_slice(row);
        }
    }
    Frame::new(width, height, rgb).unwrap()
}

#[test]
fn clear_codes_are_read_surely_upright_and_turned() {
    for symbology in Symbology::ALL {
        let mut chance = Chance(symbology as u64 + 1);
        for (number, degrees) in [0.0, 90.0, 180.0, 10.0, -10.0].into_iter().enumerate() {
            let code = code(symbology, &mut chance);
            let frame = render(&code, 3.0, degrees, 0.3, &mut chance);
            let found = read(&frame, &[]);
            let [one] = &found[..] else { panic!("{symbology:?} {degrees}°: {found:?}") };
            assert!(one.is_sure() && !one.known && one.read_count >= 2, "{one:?}");
            assert_eq!((one.symbology, &one.text), (symbology, &code.text), "number {number}");
            // Along the line that was read: longer by the cosine where it crosses at an angle.
            let along =
                if symbology == Symbology::Qr { 1.0 } else { f64::cos(degrees.to_radians()).abs().max(0.98) };
            let off = f64::from(one.px_per_module) / (3.0 / along) - 1.0;
            assert!(off.abs() < 0.05, "{symbology:?} {degrees}°: {} px a module", one.px_per_module);
        }
    }
}

#[test]
fn a_code_is_where_the_points_are() {
    let mut chance = Chance(3);
    let ean = code(Symbology::Ean13, &mut chance);
    let qr = code(Symbology::Qr, &mut chance);
    let (upright, turned) =
        (render(&ean, 2.5, 0.0, 0.3, &mut chance), render(&ean, 2.5, 90.0, 0.3, &mut chance));
    let square = render(&qr, 4.0, 0.0, 0.3, &mut chance);
    let frame = desk(1400, 900, &[(&upright, 100, 60), (&turned, 700, 400), (&square, 60, 500)]);
    let size = |f: &Frame| (f.width() as f32, f.height() as f32);
    let area = |f: &Frame, x: f32, y: f32| Area::new(x, y, x + size(f).0, y + size(f).1);

    let found = read(&frame, &[area(&upright, 100.0, 60.0)]);
    assert_eq!((found.len(), &found[0].text), (1, &ean.text));
    let (a, b) = (found[0].points[0], found[0].points[1]);
    // Guards stand 11.5 modules from the edges; the frame is a pixel larger at each side.
    assert!((a.0 - (101.0 + 11.5 * 2.5)).abs() < 4.0, "{a:?}");
    assert!((b.0 - (101.0 + (10.0 + 93.5) * 2.5)).abs() < 4.0, "{b:?}");
    assert!(a.1 > 60.0 && a.1 < 60.0 + size(&upright).1);

    let found = read(&frame, &[area(&turned, 700.0, 400.0)]);
    assert_eq!((found.len(), &found[0].text, found[0].method), (1, &ean.text, Method::Turned));
    let (a, b) = (found[0].points[0], found[0].points[1]);
    assert!((a.0 - b.0).abs() < 2.0 && ((a.1 - b.1).abs() - 92.0 * 2.5).abs() < 8.0, "{a:?} {b:?}");
    assert!(a.0 > 700.0 && a.0 < 700.0 + size(&turned).0 && a.1.min(b.1) > 400.0);

    let found = read(&frame, &[area(&square, 60.0, 500.0)]);
    assert_eq!((found.len(), &found[0].text, found[0].points.len()), (1, &qr.text, 4));
    let left = found[0].points.iter().map(|p| p.0).fold(f32::MAX, f32::min);
    let top = found[0].points.iter().map(|p| p.1).fold(f32::MAX, f32::min);
    assert!((left - 101.0).abs() < 5.0 && (top - 541.0).abs() < 5.0, "{left} {top}");

    // Three boxes, two of them around one code: two codes, and the double is one reading.
    let boxes = [area(&upright, 100.0, 60.0), area(&upright, 105.0, 62.0), area(&square, 60.0, 500.0)];
    let mut texts: Vec<String> = read(&frame, &boxes).into_iter().map(|r| r.text).collect();
    texts.sort();
    let mut want = [ean.text.clone(), qr.text.clone()];
    want.sort();
    assert_eq!(texts, want);
}

#[test]
fn nothing_is_read_where_nothing_is() {
    let mut chance = Chance(4);
    let noise: Vec<u8> = (0..640 * 480 * 3).map(|_| chance.word() as u8).collect();
    let stripes: Vec<u8> = (0..640 * 480).flat_map(|i| [if i / 7 % 2 == 0 { 30 } else { 220 }; 3]).collect();
    for rgb in [noise, stripes, vec![0; 640 * 480 * 3], vec![255; 640 * 480 * 3]] {
        assert_eq!(read(&Frame::new(640, 480, rgb).unwrap(), &[]), []);
    }
    for (width, height) in [(1, 1), (1, 500), (500, 1), (3, 3), (2, 2)] {
        let frame = Frame::new(width, height, vec![200; (width * height * 3) as usize]).unwrap();
        assert_eq!(read(&frame, &[]), []);
        let odd = [
            Area::new(f32::NAN, 0.0, 1.0, 1.0),
            Area::new(5.0, 5.0, 4.0, 4.0),
            Area::new(-9.0, -9.0, 900.0, 900.0),
        ];
        assert_eq!(read(&frame, &odd), []);
    }
}

#[test]
fn only_listed_symbologies_are_read() {
    let mut chance = Chance(5);
    for symbology in Symbology::ALL {
        let code = code(symbology, &mut chance);
        let frame = render(&code, 3.0, 0.0, 0.0, &mut chance);
        let others: Vec<Symbology> = Symbology::ALL.into_iter().filter(|s| *s != symbology).collect();
        let found = Reader::new(&others).read(&frame, &[], &NothingKnown, &Stop::default()).unwrap();
        // An UPC-A is an EAN-13 that begins with 0, where only that is listed.
        let twin = symbology == Symbology::UpcA && found.iter().all(|r| r.text == format!("0{}", code.text));
        assert!(found.is_empty() || twin, "{symbology:?}: {found:?}");
        assert_eq!(Reader::new(&[]).read(&frame, &[], &NothingKnown, &Stop::default()).unwrap(), []);
        assert_eq!(Symbology::of(symbology.word()), Some(symbology));
    }
}

/// One look is enough for a code that the site knows; it ends the search.
#[test]
fn a_known_code_is_sure_at_the_first_look() {
    let mut chance = Chance(6);
    let code = code(Symbology::Ean13, &mut chance);
    let frame = render(&code, 3.0, 0.0, 0.0, &mut chance);
    let text = code.text.clone();
    let known = move |symbology: Symbology, found: &str| symbology == Symbology::Ean13 && found == text;
    let found = Reader::new(&Symbology::ALL).read(&frame, &[], &known, &Stop::default()).unwrap();
    assert_eq!((found.len(), found[0].read_count, found[0].known), (1, 1, true));
    assert!(found[0].is_sure());
    let found = read(&frame, &[]);
    assert_eq!((found[0].read_count, found[0].known), (2, false));
}

#[test]
fn a_stop_ends_the_search() {
    let mut chance = Chance(8);
    let frame = render(&code(Symbology::Qr, &mut chance), 3.0, 0.0, 0.0, &mut chance);
    let stop = Stop::default();
    stop.stop();
    let error = Reader::new(&Symbology::ALL).read(&frame, &[], &NothingKnown, &stop).unwrap_err();
    assert_eq!(error.code(), ErrorCode::TooSlow);
}

/// The bench's pictures at the size where every symbology is read: none wrong.
#[test]
fn the_bench_cannot_rot() {
    let mut chance = Chance(9);
    let mut sure = 0;
    for symbology in Symbology::ALL {
        for blur in [0.0, 0.6, 1.0] {
            let one: Code = code(symbology, &mut chance);
            for found in read(&render(&one, 4.0, 0.0, blur, &mut chance), &[]).iter().filter(|r| r.is_sure())
            {
                assert_eq!((found.symbology, &found.text), (symbology, &one.text));
                sure += 1;
            }
        }
    }
    assert!(sure >= 11, "{sure} of 12");
}
