//! Flat art: pieces of path in their own coordinates, x right and y down.
//!
//! In:   numbers.
//! Out:  [`Piece`]s. A path that would be empty or not finite is left out.

use tiny_skia::{Path, PathBuilder, Stroke};

use crate::geometry::Bounds;

#[derive(Debug, Clone)]
pub struct Piece {
    pub path: Path,
    /// Overlapping parts of the path are holes.
    pub holes: bool,
    /// Printed in the second colour, where there is one.
    pub second: bool,
}

/// Art under construction.
#[derive(Debug, Default, Clone)]
pub struct Art(pub Vec<Piece>);

impl Art {
    pub fn add(&mut self, path: Option<Path>) -> &mut Art {
        self.piece(path, false, false)
    }

    pub fn second(&mut self, path: Option<Path>) -> &mut Art {
        self.piece(path, false, true)
    }

    pub fn holed(&mut self, path: Option<Path>) -> &mut Art {
        self.piece(path, true, false)
    }

    fn piece(&mut self, path: Option<Path>, holes: bool, second: bool) -> &mut Art {
        self.0.extend(path.map(|path| Piece { path, holes, second }));
        self
    }

    pub fn bounds(&self) -> Option<Bounds> {
        self.0.iter().filter_map(|p| Bounds::of_path(&p.path)).reduce(Bounds::with)
    }

    /// Moved, then scaled.
    pub fn placed(self, dx: f32, dy: f32, scale: f32) -> Art {
        let to = tiny_skia::Transform::from_row(scale, 0.0, 0.0, scale, dx * scale, dy * scale);
        let map = |p: Piece| Some(Piece { path: p.path.transform(to)?, ..p });
        Art(self.0.into_iter().filter_map(map).collect())
    }
}

pub fn polygon(points: &[(f32, f32)]) -> Option<Path> {
    let mut path = PathBuilder::new();
    push_polygon(&mut path, points);
    path.finish()
}

pub fn push_polygon(path: &mut PathBuilder, points: &[(f32, f32)]) {
    for (i, (x, y)) in points.iter().enumerate() {
        if i == 0 { path.move_to(*x, *y) } else { path.line_to(*x, *y) }
    }
    path.close();
}

pub fn push_bar(path: &mut PathBuilder, x: f32, y: f32, width: f32, height: f32) {
    push_polygon(path, &[(x, y), (x + width, y), (x + width, y + height), (x, y + height)]);
}

pub fn bar(x: f32, y: f32, width: f32, height: f32) -> Option<Path> {
    let mut path = PathBuilder::new();
    push_bar(&mut path, x, y, width, height);
    path.finish()
}

/// Points on a circle; `turn` is where the first one stands, in radians clockwise from the top.
pub fn on_circle(n: usize, radius: f32, turn: f32) -> Vec<(f32, f32)> {
    let step = std::f32::consts::TAU / n.max(1) as f32;
    (0..n)
        .map(|i| {
            let (s, c) = libm::sincosf(turn + step * i as f32);
            (radius * s, -radius * c)
        })
        .collect()
}

/// A star whose points lie at `outer`, its notches at `inner`.
pub fn star(points: usize, outer: f32, inner: f32, turn: f32) -> Vec<(f32, f32)> {
    let half = std::f32::consts::PI / points.max(1) as f32;
    let tips = on_circle(points, outer, turn);
    let notches = on_circle(points, inner, turn + half);
    tips.into_iter().zip(notches).flat_map(|(a, b)| [a, b]).collect()
}

/// The outline of an open line of some width.
pub fn line(points: &[(f32, f32)], width: f32) -> Option<Path> {
    let mut path = PathBuilder::new();
    for (i, (x, y)) in points.iter().enumerate() {
        if i == 0 { path.move_to(*x, *y) } else { path.line_to(*x, *y) }
    }
    outlined(&path.finish()?, width)
}

pub fn outlined(path: &Path, width: f32) -> Option<Path> {
    path.stroke(&Stroke { width, ..Stroke::default() }, 40.0 / width.max(0.01))
}

/// A closed smooth curve through the middles of a polygon's sides.
pub fn rounded(points: &[(f32, f32)]) -> Option<Path> {
    let mid = |a: (f32, f32), b: (f32, f32)| ((a.0 + b.0) / 2.0, (a.1 + b.1) / 2.0);
    let (first, last) = (*points.first()?, *points.last()?);
    let start = mid(last, first);
    let mut path = PathBuilder::new();
    path.move_to(start.0, start.1);
    for (i, p) in points.iter().enumerate() {
        let next = points.get(i + 1).copied().unwrap_or(first);
        let to = mid(*p, next);
        path.quad_to(p.0, p.1, to.0, to.1);
    }
    path.close();
    path.finish()
}
