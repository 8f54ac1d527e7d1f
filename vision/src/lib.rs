//! Images to pixels, boxes and codes, within limits.
//!
//! In:   bytes of a JPEG or PNG from a camera; an ONNX file; what a site's codes may be.
//! Out:  pixels, detections in pixels of the frame, read codes, an annotated JPEG as evidence.
//! Owns: limits on what an image may cost. Not capture (the edge agent), not `detect()` in SQL.
//!
//! V1  No byte of an image or model makes this crate panic or take more memory than its limits say;
//!     a `Pool` turns a panic of a library into an error all the same.
//! V2  The same bytes, model and settings give the same boxes and codes.
//! V3  Nothing here opens a socket; the inference library is loaded from an absolute path only.
//!
//! Knows nothing of DataFusion: it is built on a Raspberry Pi. Start at `decode::decode`.

pub mod stop;
pub mod decode;
pub mod boxes;
pub mod detector;
pub mod told;
pub mod barcode;
pub mod evidence;
pub mod pool;
pub mod store;
