//! Functions that stand for something the planner does: `tumble`, `hop` and the ASOF mark.
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
    let mark = |name, arguments: usize, result| {
        let kind = match arguments {
            0 => TypeSignature::Nullary,
            n => TypeSignature::Exact(vec![interval.clone(); n]),
        };
        ScalarUDF::new_from_impl(Mark { name, signature: Signature::new(kind, Volatility::Volatile), result })
    };
    vec![mark(TUMBLE, 1, window_type()), mark(HOP, 2, window_type()), mark(ASOF, 0, DataType::Boolean)]
}
