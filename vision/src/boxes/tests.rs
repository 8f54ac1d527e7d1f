//! Boxes against a twin that counts cells and picks one box after the other.

use proptest::prelude::*;

use super::{Area, Letterbox, Scored, suppress};

/// Cells of a 40 × 40 grid that lie in both, and in either.
fn cells(a: &Area, b: &Area) -> (u32, u32) {
    let inside = |r: &Area, x: u32, y: u32| {
        (r.x1 as u32..r.x2 as u32).contains(&x) && (r.y1 as u32..r.y2 as u32).contains(&y)
    };
    let (mut both, mut either) = (0, 0);
    for y in 0..40 {
        for x in 0..40 {
            let (in_a, in_b) = (inside(a, x, y), inside(b, x, y));
            both += u32::from(in_a && in_b);
            either += u32::from(in_a || in_b);
        }
    }
    (both, either)
}

/// Takes the best, strikes out what overlaps it, and begins again.
fn twin(found: &[Scored], twentieths: u32, keep_max: usize) -> Vec<Scored> {
    let mut left: Vec<Option<Scored>> = found.iter().copied().map(Some).collect();
    let mut kept = Vec::new();
    while kept.len() < keep_max {
        let mut best: Option<Scored> = None;
        for one in left.iter().flatten() {
            if best.is_none_or(|b| one.score > b.score) {
                best = Some(*one);
            }
        }
        let Some(best) = best else { break };
        kept.push(best);
        let mut taken = false;
        for slot in &mut left {
            let Some(one) = *slot else { continue };
            let (both, either) = cells(&best.area, &one.area);
            let over = one.class == best.class && both * 20 > twentieths * either;
            if over || (!taken && one == best) {
                taken |= one == best;
                *slot = None;
            }
        }
    }
    kept
}

fn area() -> impl Strategy<Value = Area> {
    (0_u8..39, 0_u8..39, 1_u8..40, 1_u8..40).prop_map(|(x, y, w, h)| {
        let (x2, y2) = ((x + w).min(40), (y + h).min(40));
        Area::new(f32::from(x), f32::from(y), f32::from(x2), f32::from(y2))
    })
}

fn scored() -> impl Strategy<Value = Scored> {
    // Few scores and classes: ties and heaps are what is to be tested.
    (area(), 0_u32..3, 0_u8..6).prop_map(|(area, class, tenth)| Scored {
        class,
        score: f32::from(tenth) / 10.0,
        area,
    })
}

proptest! {
    #[test]
    fn overlap_is_the_share_of_cells(a in area(), b in area()) {
        let (both, either) = cells(&a, &b);
        prop_assert_eq!(a.overlap(&b), both as f32 / either as f32);
        prop_assert_eq!(a.overlap(&b), b.overlap(&a));
        prop_assert_eq!(a.overlap(&a), 1.0);
    }

    #[test]
    fn suppression_does_what_the_twin_does(
        found in prop::collection::vec(scored(), 0..40), twentieths in 0_u32..20, keep_max in 1_usize..45,
    ) {
        let kept = suppress(found.clone(), twentieths as f32 / 20.0, keep_max);
        prop_assert_eq!(&kept, &twin(&found, twentieths, keep_max));
        prop_assert!(kept.len() <= keep_max);
        prop_assert!(kept.windows(2).all(|w| w[0].score >= w[1].score));
    }

    #[test]
    fn a_letterbox_leads_back(
        frame in (1_u32..5000, 1_u32..5000), input in (32_u32..1300, 32_u32..1300),
        corners in (0.0_f32..1.0, 0.0_f32..1.0, 0.0_f32..1.0, 0.0_f32..1.0),
    ) {
        let way = Letterbox::new(frame, input);
        // It fits, it touches two sides, and it is centred to a pixel.
        prop_assert!(way.scaled.0 <= input.0 && way.scaled.1 <= input.1);
        prop_assert!(way.scaled.0 == input.0 || way.scaled.1 == input.1);
        let rest = |all: u32, part: u32, corner: u32| all - part - corner;
        prop_assert!(rest(input.0, way.scaled.0, way.corner.0) - way.corner.0 <= 1);
        prop_assert!(rest(input.1, way.scaled.1, way.corner.1) - way.corner.1 <= 1);
        let (w, h) = (frame.0 as f32, frame.1 as f32);
        let there = Area::new(corners.0 * w, corners.1 * h, corners.2 * w, corners.3 * h);
        let back = way.to_frame(way.to_input(there));
        // Half a pixel of the input at most; here only floats differ.
        let slack = (w + h) * 1e-5 + 1e-3;
        for (a, b) in [(there.x1, back.x1), (there.y1, back.y1), (there.x2, back.x2), (there.y2, back.y2)] {
            prop_assert!((a - b).abs() <= slack, "{a} {b}");
        }
        let whole = way.to_frame(Area::new(
            way.corner.0 as f32, way.corner.1 as f32,
            (way.corner.0 + way.scaled.0) as f32, (way.corner.1 + way.scaled.1) as f32,
        ));
        prop_assert!((whole.x2 - w).abs() <= slack && (whole.y2 - h).abs() <= slack && whole.x1 == 0.0);
    }
}

#[test]
fn boxes_that_are_none_overlap_nothing() {
    let real = Area::new(0.0, 0.0, 10.0, 10.0);
    let turned = Area::new(10.0, 10.0, 0.0, 0.0);
    let none = Area::new(f32::NAN, 0.0, 10.0, 10.0);
    let endless = Area::new(0.0, 0.0, f32::INFINITY, 10.0);
    let line = Area::new(3.0, 0.0, 3.0, 10.0);
    for other in [turned, none, endless, line] {
        assert!(!other.is_real());
        assert_eq!((other.size(), real.overlap(&other), other.overlap(&real)), (0.0, 0.0, 0.0));
    }
}

#[test]
fn a_720p_frame_in_a_square_of_320() {
    let way = Letterbox::new((1280, 720), (320, 320));
    assert_eq!((way.scaled, way.corner), ((320, 180), (0, 70)));
    let found = way.to_frame(Area::new(80.0, 70.0, 160.0, 160.0));
    assert_eq!(found, Area::new(320.0, 0.0, 640.0, 360.0));
    assert_eq!(found.grown(0.1, 1280, 720), Area::new(288.0, 0.0, 672.0, 396.0));
    let outside = way.to_frame(Area::new(0.0, 0.0, 320.0, 60.0)).within(1280, 720);
    assert!(!outside.is_real());
}
