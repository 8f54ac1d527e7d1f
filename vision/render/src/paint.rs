//! Parcels, with what is on them, onto a picture.
//!
//! In:   parcels and blobs in their order.
//! Out:  paint, and [`Seen`]: what could be in the truth, with how much of it nothing later covers.
//! Owns: the order of drawing: shadow, sides, top, tape, marks and labels, straps; then the next parcel.

use tiny_skia::{Color, FillRule, Paint, Path, Pixmap, Point, Shader, Transform};

use crate::brand::Brand;
use crate::dice::Dice;
use crate::geometry::{Bounds, Camera, Plane, inside};
use crate::picture::Class;
use crate::scene::{Blob, Ink, Kind, Layout, Material, Parcel, Rgb, Thing};
use crate::shape::{Art, bar, line, on_circle, polygon, push_bar, rounded};
use crate::text::{Font, Fonts};

/// Places looked at along each side of a thing to tell how much of it can be seen.
const SAMPLES: usize = 16;

/// Something that the truth may name.
pub struct Seen {
    pub class: Class,
    pub text: Option<String>,
    pub bounds: Bounds,
    samples: Vec<Point>,
    /// How many covers lay there when it was drawn: only later ones hide it.
    covers_before: usize,
}

pub struct Painter<'a> {
    pub pixels: &'a mut Pixmap,
    pub fonts: &'a Fonts,
    pub seen: Vec<Seen>,
    covers: Vec<Vec<Point>>,
}

fn dark(colour: Rgb, by: f32) -> Rgb {
    colour.map(|c| (f32::from(c) * by).clamp(0.0, 255.0) as u8)
}

