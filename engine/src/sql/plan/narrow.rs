//! Columns that nobody reads, dropped: from the outputs back to the sources.
//!
//! In:   a whole plan. Out: the same plan, in which a node has only the columns that something behind it
//!       reads, and a source's STRUCT column only the fields that are read one by one.
//! Owns: who reads what. A source's schema says what its lanes build; what else a record holds is checked
//!       there all the same (`decode`).
//!
//! N1  Event time, canonical order, partition key and placement stay, whoever reads them.
//! N2  Entries of `times` stay as they are, so that frontiers, shifts and delays do not change.
//! N3  Outputs keep all their columns. Nodes that no output needs stay as they were planned; they never run.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Expr;
use weir_contract::Result;

use super::build::{field, lost};
use super::detect::FOUND;
use super::expr::type_of;
use super::ir::{Node, NodeId, Op, OverExpr, Place, Plan};

/// What is read of a column.
#[derive(Debug, Clone, PartialEq)]
enum Need {
    Whole,
    /// Fields of a STRUCT, by name.
    Fields(BTreeMap<String, Need>),
}

/// What is read of each column of a node.
type Needs = Vec<Option<Need>>;

/// Drops what nobody reads, in every node.
///
/// # Errors
/// `W0302` where a column that is read would be lost: a mistake of weir's own.
pub fn narrow(mut plan: Plan) -> Result<Plan> {
    let used = plan.used();
    let needs = needs(&plan, &used);
    let old: Vec<SchemaRef> = plan.nodes.iter().map(|n| Arc::clone(&n.stream.schema)).collect();
    let mut kept: Vec<Vec<usize>> = Vec::with_capacity(plan.nodes.len());
    for id in 0..plan.nodes.len() {
        let (before, rest) = plan.nodes.split_at_mut(id);
        let node = &mut rest[0];
        let keep = if used[id] {
            keep(node, &needs[id], &kept, &old)?
        } else {
            (0..old[id].fields().len()).collect()
        };
        if used[id] {
            let types = types(node, &keep, &needs[id], before)?;
            shrink(node, &keep, types)?;
        }
        kept.push(keep);
    }
    for (node, columns) in plan.views.values_mut() {
        *columns = columns.iter().filter_map(|c| kept[*node].binary_search(c).ok()).collect();
    }
    Ok(plan)
}

/// What is read of every node's columns, found from the outputs backwards.
fn needs(plan: &Plan, used: &[bool]) -> Vec<Needs> {
    let mut all: Vec<Needs> = plan.nodes.iter().map(|n| vec![None; n.stream.schema.fields().len()]).collect();
    for output in &plan.outputs {
        all[output.node()].fill(Some(Need::Whole));
    }
    for (id, node) in plan.nodes.iter().enumerate().rev().filter(|(id, _)| used[*id]) {
        always(node).for_each(|c| all[id][c] = Some(Need::Whole));
        if let Op::Detect { residual: Some(residual), .. } = &node.op {
            // What its own condition reads is no pass-through here: unread columns end at this node.
            read(residual, Need::Whole, &node.stream.schema, &mut all[id]);
        }
        let own = std::mem::take(&mut all[id]);
        demand(plan, node, &own, &mut all);
        all[id] = own;
    }
    all
}

/// Columns that stay, whoever reads them.
fn always(node: &Node) -> impl Iterator<Item = usize> {
    let shard: &[usize] = if let Place::Shard(keys) = &node.place { keys } else { &[] };
    let stream = &node.stream;
    stream.times.iter().chain(&stream.order).chain(&stream.partition_key).chain(shard).copied()
}

