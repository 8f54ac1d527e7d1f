//! From the floor to pixels: a camera above the belt, planes on which things are drawn, boxes.
//!
//! In:   points in floor units: the frame's short side is about 1 at belt height, the origin under the
//!       camera, x right, y down, z towards the floor (a parcel's top has z < 0).
//! Out:  pixels.
//!
//! G1  A plane maps straight lines to straight lines; `inverse` undoes it up to rounding.

use serde::Serialize;
use tiny_skia::{Path, PathBuilder, PathSegment, Point};

/// How far the camera stands from the belt.
const DISTANCE: f32 = 2.4;

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bounds {
    pub x1: f32,
    pub y1: f32,
    pub x2: f32,
    pub y2: f32,
}

impl Bounds {
    pub fn of_points(points: &[Point]) -> Option<Bounds> {
        let first = points.first()?;
        let start = Bounds { x1: first.x, y1: first.y, x2: first.x, y2: first.y };
        Some(points.iter().fold(start, |b, p| Bounds {
            x1: b.x1.min(p.x),
            y1: b.y1.min(p.y),
            x2: b.x2.max(p.x),
            y2: b.y2.max(p.y),
        }))
    }

    pub fn of_path(path: &Path) -> Option<Bounds> {
        let r = path.compute_tight_bounds()?;
        Some(Bounds { x1: r.left(), y1: r.top(), x2: r.right(), y2: r.bottom() })
    }

    pub fn with(self, other: Bounds) -> Bounds {
        Bounds {
            x1: self.x1.min(other.x1),
            y1: self.y1.min(other.y1),
            x2: self.x2.max(other.x2),
            y2: self.y2.max(other.y2),
        }
    }

    /// The part inside a frame, if it has an area.
    pub fn within(self, width: f32, height: f32) -> Option<Bounds> {
        let cut = Bounds {
            x1: self.x1.max(0.0),
            y1: self.y1.max(0.0),
            x2: self.x2.min(width),
            y2: self.y2.min(height),
        };
        (cut.area() > 0.0).then_some(cut)
    }

    pub fn width(&self) -> f32 {
        self.x2 - self.x1
    }

    pub fn height(&self) -> f32 {
        self.y2 - self.y1
    }

    /// 0 for a box that is inside out.
    pub fn area(&self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// Intersection over union, 0 to 1.
    pub fn iou(&self, other: &Bounds) -> f32 {
        let both = Bounds {
            x1: self.x1.max(other.x1),
            y1: self.y1.max(other.y1),
            x2: self.x2.min(other.x2),
            y2: self.y2.min(other.y2),
        }
        .area();
        let all = self.area() + other.area() - both;
        if all > 0.0 { both / all } else { 0.0 }
    }
}

pub struct Camera {
    centre: (f32, f32),
    scale: f32,
    /// Rows: the camera's own axes.
    axes: [[f32; 3]; 3],
}

impl Camera {
    /// `tilt` is in radians about the x and the y axis, `roll` about the line of sight.
    pub fn new(width: u32, height: u32, tilt: (f32, f32), roll: f32) -> Camera {
        let (sx, cx) = libm::sincosf(tilt.0);
        let (sy, cy) = libm::sincosf(tilt.1);
        let (sr, cr) = libm::sincosf(roll);
        let turned = |v: [f32; 3]| {
            let v = [v[0] * cr - v[1] * sr, v[0] * sr + v[1] * cr, v[2]];
            let v = [v[0], v[1] * cx - v[2] * sx, v[1] * sx + v[2] * cx];
            [v[0] * cy + v[2] * sy, v[1], v[2] * cy - v[0] * sy]
        };
        let columns = [turned([1.0, 0.0, 0.0]), turned([0.0, 1.0, 0.0]), turned([0.0, 0.0, 1.0])];
        Camera {
            centre: (width as f32 / 2.0, height as f32 / 2.0),
            scale: width.min(height) as f32,
            axes: [0, 1, 2].map(|r| [columns[0][r], columns[1][r], columns[2][r]]),
        }
    }

    /// Homogeneous pixels of a point (`w` = 1) or of a direction (`w` = 0).
    fn lift(&self, v: [f32; 3], w: f32) -> [f32; 3] {
        let [x, y, z] = self.axes.map(|a| a[0] * v[0] + a[1] * v[1] + a[2] * v[2]);
        let depth = z + DISTANCE * w;
        let focal = DISTANCE * self.scale;
        [focal * x + self.centre.0 * depth, focal * y + self.centre.1 * depth, depth]
    }

    /// The plane through `origin` with axes `u` and `v`.
    pub fn plane(&self, origin: [f32; 3], u: [f32; 3], v: [f32; 3]) -> Plane {
        let (a, b, c) = (self.lift(u, 0.0), self.lift(v, 0.0), self.lift(origin, 1.0));
        Plane([0, 1, 2].map(|r| [a[r], b[r], c[r]]))
    }

    /// The plane of the belt: its x and y are the floor's.
    pub fn belt(&self) -> Plane {
        self.plane([0.0; 3], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    }
}

/// A flat thing in front of the camera, with its own coordinates.
#[derive(Debug, Clone, Copy)]
pub struct Plane([[f32; 3]; 3]);

impl Plane {
    pub fn at(&self, u: f32, v: f32) -> Point {
        let [x, y, w] = self.0.map(|r| r[0] * u + r[1] * v + r[2]);
        let w = if w.abs() < 1e-6 { 1e-6 } else { w };
        Point::from_xy(x / w, y / w)
    }

