//! Port: what runs a graph. One input of floats `[batch, 3, height, width]`, one output of floats.

use std::collections::BTreeMap;

use weir_contract::{Code, Error, Result};

use super::INPUT_PX_MAX;
use crate::stop::Stop;

pub trait Engine: Send {
    fn run(&mut self, shape: [usize; 4], data: &[f32], stop: &Stop) -> Result<Given>;
}

/// What a graph gave.
pub struct Given {
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

/// What a model file says of itself.
#[derive(Debug, Default)]
pub struct Facts {
    /// `None`: as many frames as there are.
    pub batch: Option<usize>,
    /// Of the input; `None` where the file leaves it open.
    pub height: Option<usize>,
    pub width: Option<usize>,
    pub metadata: BTreeMap<String, String>,
    pub engine: String,
}

pub fn bad(what: impl Into<String>, expected: &str) -> Error {
    Error::new(Code::BadModel, what).expected(expected)
}

pub const INPUT: &str = "one input, float32 [N, 3, height, width]";

impl Facts {
    /// Takes batch and size from the input's shape; what is not positive is open.
    pub fn of_input(shape: &[Option<usize>], float32: bool) -> Result<Facts> {
        let [batch, channels, height, width] = shape else {
            return Err(bad(format!("its input has {} dimensions", shape.len()), INPUT));
        };
        if !float32 {
            return Err(bad("its input is not float32", INPUT));
        }
        if channels.is_some_and(|c| c != 3) {
            return Err(bad(format!("its input has {} channels", channels.unwrap_or_default()), INPUT));
        }
        if batch.is_some_and(|b| b == 0 || b > super::BATCH_MAX) {
            return Err(bad(
                format!("its batch is {}", batch.unwrap_or_default()),
                "a batch of 1 to 16, or open",
            ));
        }
        Ok(Facts { batch: *batch, height: *height, width: *width, ..Facts::default() })
    }

    /// Width and height: the input's shape, else `imgsz` of the metadata (`[height, width]`).
    pub fn input_size(&self) -> Result<(u32, u32)> {
        let listed: Vec<usize> = self
            .metadata
            .get("imgsz")
            .map(|text| text.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect())
            .unwrap_or_default();
        let height = self.height.or_else(|| listed.first().copied());
        let width = self.width.or_else(|| listed.get(1).or(listed.first()).copied());
        let side = |side: Option<usize>, name: &str| {
            let side = side.ok_or_else(|| {
                bad(
                    format!("its input's {name} is open, and its metadata has no imgsz"),
                    "a size of the input",
                )
            })?;
            u32::try_from(side)
                .ok()
                .filter(|s| (1..=INPUT_PX_MAX).contains(s))
                .ok_or_else(|| bad(format!("its input's {name} is {side}"), "1 to 2048 pixels"))
        };
        Ok((side(width, "width")?, side(height, "height")?))
    }
}