/// What a node asks of its inputs.
fn demand(plan: &Plan, node: &Node, own: &[Option<Need>], all: &mut [Needs]) {
    let schema = |port: usize| Arc::clone(&plan.nodes[node.inputs[port]].stream.schema);
    let width = |port: usize| schema(port).fields().len();
    let mut ask =
        |port: usize, expr: &Expr| read(expr, Need::Whole, &schema(port), &mut all[node.inputs[port]]);
    for (port, keys) in node.exchange.iter().enumerate() {
        keys.iter().flatten().for_each(|key| ask(port, key));
    }
    let passed = match &node.op {
        Op::Source(_) => 0,
        Op::Project { columns, .. } => {
            for ((expr, _), need) in columns.iter().zip(own) {
                if let Some(need) = need {
                    read(expr, need.clone(), &schema(0), &mut all[node.inputs[0]]);
                }
            }
            0
        }
        Op::Filter(predicate) => {
            ask(0, predicate);
            own.len()
        }
        Op::Aggregate { group, aggregates, .. } => {
            group.iter().chain(aggregates).for_each(|e| ask(0, e));
            0
        }
        Op::Over { partition_by, functions, .. } => {
            partition_by.iter().for_each(|e| ask(0, e));
            for function in functions {
                match function {
                    OverExpr::Aggregate { function, .. } => ask(0, function),
                    OverExpr::Lag { value, default, .. } => {
                        ask(0, value);
                        default.iter().for_each(|e| ask(0, e));
                    }
                }
            }
            width(0)
        }
        Op::IntervalJoin { on, .. } | Op::AsofJoin { on, .. } => {
            for (left, right) in on {
                ask(0, left);
                ask(1, right);
            }
            own.len()
        }
        Op::ReferenceJoin { on, .. } => {
            on.iter().for_each(|(left, _)| ask(0, left));
            width(0)
        }
        Op::Detect { image, uri, .. } => {
            ask(0, image);
            uri.iter().for_each(|e| ask(0, e));
            width(0)
        }
        Op::Union => {
            // Branches keep the same columns, and whole ones: a computed column cannot lose fields.
            let asked = own.iter().enumerate().filter(|(_, need)| need.is_some()).map(|(c, _)| c);
            let stay = node.inputs.iter().flat_map(|input| always(&plan.nodes[*input]));
            for column in asked.chain(stay) {
                node.inputs.iter().for_each(|input| all[*input][column] = Some(Need::Whole));
            }
            0
        }
    };
    let mut own = own.to_vec();
    if let Op::IntervalJoin { residual: Some(residual), .. }
    | Op::ReferenceJoin { residual: Some(residual), .. } = &node.op
    {
        read(residual, Need::Whole, &node.stream.schema, &mut own);
    }
    for (column, need) in own.into_iter().take(passed).enumerate() {
        let Some(need) = need else { continue };
        let (port, at) = if column < width(0) { (0, column) } else { (1, column - width(0)) };
        add(&mut all[node.inputs[port]][at], need);
    }
}

/// Notes what an expression reads, where `need` of its value is read.
fn read(expr: &Expr, need: Need, schema: &SchemaRef, needs: &mut [Option<Need>]) {
    match expr {
        Expr::Alias(alias) => return read(&alias.expr, need, schema, needs),
        Expr::Column(column) => {
            if let Ok(index) = schema.index_of(&column.name) {
                add(&mut needs[index], need);
            }
            return;
        }
        Expr::ScalarFunction(f) if f.name() == "get_field" => {
            let names: Option<Vec<&str>> = f.args.iter().skip(1).map(text).collect();
            let of_struct =
                f.args.first().is_some_and(|a| matches!(type_of(a, schema), Ok(DataType::Struct(_))));
            if let (Some(names), true) = (names, of_struct) {
                let path = names
                    .iter()
                    .rev()
                    .fold(need, |inner, name| Need::Fields(BTreeMap::from([((*name).to_owned(), inner)])));
                return read(&f.args[0], path, schema, needs);
            }
        }
        _ => {}
    }
    let _ = expr.apply_children(|child| {
        read(child, Need::Whole, schema, needs);
        Ok(TreeNodeRecursion::Continue)
    });
}

fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        _ => None,
    }
}

fn add(to: &mut Option<Need>, need: Need) {
    *to = Some(match (to.take(), need) {
        (None, need) => need,
        (Some(Need::Fields(mut fields)), Need::Fields(more)) => {
            for (name, need) in more {
                let mut field = fields.remove(&name);
                add(&mut field, need);
                fields.extend(field.map(|f| (name, f)));
            }
            Need::Fields(fields)
        }
        _ => Need::Whole,
    });
}

