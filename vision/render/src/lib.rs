//! Draws frames of a warehouse floor, each with its truth: for training, for tests, for the demo.
//!
//! In:   a [`Scene`] (belt, parcels with marks and labels, light, lens), a size, a seed.
//! Out:  an RGB picture, and the boxes of every mark, parcel and barcode that can be seen in it.
//! Owns: the brands' marks, the barcodes' bars, what "visible" means. Not detection (`vision`), not
//!       the simulated day (`sim`), whose brands it draws under the same names.
//!
//! R1  The same scene, size and seed give the same bytes.
//! R2  Every true box lies inside the frame; what shows less than [`VISIBLE_MIN`] of itself has none.
//! R3  A brand in the truth is in the scene. Look-alikes and stray words never are in the truth.
//!
//! Modules stand in the order in which a frame is made; [`score`] compares boxes with the truth.
//! Start at [`render`].

pub mod dice;
pub mod geometry;
pub mod shape;
pub mod text;
pub mod brand;
pub mod barcode;
pub mod scene;
pub mod domain;
pub mod station;
pub mod belt;
pub mod paint;
pub mod lens;
pub mod picture;
pub mod score;

pub use barcode::{Barcode, BarcodeError};
pub use brand::Brand;
pub use domain::Domain;
pub use geometry::Bounds;
pub use picture::{Class, Picture, PictureError, Truth, VISIBLE_MIN, render};
pub use scene::Scene;
pub use station::Shown;
