//! Expressions that fail on a row: NULL instead, and counted.
//!
//! In:   a physical expression as the planner softened it (semantics 4: TRY_CAST, divisors by NULLIF).
//! Out:  the same expression; each cast and divisor that made NULL of a value counts it.
//! Owns: the count. A TRY_CAST that the author wrote counts as well: the plan does not tell them apart.
//!
//! The argument is looked at again only in batches in which there is a NULL.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::Array;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::expressions::{BinaryExpr, TryCastExpr};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

/// How often expressions of one operator failed.
#[derive(Debug, Clone, Default)]
pub struct Failures(Arc<AtomicU64>);

impl Failures {
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }

    /// The expression with everything in it that can fail on a row counted here.
    ///
    /// # Errors
    /// What DataFusion says where a node cannot take its children back: a bug.
    pub fn count_in(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let children = expr.children();
        let mut counted = children.iter().map(|c| self.count_in(c)).collect::<Result<Vec<_>>>()?;
        // The divisor that `soften` guarded: NULLIF(divisor, 0), the right side of a division.
        if let Some(division) = expr.downcast_ref::<BinaryExpr>()
            && matches!(division.op(), Operator::Divide | Operator::Modulo)
            && let Some(guard) = division.right().downcast_ref::<ScalarFunctionExpr>()
            && guard.name() == "nullif"
        {
            counted[1] = self.counted(&counted[1], &guard.args()[0]);
        }
        let same = counted.iter().zip(&children).all(|(new, old)| Arc::ptr_eq(new, old));
        let made = if same { Arc::clone(expr) } else { Arc::clone(expr).with_new_children(counted)? };
        Ok(match expr.downcast_ref::<TryCastExpr>() {
            Some(cast) => self.counted(&made, cast.expr()),
            None => made,
        })
    }

    /// `argument` is the original, without counts: it may be evaluated a second time.
    fn counted(
        &self,
        inner: &Arc<dyn PhysicalExpr>,
        argument: &Arc<dyn PhysicalExpr>,
    ) -> Arc<dyn PhysicalExpr> {
        Arc::new(Counted { inner: Arc::clone(inner), argument: Arc::clone(argument), failures: self.clone() })
    }
}

/// An expression that makes NULL of a value where it fails.
#[derive(Debug, Clone)]
struct Counted {
    inner: Arc<dyn PhysicalExpr>,
    argument: Arc<dyn PhysicalExpr>,
    failures: Failures,
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for Counted {}

impl Hash for Counted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PhysicalExpr for Counted {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.inner.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.inner.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let value = self.inner.evaluate(batch)?;
        let rows = batch.num_rows();
        let nulls = match &value {
            ColumnarValue::Array(array) => array.logical_null_count(),
            ColumnarValue::Scalar(scalar) => {
                if scalar.is_null() {
                    rows
                } else {
                    0
                }
            }
        };
        if nulls > 0 {
            let argument = self.argument.evaluate(batch)?.into_array(rows)?;
            let failed = nulls.saturating_sub(argument.logical_null_count());
            self.failures.0.fetch_add(failed as u64, Ordering::Relaxed);
        }
        Ok(value)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        // Both, so that whoever renumbers columns (CASE does) renumbers them in both.
        vec![&self.inner, &self.argument]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let [inner, argument] = children.as_slice() else {
            return datafusion::common::internal_err!("a counted expression has two children");
        };
        Ok(self.failures.counted(inner, argument))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int64Array, StringArray};
    use datafusion::arrow::datatypes::Field;
    use datafusion::physical_expr::expressions::{binary, case, col, is_null, lit, try_cast};

    use super::*;

    /// CASE evaluates over the columns that it uses, renumbered, and later branches over fewer rows.
    #[test]
    fn a_cast_within_case_is_counted() {
        let fields = ["a", "b", "c"].map(|n| Field::new(n, DataType::Int64, true));
        let [a, b, c] = fields;
        let schema = Arc::new(Schema::new(vec![a, b, c.with_data_type(DataType::Utf8)]));
        let number = || try_cast(col("c", &schema).unwrap(), &schema, DataType::Int64).unwrap();
        let none = is_null(col("c", &schema).unwrap()).unwrap();
        let even = binary(number(), Operator::Modulo, lit(2_i64), &schema).unwrap();
        let even = binary(even, Operator::Eq, lit(0_i64), &schema).unwrap();
        let plain = case(None, vec![(none, lit("none")), (even, lit("even"))], Some(lit("other"))).unwrap();
        let failures = Failures::default();
        let counted = failures.count_in(&plain).unwrap();
        let texts = StringArray::from(vec![Some("4"), None, Some("x"), Some("7"), None, Some("y")]);
        let numbers = Arc::new(Int64Array::from(vec![0; 6]));
        let batch = RecordBatch::try_new(schema, vec![numbers.clone(), numbers, Arc::new(texts)]).unwrap();
        let value = counted.evaluate(&batch).unwrap().into_array(6).unwrap();
        let expected = StringArray::from(vec!["even", "none", "other", "other", "none", "other"]);
        assert_eq!(value.as_ref(), &expected as &dyn Array);
        assert_eq!(failures.count(), 2);
    }
}