    /// The same plane with coordinates moved to (`u`, `v`), turned by `angle` and `scale` times as coarse.
    pub fn moved(&self, u: f32, v: f32, angle: f32, scale: f32) -> Plane {
        let (s, c) = libm::sincosf(angle);
        let (s, c) = (s * scale, c * scale);
        Plane(self.0.map(|r| [r[0] * c + r[1] * s, r[1] * c - r[0] * s, r[0] * u + r[1] * v + r[2]]))
    }

    /// From pixels back to coordinates on the plane.
    pub fn inverse(&self) -> Plane {
        let m = &self.0;
        let minor = |r: usize, c: usize| {
            let (r1, r2, c1, c2) = ((r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3);
            m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
        };
        let det = m[0][0] * minor(0, 0) + m[0][1] * minor(0, 1) + m[0][2] * minor(0, 2);
        let det = if det == 0.0 { 1.0 } else { det };
        Plane([0, 1, 2].map(|r| [0, 1, 2].map(|c| minor(c, r) / det)))
    }

    pub fn corners(&self, half_u: f32, half_v: f32) -> [Point; 4] {
        [(-half_u, -half_v), (half_u, -half_v), (half_u, half_v), (-half_u, half_v)]
            .map(|(u, v)| self.at(u, v))
    }

    /// A path on this plane, in pixels. Curves keep their control points, which is exact enough for the
    /// mild perspective of a camera above a belt.
    pub fn project(&self, path: &Path) -> Option<Path> {
        let map = |p: Point| self.at(p.x, p.y);
        let mut out = PathBuilder::new();
        for segment in path.segments() {
            match segment {
                PathSegment::MoveTo(p) => out.move_to(map(p).x, map(p).y),
                PathSegment::LineTo(p) => out.line_to(map(p).x, map(p).y),
                PathSegment::QuadTo(a, p) => {
                    let (a, p) = (map(a), map(p));
                    out.quad_to(a.x, a.y, p.x, p.y);
                }
                PathSegment::CubicTo(a, b, p) => {
                    let (a, b, p) = (map(a), map(b), map(p));
                    out.cubic_to(a.x, a.y, b.x, b.y, p.x, p.y);
                }
                PathSegment::Close => out.close(),
            }
        }
        out.finish()
    }
}

/// Whether `p` lies inside a simple polygon.
pub fn inside(polygon: &[Point], p: Point) -> bool {
    let mut odd = false;
    let mut from = polygon.len().wrapping_sub(1);
    for to in 0..polygon.len() {
        let (a, b) = (polygon[to], polygon[from]);
        if (a.y > p.y) != (b.y > p.y) && p.x < (b.x - a.x) * (p.y - a.y) / (b.y - a.y) + a.x {
            odd = !odd;
        }
        from = to;
    }
    odd
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn straight_above_one_unit_is_the_short_side() {
        let belt = Camera::new(640, 480, (0.0, 0.0), 0.0).belt();
        let (left, right) = (belt.at(-0.5, 0.0), belt.at(0.5, 0.0));
        assert!((right.x - left.x - 480.0).abs() < 1e-2 && (right.y - 240.0).abs() < 1e-2);
    }

    #[test]
    fn an_inverse_leads_back() {
        let plane = Camera::new(320, 320, (0.2, -0.3), 0.7).belt().moved(0.1, -0.2, 1.1, 0.4);
        let back = plane.inverse();
        for (u, v) in [(0.0, 0.0), (0.6, -0.3), (-0.5, 0.9)] {
            let p = plane.at(u, v);
            let q = back.at(p.x, p.y);
            assert!((q.x - u).abs() < 1e-3 && (q.y - v).abs() < 1e-3, "({u},{v}) came back as {q:?}");
        }
    }

    #[test]
    fn what_is_nearer_is_larger() {
        let camera = Camera::new(320, 320, (0.0, 0.0), 0.0);
        let top = camera.plane([0.0, 0.0, -0.3], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]);
        assert!(top.at(0.5, 0.0).x > camera.belt().at(0.5, 0.0).x);
    }

    #[test]
    fn overlap_of_boxes() {
        let a = Bounds { x1: 0.0, y1: 0.0, x2: 10.0, y2: 10.0 };
        let b = Bounds { x1: 5.0, y1: 0.0, x2: 15.0, y2: 10.0 };
        assert!((a.iou(&b) - 1.0 / 3.0).abs() < 1e-6);
        assert_eq!(a.iou(&Bounds { x1: 20.0, y1: 0.0, x2: 30.0, y2: 1.0 }), 0.0);
        assert_eq!(Bounds { x1: -5.0, ..a }.within(8.0, 8.0).map(|b| (b.x1, b.x2)), Some((0.0, 8.0)));
        assert!(Bounds { x1: 9.0, ..a }.within(8.0, 8.0).is_none());
    }

    #[test]
    fn points_and_polygons() {
        let square = [(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)].map(|(x, y)| Point::from_xy(x, y));
        assert!(inside(&square, Point::from_xy(1.0, 3.0)) && !inside(&square, Point::from_xy(5.0, 3.0)));
        assert!(!inside(&[], Point::from_xy(0.0, 0.0)));
    }
}
