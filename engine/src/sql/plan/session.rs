//! The DataFusion session that plans: names, types, functions, and the few rewrites that are wanted.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::{Session as DfSession, TableProvider};
use datafusion::datasource::{TableType, ViewTable};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;
use weir_contract::Result;

use super::expr::plan_error;
use super::functions::marks;

/// A table that is only planned, never scanned.
#[derive(Debug)]
struct Declared(SchemaRef);

#[async_trait::async_trait]
impl TableProvider for Declared {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn DfSession,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Err(DataFusionError::Plan("a stream is not scanned".into()))
    }
}

/// Names and rewrites of one program.
pub struct Session {
    context: SessionContext,
    runtime: tokio::runtime::Runtime,
}

/// A session in which weir's functions have the names of DataFusion's.
pub fn context() -> SessionContext {
    let mut config = SessionConfig::new().with_information_schema(false).with_target_partitions(1);
    config.options_mut().sql_parser.map_string_types_to_utf8view = false;
    config.options_mut().sql_parser.collect_spans = true;
    let context = SessionContext::new_with_config(config);
    for function in crate::numeric::aggregate_functions() {
        context.register_udaf(function.as_ref().clone());
    }
    for mark in marks() {
        context.register_udf(mark);
    }
    context
}

impl Session {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap_or_else(|e| panic!("no runtime: {e}"));
        Self { context: context(), runtime }
    }

    pub fn table(&mut self, name: &str, fields: Vec<Field>) -> Result<()> {
        let table = Declared(Arc::new(Schema::new(fields)));
        self.context.register_table(quoted(name), Arc::new(table)).map_err(plan_error)?;
        Ok(())
    }

    /// A view that stands wherever it is named.
    pub fn view(&mut self, name: &str, plan: LogicalPlan) -> Result<()> {
        self.context
            .register_table(quoted(name), Arc::new(ViewTable::new(plan, None)))
            .map_err(plan_error)?;
        Ok(())
    }

    /// The logical plan of a query as SQL says it.
    pub fn logical(&self, query: &ast::Query) -> Result<LogicalPlan> {
        let statement = Statement::Statement(Box::new(ast::Statement::Query(Box::new(query.clone()))));
        let state = self.context.state();
        self.runtime.block_on(state.statement_to_plan(statement)).map_err(plan_error)
    }

    /// Types made equal, constants folded, columns that nobody reads dropped.
    pub fn prepare(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let state: SessionState = self.context.state();
        let config = state.config_options();
        let analysed = state.analyzer().execute_and_check(plan, config, |_, _| {}).map_err(plan_error)?;
        let optimizer = Optimizer::with_rules(vec![
            Arc::new(SimplifyExpressions::new()),
            Arc::new(OptimizeProjections::new()),
        ]);
        let options = OptimizerContext::new_with_config_options(Arc::clone(config));
        optimizer.optimize(analysed, &options, |_, _| {}).map_err(plan_error)
    }
}

fn quoted(name: &str) -> datafusion::common::TableReference {
    datafusion::common::TableReference::bare(name.to_owned())
}
