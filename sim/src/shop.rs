//! Stock movements of the shop behind one warehouse.
//!
//! In:   the warehouse and a stretch of time.
//! Out:  rows of `inventory_events`, versions 1 and 2 of their schema mixed.
//! Owns: the shop's stock. A count tells the true stock; no SKU is sold below 0.

use crate::floor::Floor;
use crate::record::{Json, Outbox, Sent, Topic};
use crate::rng::Rng;

const SECOND: i64 = 1_000_000;

#[derive(Debug)]
pub struct Shop {
    warehouse: usize,
    rng: Rng,
    next: i64,
    seq: u64,
    /// Items on hand, by article.
    stock: Vec<i64>,
}

impl Shop {
    pub fn new(seed: u64, floor: &Floor, warehouse: usize, start: i64) -> Shop {
        let mut rng = Rng::of(seed, &format!("shop {}", floor.warehouses[warehouse].id));
        let stock = floor.articles.iter().map(|_| rng.range(20, 60)).collect();
        Shop { warehouse, rng, next: start + SECOND, seq: 0, stock }
    }

    /// Sends what moves before `until`: a movement each 2 to 5 seconds.
    pub fn run_to(&mut self, until: i64, floor: &Floor, out: &mut Outbox) {
        while self.next < until {
            let at = self.next;
            self.next += self.rng.range(2_000, 5_000) * 1000;
            let article = self.rng.below(self.stock.len() as u64) as usize;
            let (dice, qty) = (self.rng.below(100), self.rng.range(1, 3));
            let version = 1 + i64::from(self.rng.chance(2, 3));
            let delay_us = self.rng.range(100, 20_000) * 1000;
            let stock = &mut self.stock[article];
            let (kind, qty) = match dice {
                _ if *stock < 8 => ("receipt", 24),
                0..90 => ("sale", qty),
                90..96 => ("adjust", 1),
                _ => ("count", *stock),
            };
            match kind {
                "sale" => *stock -= qty,
                "count" => {}
                _ => *stock += qty,
            }
            self.seq += 1;
            let site = &floor.warehouses[self.warehouse].id;
            let mut json = Json::new();
            json.show("event_id", format_args!("{site}-POS/1/{}", self.seq))
                .text("warehouse", site)
                .show("device", format_args!("{site}-POS"))
                .show("store", format_args!("{site}-SHOP"))
                .text("sku", &floor.articles[article].sku)
                .text("kind", kind)
                .int("qty", qty)
                .time("occurred_at", at)
                .int("schema_version", version);
            if version == 2 {
                json.text("channel", if dice % 2 == 0 { "till" } else { "web" });
            }
            let sent = Sent { made_us: at, delay_us, fault: false };
            out.row(Topic::InventoryEvents, self.warehouse, sent, json.finish());
        }
    }
}