/// Columns that a node keeps, ascending.
fn keep(node: &Node, needs: &[Option<Need>], kept: &[Vec<usize>], old: &[SchemaRef]) -> Result<Vec<usize>> {
    let input = |port: usize| kept[node.inputs[port]].iter().copied();
    let width = |port: usize| old[node.inputs[port]].fields().len();
    let asked = || needs.iter().enumerate().filter(|(_, n)| n.is_some()).map(|(c, _)| c);
    Ok(match &node.op {
        Op::Source(_) | Op::Project { .. } => asked().collect(),
        Op::Aggregate { .. } => (0..needs.len()).collect(),
        Op::Filter(_) => input(0).collect(),
        Op::Over { .. } | Op::ReferenceJoin { .. } => input(0).chain(width(0)..needs.len()).collect(),
        // An image that nobody reads behind it must not be copied for each thing found in it.
        Op::Detect { .. } => asked().filter(|c| *c < width(0)).chain(width(0)..needs.len()).collect(),
        Op::IntervalJoin { .. } | Op::AsofJoin { .. } => {
            input(0).chain(input(1).map(|c| c + width(0))).collect()
        }
        Op::Union => {
            // A branch is made for its union alone, so that nobody else asks anything of it.
            if (1..node.inputs.len()).any(|port| input(port).ne(input(0))) {
                return Err(lost("branch of a union"));
            }
            input(0).collect()
        }
    })
}

/// Types of the columns that a node keeps; its inputs are narrow already.
fn types(node: &Node, keep: &[usize], needs: &[Option<Need>], before: &[Node]) -> Result<Vec<DataType>> {
    let old = |c: &usize| node.stream.schema.field(*c).data_type().clone();
    let given = |id: &NodeId| before[*id].stream.schema.fields().iter().map(|f| f.data_type().clone());
    Ok(match &node.op {
        Op::Source(_) => keep.iter().map(|c| narrowed(&old(c), needs[*c].as_ref())).collect(),
        Op::Project { columns, .. } => {
            let input = &before[node.inputs[0]].stream.schema;
            keep.iter().map(|c| type_of(&columns[*c].0, input)).collect::<Result<_>>()?
        }
        Op::Aggregate { .. } => keep.iter().map(old).collect(),
        Op::Union => given(&node.inputs[0]).collect(),
        Op::Detect { .. } => {
            let input = &before[node.inputs[0]].stream.schema;
            let width = needs.len() - FOUND.len();
            let narrow = |c: &usize| {
                let name = node.stream.schema.field(*c).name();
                input.field_with_name(name).map(|f| f.data_type().clone()).map_err(|_| lost("column"))
            };
            keep.iter().map(|c| if *c < width { narrow(c) } else { Ok(old(c)) }).collect::<Result<_>>()?
        }
        _ => {
            let mut types: Vec<DataType> = node.inputs.iter().flat_map(given).collect();
            types.extend(keep.iter().skip(types.len()).map(old));
            types
        }
    })
}

/// A type with the fields that are read.
fn narrowed(data_type: &DataType, need: Option<&Need>) -> DataType {
    let (DataType::Struct(fields), Some(Need::Fields(read))) = (data_type, need) else {
        return data_type.clone();
    };
    let some = fields.iter().filter_map(|f| {
        let need = read.get(f.name())?;
        let narrow = narrowed(f.data_type(), Some(need));
        Some(Field::new(f.name(), narrow, f.is_nullable()))
    });
    DataType::Struct(some.collect::<Fields>())
}

/// Rewrites a node to the columns that it keeps.
fn shrink(node: &mut Node, keep: &[usize], types: Vec<DataType>) -> Result<()> {
    let at = |c: &usize| keep.binary_search(c).map_err(|_| lost("column"));
    let all = |columns: &[usize]| columns.iter().map(at).collect::<Result<Vec<usize>>>();
    if let Op::Project { columns, .. } = &mut node.op {
        *columns = keep.iter().map(|c| columns[*c].clone()).collect();
    }
    let stream = &mut node.stream;
    let names = keep.iter().map(|c| stream.schema.field(*c).name());
    let fields: Vec<Field> = names.zip(types).map(|(name, data_type)| field(name, data_type)).collect();
    stream.schema = Arc::new(Schema::new(fields));
    stream.times = all(&stream.times)?;
    stream.order = all(&stream.order)?;
    stream.partition_key = all(&stream.partition_key)?;
    if let Place::Shard(keys) = &mut node.place {
        *keys = all(keys)?;
    }
    node.windows = node.windows.iter().filter_map(|(c, time)| Some((at(c).ok()?, *time))).collect();
    Ok(())
}
