//! What stands before the camera, as data.
//!
//! In:   nothing; whoever wants a frame fills a [`Scene`] (`domain` by chance, `station` for the demo).
//! Out:  plain values. Lengths are in floor units: the frame's short side is about 1 at belt height, the
//!       origin is its middle, x right, y down. Angles are in radians, clockwise.

use crate::barcode::Barcode;
use crate::brand::Brand;

pub type Rgb = [u8; 3];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belt {
    Rubber,
    Rollers,
    Concrete,
    /// No floor that exists: colours, stripes and clouds by chance, so that training learns not to look.
    Abstract,
    Pallet,
    Chevron,
    Mesh,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Material {
    Cardboard,
    White,
    PolyBag,
}

#[derive(Debug, Clone)]
pub struct Scene {
    pub belt: Belt,
    pub tint: Rgb,
    /// How far the belt has run, in floor units.
    pub belt_run: f32,
    pub tilt: (f32, f32),
    pub roll: f32,
    /// Drawn in order; a later one lies on an earlier one.
    pub parcels: Vec<Parcel>,
    /// Things over everything: hands, dirt on the lens, cables.
    pub blobs: Vec<Blob>,
    pub light: Light,
    pub lens: Lens,
}

#[derive(Debug, Clone)]
pub struct Parcel {
    pub material: Material,
    pub tint: Rgb,
    pub x: f32,
    pub y: f32,
    pub length: f32,
    pub width: f32,
    pub height: f32,
    pub angle: f32,
    pub tape: bool,
    pub things: Vec<Thing>,
    pub straps: Vec<Strap>,
}

/// Something on a parcel's top: its middle in the parcel's own coordinates, and how wide it is.
#[derive(Debug, Clone)]
pub struct Thing {
    pub u: f32,
    pub v: f32,
    pub angle: f32,
    pub width: f32,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub enum Kind {
    Mark {
        brand: Brand,
        layout: Layout,
        ink: Ink,
    },
    /// A shape that is no brand's.
    Stranger {
        seed: u64,
        ink: Ink,
        colour: Rgb,
    },
    Word {
        text: String,
        ink: Ink,
        colour: Rgb,
    },
    /// A white label with bars; `width` is that of the bars.
    Barcode {
        code: Barcode,
        height: f32,
    },
    /// A white label with lines of text; `height` as a share of its width.
    Address {
        seed: u64,
        height: f32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    Alone,
    NameBeside,
    NameBelow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// The brand's own colours, as far as the press kept them.
    Full {
        shift: i8,
    },
    Mono(Rgb),
}

#[derive(Debug, Clone, Copy)]
pub struct Strap {
    /// Where it crosses, as a share of the parcel's half length (or half width).
    pub at: f32,
    pub across: bool,
    pub width: f32,
    pub colour: Rgb,
}

#[derive(Debug, Clone, Copy)]
pub struct Blob {
    pub x: f32,
    pub y: f32,
    pub radius: f32,
    pub colour: Rgb,
    pub seed: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct Light {
    pub gain: f32,
    pub gamma: f32,
    /// Brightness gained from one side of the frame to the other, as a share.
    pub slope: f32,
    pub direction: f32,
    /// Gains of red and blue.
    pub warmth: f32,
    pub glare: Option<Glare>,
}

#[derive(Debug, Clone, Copy)]
pub struct Glare {
    pub x: f32,
    pub y: f32,
    pub radius: f32,
    pub strength: f32,
}

/// Lengths in 1/320 of the frame's short side, so that a larger picture of a scene is the same picture.
#[derive(Debug, Clone, Copy)]
pub struct Lens {
    /// Standard deviation of the blur.
    pub blur: f32,
    pub motion: f32,
    pub motion_angle: f32,
    /// Standard deviation in grey levels.
    pub noise: f32,
    pub jpeg_quality: u8,
}

impl Light {
    pub const EVEN: Light =
        Light { gain: 1.0, gamma: 1.0, slope: 0.0, direction: 0.0, warmth: 0.0, glare: None };
}

impl Lens {
    pub const SHARP: Lens = Lens { blur: 0.0, motion: 0.0, motion_angle: 0.0, noise: 0.0, jpeg_quality: 95 };
}