impl<'a> Painter<'a> {
    pub fn new(pixels: &'a mut Pixmap, fonts: &'a Fonts) -> Painter<'a> {
        Painter { pixels, fonts, seen: Vec::new(), covers: Vec::new() }
    }

    fn fill(&mut self, path: &Path, colour: Rgb, alpha: f32, holes: bool) {
        let [r, g, b] = colour;
        let paint = Paint {
            shader: Shader::SolidColor(Color::from_rgba8(r, g, b, (alpha.clamp(0.0, 1.0) * 255.0) as u8)),
            anti_alias: true,
            ..Paint::default()
        };
        let rule = if holes { FillRule::EvenOdd } else { FillRule::Winding };
        self.pixels.fill_path(path, &paint, rule, Transform::identity(), None);
    }

    fn flat(&mut self, plane: &Plane, path: Option<Path>, colour: Rgb, alpha: f32) {
        if let Some(path) = path.and_then(|p| plane.project(&p)) {
            self.fill(&path, colour, alpha, false);
        }
    }

    /// Draws art in two inks; the bounds are those of the paint.
    fn art(&mut self, plane: &Plane, art: &Art, inks: [Rgb; 2], alpha: f32) -> Option<Bounds> {
        let mut bounds: Option<Bounds> = None;
        for piece in &art.0 {
            let Some(path) = plane.project(&piece.path) else { continue };
            self.fill(&path, inks[usize::from(piece.second)], alpha, piece.holes);
            let own = Bounds::of_path(&path);
            bounds = match (bounds, own) {
                (Some(a), Some(b)) => Some(a.with(b)),
                (a, b) => a.or(b),
            };
        }
        bounds
    }

    /// The share of a thing that lies in the frame and under no later cover.
    pub fn visible(&self, seen: &Seen) -> f32 {
        let (width, height) = (self.pixels.width() as f32, self.pixels.height() as f32);
        let later = self.covers.get(seen.covers_before..).unwrap_or_default();
        let open = |p: &&Point| {
            let in_frame = (0.0..width).contains(&p.x) && (0.0..height).contains(&p.y);
            in_frame && !later.iter().any(|c| inside(c, **p))
        };
        let count = seen.samples.iter().filter(open).count();
        count as f32 / seen.samples.len().max(1) as f32
    }

    /// Remembers what was just drawn; `marks` are the places that count, in the plane's coordinates.
    fn note(
        &mut self,
        class: Class,
        text: Option<String>,
        bounds: Bounds,
        plane: &Plane,
        marks: &[(f32, f32)],
    ) {
        let samples = marks.iter().map(|(u, v)| plane.at(*u, *v)).collect();
        self.seen.push(Seen { class, text, bounds, samples, covers_before: self.covers.len() });
    }

    pub fn parcel(&mut self, camera: &Camera, parcel: &Parcel, dice: &mut Dice) {
        let (s, c) = libm::sincosf(parcel.angle);
        let place = |z: f32, dx: f32, dy: f32| {
            camera.plane([parcel.x + dx, parcel.y + dy, z], [c, s, 0.0], [-s, c, 0.0])
        };
        let half = (parcel.length / 2.0, parcel.width / 2.0);
        let (top, base) = (place(-parcel.height, 0.0, 0.0), place(0.0, 0.0, 0.0));
        let shadow = place(0.0, 0.02 + 0.2 * parcel.height, 0.02 + 0.2 * parcel.height);
        self.flat(&shadow, bar(-half.0, -half.1, parcel.length, parcel.width), [0, 0, 0], 0.35);

        let (above, below) = (top.corners(half.0, half.1), base.corners(half.0, half.1));
        let mut outline = above.to_vec();
        outline.extend(below);
        // The parcel covers what lay there before, itself excepted.
        self.covers.push(above.to_vec());
        if parcel.material == Material::PolyBag {
            self.bag(&top, half, parcel.tint, dice);
        } else {
            for side in 0..4 {
                let next = (side + 1) % 4;
                let wall = [above[side], above[next], below[next], below[side]];
                let points: Vec<(f32, f32)> = wall.iter().map(|p| (p.x, p.y)).collect();
                if let Some(path) = polygon(&points) {
                    self.fill(&path, dark(parcel.tint, 0.55 + 0.1 * (side % 2) as f32), 1.0, false);
                }
            }
            self.flat(&top, bar(-half.0, -half.1, parcel.length, parcel.width), parcel.tint, 1.0);
            self.board(&top, half, parcel, dice);
        }
        if let Some(bounds) =
            Bounds::of_points(if parcel.material == Material::PolyBag { &above } else { &outline })
        {
            self.note(Class::Parcel, None, bounds, &top, &grid(half));
        }
        for thing in &parcel.things {
            self.thing(&top, thing, dice);
        }
        for strap in &parcel.straps {
            let w = strap.width / 2.0;
            let (hu, hv, at) = if strap.across {
                (w, half.1 * 1.01, (strap.at * half.0, 0.0))
            } else {
                (half.0 * 1.01, w, (0.0, strap.at * half.1))
            };
            let plane = top.moved(at.0, at.1, 0.0, 1.0);
            self.flat(&plane, bar(-hu, -hv, 2.0 * hu, 2.0 * hv), strap.colour, 1.0);
            self.covers.push(plane.corners(hu, hv).to_vec());
        }
    }

    /// Fibres, dents and tape on board.
    fn board(&mut self, top: &Plane, half: (f32, f32), parcel: &Parcel, dice: &mut Dice) {
        for _ in 0..6 {
            let (u, v) = (dice.near(0.0, half.0 * 0.8), dice.near(0.0, half.1 * 0.8));
            let (w, h) = (dice.range(0.03, 0.2) * half.0, dice.range(0.004, 0.3) * half.1);
            let lighter = dice.chance(0.5);
            let colour = if lighter { [255, 250, 240] } else { [40, 25, 10] };
            self.flat(top, bar(u - w, v - h, 2.0 * w, 2.0 * h), colour, dice.range(0.02, 0.09));
        }
        let flap = bar(-half.0, -0.002, 2.0 * half.0, 0.004);
        self.flat(top, flap, dark(parcel.tint, 0.6), 0.7);
        if parcel.tape {
            let tape = bar(-half.0, -half.1 * 0.14, 2.0 * half.0, half.1 * 0.28);
            let colour = dice.pick(&[[200, 170, 110], [225, 220, 205], [150, 110, 60]], [200, 170, 110]);
            self.flat(top, tape, colour, 0.55);
        }
    }

    /// A bag: a soft outline with creases that shine.
    fn bag(&mut self, top: &Plane, half: (f32, f32), tint: Rgb, dice: &mut Dice) {
        let rim: Vec<(f32, f32)> = on_circle(20, 1.0, 0.0)
            .into_iter()
            .map(|(x, y)| {
                // A circle pushed out to the square, with folds.
                let reach = 0.96 / x.abs().max(y.abs()).max(0.5) * dice.range(0.93, 1.0);
                (x * reach * half.0, y * reach * half.1)
            })
            .collect();
        self.flat(top, rounded(&rim), tint, 1.0);
        for _ in 0..9 {
            let (u, v, a) = (dice.near(0.0, half.0 * 0.7), dice.near(0.0, half.1 * 0.7), dice.angle());
            let (s, c) = libm::sincosf(a);
            let (reach, bend) = (dice.range(0.1, 0.5) * half.1, dice.near(0.0, 0.1) * half.1);
            let points =
                [(u - c * reach, v - s * reach), (u + bend, v - bend), (u + c * reach, v + s * reach)];
            let colour = if dice.chance(0.6) { [255, 255, 255] } else { [0, 0, 0] };
            let width = dice.range(0.004, 0.02);
            self.flat(top, line(&points, width), colour, dice.range(0.08, 0.3));
        }
    }

    fn thing(&mut self, top: &Plane, thing: &Thing, dice: &mut Dice) {
        let at = top.moved(thing.u, thing.v, thing.angle, thing.width);
        match &thing.kind {
            Kind::Mark { brand, layout, ink } => {
                let art = mark(self.fonts, *brand, *layout);
                let inks = match ink {
                    Ink::Mono(colour) => [*colour; 2],
                    Ink::Full { shift } => brand
                        .colours()
                        .map(|c| c.map(|v| (i16::from(v) + i16::from(*shift)).clamp(0, 255) as u8)),
                };
                if let Some(bounds) = self.art(&at, &art, inks, dice.range(0.82, 1.0)) {
                    self.note(Class::Brand(*brand), None, bounds, &at, &inked(&art));
                }
            }
            Kind::Stranger { seed, ink, colour } => {
                let art = crate::brand::stranger(&mut Dice::of(*seed, "stranger"));
                let first = if let Ink::Mono(mono) = ink { *mono } else { *colour };
                self.art(&at, &art, [first, dark(first, 0.7)], 0.95);
            }
            Kind::Word { text, ink, colour } => {
                let first = if let Ink::Mono(mono) = ink { *mono } else { *colour };
                let art = fitted(self.fonts.bold(Font::Sans, text, 0.06));
                self.art(&at, &art, [first; 2], 0.95);
            }
            Kind::Barcode { code, height } => {
                let (hu, hv) = (0.58, height * 0.62);
                self.flat(&at, bar(-hu, -hv, 2.0 * hu, 2.0 * hv), [246, 246, 242], 1.0);
                self.covers.push(at.corners(hu, hv).to_vec());
                let art = code.art(self.fonts, *height);
                if let Some(bounds) = self.art(&at, &art, [[18, 18, 20]; 2], 1.0) {
                    let text = Some(code.text().to_owned());
                    self.note(Class::Barcode, text, bounds, &at, &grid((0.5, height / 2.0)));
                }
            }
            Kind::Address { seed, height } => self.address(&at, *seed, *height),
        }
    }

    fn address(&mut self, at: &Plane, seed: u64, height: f32) {
        let mut dice = Dice::of(seed, "address");
        self.flat(at, bar(-0.5, -height / 2.0, 1.0, height), [242, 241, 236], 1.0);
        self.covers.push(at.corners(0.5, height / 2.0).to_vec());
        let lines = 3 + dice.below(4);
        let pitch = height * 0.8 / lines as f32;
        for row in 0..lines {
            let v = -height * 0.4 + pitch * (row as f32 + 0.8);
            let word: String =
                (0..4 + dice.below(12)).map(|_| char::from(b'A' + dice.below(26) as u8)).collect();
            let art = self.fonts.bold(if dice.chance(0.5) { Font::Sans } else { Font::Mono }, &word, 0.02);
            let Some(b) = art.bounds() else { continue };
            let scale = (pitch * 0.7 / b.height().max(0.1)).min(0.88 / b.width().max(0.1));
            let art = art.placed(-b.x1 - 0.44 / scale, v / scale, scale);
            self.art(at, &art, [[25, 25, 30]; 2], 1.0);
        }
        if dice.chance(0.3) {
            // A square of dots, as a sorting code looks from afar.
            let mut dots = tiny_skia::PathBuilder::new();
            let cell = height * 0.03;
            for i in 0..100 {
                if dice.chance(0.5) {
                    let (x, y) = ((i % 10) as f32 * cell, (i / 10) as f32 * cell);
                    push_bar(&mut dots, 0.46 - 10.0 * cell + x, -height * 0.45 + y, cell, cell);
                }
            }
            self.flat(at, dots.finish(), [20, 20, 22], 1.0);
        }
    }

    pub fn blob(&mut self, belt: &Plane, blob: &Blob) {
        let mut dice = Dice::of(blob.seed, "blob");
        let turn = dice.angle();
        let rim: Vec<(f32, f32)> = on_circle(9, 1.0, turn)
            .into_iter()
            .map(|(x, y)| {
                let r = blob.radius * dice.range(0.6, 1.15);
                (blob.x + x * r, blob.y + y * r)
            })
            .collect();
        self.flat(belt, rounded(&rim), blob.colour, 1.0);
        self.covers.push(rim.iter().map(|(x, y)| belt.at(*x, *y)).collect());
    }
}

