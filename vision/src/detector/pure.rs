//! tract: a graph in pure Rust, for images of containers and machines without ONNX Runtime.
//!
//! One frame a run (tract optimises for one shape), one thread. A stop is seen between two nodes.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::DimLike;
use weir_contract::{Code, Error, Result};

use super::engine::{Engine, Facts, Given, INPUT, bad};
use crate::stop::Stop;

type Plan = Arc<TypedSimplePlan>;

struct TractEngine {
    plan: Plan,
}

fn unusable(e: impl std::fmt::Display) -> Error {
    let text: String = e.to_string().chars().filter(|c| !c.is_control()).take(400).collect();
    bad(format!("tract does not take it: {text}"), "a whole ONNX file of operators that tract knows")
}

pub fn load(bytes: &[u8]) -> Result<(Box<dyn Engine>, Facts)> {
    let mut model = tract_onnx::onnx().model_for_read(&mut std::io::Cursor::new(bytes)).map_err(unusable)?;
    if model.inputs.len() != 1 {
        return Err(bad(format!("it has {} inputs", model.inputs.len()), INPUT));
    }
    if model.outputs.len() != 1 {
        return Err(bad(format!("it has {} outputs", model.outputs.len()), "one output"));
    }
    let fact = model.input_fact(0).map_err(unusable)?.clone();
    let dims: Vec<Option<usize>> =
        fact.shape.dims().map(|d| d.concretize().and_then(|d| d.to_usize().ok())).collect();
    let float32 = fact.datum_type.concretize() == Some(f32::datum_type());
    let mut facts = Facts::of_input(&dims, float32)?;
    for (key, value) in &model.properties {
        if let Some(key) = key.strip_prefix("onnx.metadata_props.")
            && let Ok(text) = value.try_as_plain_ram().and_then(|v| v.to_scalar::<String>().cloned())
        {
            facts.metadata.insert(key.to_owned(), text);
        }
    }
    facts.batch.get_or_insert(1);
    let (width, height) = facts.input_size()?;
    let shape = [facts.batch.unwrap_or(1), 3, height as usize, width as usize];
    model.set_input_fact(0, f32::fact(shape).into()).map_err(unusable)?;
    // The file's own shapes of outputs may hold its open batch.
    model.set_output_fact(0, InferenceFact::default()).map_err(unusable)?;
    let plan = model.into_optimized().and_then(|m| m.into_runnable()).map_err(unusable)?;
    facts.engine = "tract 0.23.9".to_owned();
    Ok((Box::new(TractEngine { plan }), facts))
}

impl Engine for TractEngine {
    fn run(&mut self, shape: [usize; 4], data: &[f32], stop: &Stop) -> Result<Given> {
        let failed = |e: TractError| match stop.check("the model ran") {
            Ok(()) => Error::new(Code::Inference, format!("tract failed: {e}")),
            Err(stopped) => stopped,
        };
        let input = Tensor::from_shape(&shape, data).map_err(failed)?;
        let mut state = self.plan.spawn().map_err(failed)?;
        let outputs = state
            .run_plan_with_eval(tvec!(input.into()), |context, op, node, inputs| {
                if stop.is_stopped() {
                    return Err(TractError::msg("stopped"));
                }
                tract_onnx::tract_core::plan::eval(context, op, node, inputs)
            })
            .map_err(failed)?;
        let output = outputs.first().ok_or_else(|| Error::new(Code::Inference, "tract gave no output"))?;
        let plain = output.try_as_plain_ram().map_err(failed)?;
        let data = plain.as_slice::<f32>().map_err(failed)?.to_vec();
        Ok(Given { shape: output.shape().to_vec(), data })
    }
}
