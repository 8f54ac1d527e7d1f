//! The aggregate functions as DataFusion sees them.
//!
//! In:   DataFusion's own function of the same name: name, aliases, signature, types, documentation.
//! Out:  one `AggregateUDF` each, exact for floats, the original for every other type.
//! Owns: which arguments are weir's. No rewrite of arguments is offered (`sum(x + c)`), so that both
//!       forms of a plan see the same values.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::FunctionRegistry;
use datafusion::functions_aggregate as original;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature, StatisticsArgs,
};

use super::moments::Statistic;
use super::{accumulate, distinct::Distinct, extremes};

/// weir's aggregate functions: `sum, avg, var, var_pop, stddev, stddev_pop, covar_samp, covar_pop, corr,
/// regr_*, min, max`, with DataFusion's aliases.
pub fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    use Statistic::*;
    let statistics = [
        (original::sum::sum_udaf(), Sum),
        (original::average::avg_udaf(), Avg),
        (original::variance::var_samp_udaf(), VarSample),
        (original::variance::var_pop_udaf(), VarPopulation),
        (original::stddev::stddev_udaf(), StddevSample),
        (original::stddev::stddev_pop_udaf(), StddevPopulation),
        (original::covariance::covar_samp_udaf(), CovarSample),
        (original::covariance::covar_pop_udaf(), CovarPopulation),
        (original::correlation::corr_udaf(), Corr),
        (original::regr::regr_slope_udaf(), Slope),
        (original::regr::regr_intercept_udaf(), Intercept),
        (original::regr::regr_r2_udaf(), R2),
        (original::regr::regr_count_udaf(), Count),
        (original::regr::regr_avgx_udaf(), AvgX),
        (original::regr::regr_avgy_udaf(), AvgY),
        (original::regr::regr_sxx_udaf(), Sxx),
        (original::regr::regr_syy_udaf(), Syy),
        (original::regr::regr_sxy_udaf(), Sxy),
    ]
    .map(|(original, statistic)| (original, What::Statistic(statistic)));
    let extremes = [
        (original::min_max::min_udaf(), What::Extreme { max: false }),
        (original::min_max::max_udaf(), What::Extreme { max: true }),
    ];
    let all = statistics.into_iter().chain(extremes);
    all.map(|(original, what)| Arc::new(AggregateUDF::from(Exact { original, what }))).collect()
}

/// Replaces DataFusion's functions of these names in a session.
///
/// # Errors
/// Those of the registry, which has none of its own for aggregate functions.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    aggregate_functions().into_iter().try_for_each(|function| registry.register_udaf(function).map(drop))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Statistic(Statistic),
    Extreme { max: bool },
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    original: Arc<AggregateUDF>,
    what: What,
}

impl Exact {
    /// Whether the arguments are floats that this crate's own accumulators take.
    fn is_ours(&self, arguments: &[FieldRef]) -> bool {
        let mut types = arguments.iter().map(|field| field.data_type());
        match self.what {
            What::Statistic(_) => types.all(|t| *t == DataType::Float64),
            What::Extreme { .. } => types.all(extremes::supports),
        }
    }

    fn inner(&self) -> &dyn AggregateUDFImpl {
        self.original.inner().as_ref()
    }

    fn distinct(&self, statistic: Statistic) -> Result<Box<dyn Accumulator>> {
        if statistic.is_pair() {
            return Err(DataFusionError::NotImplemented(format!(
                "{}(DISTINCT …) with two arguments",
                self.name()
            )));
        }
        Ok(Box::new(Distinct::new(statistic)))
    }
}

impl AggregateUDFImpl for Exact {
    fn name(&self) -> &str {
        self.inner().name()
    }

    fn aliases(&self) -> &[String] {
        self.inner().aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner().signature()
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner().coerce_types(arg_types)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner().return_type(arg_types)
    }

    fn is_nullable(&self) -> bool {
        self.inner().is_nullable()
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner().default_value(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner().documentation()
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match self.what {
            _ if !self.is_ours(args.expr_fields) => self.inner().accumulator(args),
            What::Statistic(statistic) if args.is_distinct => self.distinct(statistic),
            What::Statistic(statistic) => Ok(accumulate::accumulator(statistic)),
            What::Extreme { max } => extremes::accumulator(args.return_type(), max),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match self.what {
            _ if !self.is_ours(args.expr_fields) => self.inner().create_sliding_accumulator(args),
            What::Extreme { max } => extremes::sliding_accumulator(args.return_type(), max),
            What::Statistic(_) => self.accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if !self.is_ours(args.input_fields) {
            return self.inner().state_fields(args);
        }
        let field = match self.what {
            What::Extreme { .. } => {
                Field::new(format_state_name(args.name, "value"), args.return_type().clone(), true)
            }
            What::Statistic(_) if args.is_distinct => Field::new_list(
                format_state_name(args.name, "distinct"),
                Field::new_list_field(DataType::Float64, true),
                true,
            ),
            What::Statistic(_) => Field::new(format_state_name(args.name, "exact"), DataType::Binary, true),
        };
        Ok(vec![Arc::new(field)])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        match self.what {
            _ if !self.is_ours(args.expr_fields) => self.inner().groups_accumulator_supported(args),
            What::Statistic(_) => !args.is_distinct,
            What::Extreme { .. } => true,
        }
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        match self.what {
            _ if !self.is_ours(args.expr_fields) => self.inner().create_groups_accumulator(args),
            What::Statistic(statistic) => Ok(accumulate::groups_accumulator(statistic)),
            What::Extreme { max } => extremes::groups_accumulator(args.return_type(), max),
        }
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    /// Never from statistics where floats are concerned: those know neither weir's zero nor its NaN.
    fn value_from_stats(&self, args: &StatisticsArgs) -> Option<ScalarValue> {
        let floats = args.return_type.is_floating();
        if floats { None } else { self.inner().value_from_stats(args) }
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        if data_type.is_floating() {
            SetMonotonicity::NotMonotonic
        } else {
            self.inner().set_monotonicity(data_type)
        }
    }
}
