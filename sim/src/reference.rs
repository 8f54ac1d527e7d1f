//! The reference tables of the floor as rows and as SQL.
//!
//! In:   the floor. Out: rows in insertion order (no row names one that comes later), `INSERT`s that
//! name their columns, and single rows for changes during the day.

use serde_json::{Map, Value, json};

use crate::floor::{Article, BRANDS, Floor, Limits, Station, Unit, WORKPOOLS, Warehouse};

/// One row of a reference table: column name to value.
pub type Row = Map<String, Value>;

fn row(value: Value) -> Row {
    match value {
        Value::Object(map) => map,
        _ => Row::new(),
    }
}

fn share(thousandths: i64) -> Value {
    json!(thousandths as f64 / 1000.0)
}

pub fn warehouse(w: &Warehouse) -> Row {
    row(json!({"warehouse": w.id, "name": w.name, "time_zone": w.zone, "active": true}))
}

pub fn station(s: &Station, warehouse: &str) -> Row {
    row(json!({"station": s.id, "warehouse": warehouse, "stage": s.stage, "unit_id": s.unit_id,
               "camera": s.camera, "scanner": s.scanner}))
}

fn article(a: &Article) -> Row {
    let name = format!("{} {}", BRANDS[a.brand], a.sku);
    row(json!({"barcode": a.barcode, "sku": a.sku, "brand": BRANDS[a.brand], "name": name}))
}

/// The row of a unit under the given limits.
pub fn unit(floor: &Floor, u: &Unit, limits: Limits) -> Row {
    let path = match u.paths[..] {
        [only] => Value::from(floor.paths[only].id.clone()),
        _ => Value::Null,
    };
    row(json!({
        "unit_id": u.id, "warehouse": floor.warehouses[u.warehouse].id, "workpool": WORKPOOLS[u.workpool],
        "path": path, "unit_type": u.unit_type, "capacity": u.capacity as f64,
        "overflow_on": share(limits.overflow_on), "overflow_off": share(limits.overflow_off),
        "starve_on": share(limits.starve_on), "starve_off": share(limits.starve_off),
        "horizon_min": limits.horizon_min as f64, "active": true,
    }))
}

/// The row of a path with the given upstream.
pub fn path(floor: &Floor, path: usize, upstream: Option<usize>) -> Row {
    let p = &floor.paths[path];
    row(json!({
        "path": p.id, "workpool": WORKPOOLS[p.workpool], "warehouse": floor.warehouses[p.warehouse].id,
        "upstream_path": upstream.map(|u| floor.paths[u].id.clone()),
    }))
}

/// All rows that stand before the day begins.
pub fn rows(floor: &Floor) -> Vec<(&'static str, Row)> {
    let mut out: Vec<(&'static str, Row)> = Vec::new();
    out.extend(floor.warehouses.iter().map(|w| ("warehouses", warehouse(w))));
    out.extend(
        WORKPOOLS
            .iter()
            .zip(["Picking", "Packing", "Shipping"])
            .map(|(id, name)| ("workpools", row(json!({"workpool": id, "name": name})))),
    );
    out.extend((0..floor.paths.len()).map(|p| ("paths", path(floor, p, floor.paths[p].upstream))));
    out.extend(floor.units.iter().map(|u| ("units", unit(floor, u, u.limits))));
    for u in &floor.units {
        out.extend(
            u.paths.iter().map(|p| ("path_units", row(json!({"path": floor.paths[*p].id, "unit_id": u.id})))),
        );
    }
    for (outer, o) in floor.units.iter().enumerate() {
        for (inner, i) in floor.units.iter().enumerate() {
            if floor.contains(outer, inner) {
                out.push(("unit_contains", row(json!({"outer_id": o.id, "inner_id": i.id}))));
            }
        }
    }
    out.extend(floor.stations.iter().map(|s| ("stations", station(s, &floor.warehouses[s.warehouse].id))));
    out.extend(floor.articles.iter().map(|a| ("items", article(a))));
    out.extend(
        [
            ("picking_throttle", "total", "20 minutes"),
            ("throttle_inflow", "path", "20 minutes"),
            ("induct_throttle", "induct", "20 minutes"),
            ("raise_inflow", "total,path,induct", "15 minutes"),
            ("add_stations", "total,path,induct", "15 minutes"),
            ("rebalance", "path", "60 minutes"),
            ("clear_jam", "total,path,induct", "0 seconds"),
        ]
        .map(|(action, types, suppress)| {
            let audience = "flow-control";
            ("actions", row(json!({"action": action, "unit_types": types, "suppress": suppress, "audience": audience})))
        }),
    );
    out.extend(["induct_throttle", "throttle_inflow"].map(|loser| {
        (
            "conflicts",
            row(json!({"winner_action": "picking_throttle", "loser_action": loser, "scope": "contained"})),
        )
    }));
    for w in &floor.warehouses {
        for pool in WORKPOOLS {
            for weekday in 1..=7 {
                for (starts, ends) in [("06:00", "14:00"), ("14:00", "22:00"), ("22:00", "06:00")] {
                    let shift = json!({"warehouse": w.id, "workpool": pool, "weekday": weekday,
                                       "starts": starts, "ends": ends});
                    out.push(("shifts", row(shift)));
                }
            }
        }
    }
    out
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Bool(b) => if *b { "TRUE" } else { "FALSE" }.into(),
        Value::String(s) => format!("'{}'", s.replace('\'', "''")),
        other => other.to_string(),
    }
}

/// One `INSERT` per run of rows of one table, columns named, in the order of `rows`.
pub fn inserts(rows: &[(&'static str, Row)]) -> Vec<String> {
    let mut out = Vec::new();
    for run in rows.chunk_by(|a, b| a.0 == b.0 && a.1.len() == b.1.len()) {
        let columns: Vec<&str> = run[0].1.keys().map(String::as_str).collect();
        let values: Vec<String> = run
            .iter()
            .map(|(_, r)| format!("({})", r.values().map(literal).collect::<Vec<_>>().join(", ")))
            .collect();
        out.push(format!(
            "INSERT INTO {} ({}) VALUES\n  {}",
            run[0].0,
            columns.join(", "),
            values.join(",\n  ")
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserts_name_columns_and_quote_text() {
        let floor = Floor::new(2, 4, 2);
        let sql = inserts(&rows(&floor));
        let units = sql.iter().find(|s| s.starts_with("INSERT INTO units ")).unwrap();
        assert!(units.contains("(active, capacity, horizon_min, overflow_off, overflow_on, path"), "{units}");
        assert!(
            units.contains("(TRUE, 1248.0, 10.0, 0.6, 0.7, NULL, 0.1, 0.05, 'MAD1_PICK_TOTAL', 'total'"),
            "{units}"
        );
        assert_eq!(literal(&json!("it's")), "'it''s'");
        assert_eq!(sql.iter().filter(|s| s.starts_with("INSERT INTO stations ")).count(), 1);
    }
}