/// Places spread evenly over a rectangle around the origin.
fn grid(half: (f32, f32)) -> Vec<(f32, f32)> {
    let step = |i: usize, half: f32| half * ((i as f32 + 0.5) * 2.0 / SAMPLES as f32 - 1.0);
    (0..SAMPLES * SAMPLES).map(|i| (step(i % SAMPLES, half.0), step(i / SAMPLES, half.1))).collect()
}

/// Places of a grid over art of at most 1 × 1 that are printed on: paper between the lines is no mark.
fn inked(art: &Art) -> Vec<(f32, f32)> {
    let size = 2 * SAMPLES;
    let whole = grid((0.5, 0.5));
    let Some(mut mask) = Pixmap::new(size as u32, size as u32) else { return whole };
    let to = Transform::from_row(size as f32, 0.0, 0.0, size as f32, size as f32 / 2.0, size as f32 / 2.0);
    let paint = Paint { anti_alias: true, ..Paint::default() };
    for piece in &art.0 {
        let rule = if piece.holes { FillRule::EvenOdd } else { FillRule::Winding };
        mask.fill_path(&piece.path, &paint, rule, to, None);
    }
    let place = |i: usize| (i as f32 + 0.5) / size as f32 - 0.5;
    let inked: Vec<(f32, f32)> = mask
        .pixels()
        .iter()
        .enumerate()
        .filter(|(_, p)| p.alpha() > 110)
        .map(|(i, _)| (place(i % size), place(i / size)))
        .collect();
    if inked.is_empty() { whole } else { inked }
}

