//! Functions that stand for something the planner does: `tumble`, `hop`, the marks of ASOF and `detect()`.
//!
//! They are volatile so that no rewrite folds, moves or repeats them; none is ever evaluated.

use datafusion::arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

pub const TUMBLE: &str = "tumble";
pub const HOP: &str = "hop";
pub const ASOF: &str = "__asof";
pub const DETECT: &str = "__detect";

/// Event time in every plan.
pub fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// `STRUCT<start TIMESTAMP, end TIMESTAMP>`.
pub fn window_type() -> DataType {
    let time = |name| Field::new(name, time_type(), true);
    DataType::Struct(Fields::from(vec![time("start"), time("end")]))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Mark {
    name: &'static str,
    signature: Signature,
    result: DataType,
}

impl ScalarUDFImpl for Mark {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.result.clone())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(DataFusionError::Plan(format!("{} stands only where the planner replaces it", self.name)))
    }
}

/// All marks, to be registered in the planning session.
pub fn marks() -> Vec<ScalarUDF> {
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    let mark = |name, kind: TypeSignature, result| {
        ScalarUDF::new_from_impl(Mark { name, signature: Signature::new(kind, Volatility::Volatile), result })
    };
    let intervals = |n| TypeSignature::Exact(vec![interval.clone(); n]);
    let image = vec![DataType::Binary, DataType::Utf8];
    let stored = [image.clone(), vec![DataType::Utf8]].concat();
    let images = TypeSignature::OneOf(vec![TypeSignature::Exact(image), TypeSignature::Exact(stored)]);
    vec![
        mark(TUMBLE, intervals(1), window_type()),
        mark(HOP, intervals(2), window_type()),
        mark(ASOF, TypeSignature::Nullary, DataType::Boolean),
        mark(DETECT, images, DataType::Boolean),
    ]
}