/// A mark with its name as the layout says, 1 wide and around the origin.
pub fn mark(fonts: &Fonts, brand: Brand, layout: Layout) -> Art {
    let mut art = brand.symbol();
    let name = fonts.bold(Font::Sans, brand.name(), 0.07);
    if let (Some(symbol), Some(b)) = (art.bounds(), name.bounds()) {
        match layout {
            Layout::Alone => {}
            Layout::NameBeside => {
                let scale = 0.62 / 0.7;
                let placed = name.placed((symbol.x2 + 0.12) / scale - b.x1, 0.35, scale);
                art.0.extend(placed.0);
            }
            Layout::NameBelow => {
                let scale = 1.15 / b.width().max(0.1);
                let down = (symbol.y2 + 0.1) / scale - b.y1;
                art.0.extend(name.placed(-(b.x1 + b.x2) / 2.0, down, scale).0);
            }
        }
    }
    fitted(art)
}

/// Around the origin, with its longer side 1.
fn fitted(art: Art) -> Art {
    match art.bounds() {
        Some(b) => {
            let scale = 1.0 / b.width().max(b.height()).max(1e-3);
            art.placed(-(b.x1 + b.x2) / 2.0, -(b.y1 + b.y2) / 2.0, scale)
        }
        None => art,
    }
}
