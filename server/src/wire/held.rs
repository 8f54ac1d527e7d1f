//! A control log in memory that starts as a copy of another one: a replay reads the decisions of the
//! live run, and what it would append goes nowhere else.
//!
//! In:   another control log, read to its end once.
//! Out:  the same records; appends behind them, forgotten with this value.

use std::sync::{Mutex, MutexGuard, PoisonError};

use weir_contract::{Code, Error, Result};
use weir_engine::control::{Control, ControlLog};

/// Records by partition; partitions appear as they are written.
#[derive(Debug, Default)]
pub struct HeldControl(Mutex<Vec<Vec<Control>>>);

impl HeldControl {
    /// Copies all partitions of a log as they are now.
    pub fn of(log: &dyn ControlLog) -> Result<Self> {
        let mut partitions = Vec::new();
        for partition in 0..log.partitions()? {
            let (records, _) = log.read(partition, 0)?;
            partitions.push(records.into_iter().map(|(_, record)| record).collect());
        }
        Ok(Self(Mutex::new(partitions)))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<Control>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ControlLog for HeldControl {
    fn append(&self, partition: u32, record: &Control) -> Result<i64> {
        let mut partitions = self.lock();
        let at = partition as usize;
        if partitions.len() <= at {
            partitions.resize_with(at + 1, Vec::new);
        }
        partitions[at].push(record.clone());
        Ok(partitions[at].len() as i64 - 1)
    }

    fn read(&self, partition: u32, from: i64) -> Result<(Vec<(i64, Control)>, i64)> {
        let partitions = self.lock();
        let Some(records) = partitions.get(partition as usize) else { return Ok((Vec::new(), from.max(0))) };
        let skip = usize::try_from(from)
            .map_err(|_| Error::new(Code::ControlLog, format!("no control record has offset {from}")))?;
        let rest = records.iter().enumerate().skip(skip).map(|(at, r)| (at as i64, r.clone())).collect();
        Ok((rest, records.len() as i64))
    }

    fn partitions(&self) -> Result<u32> {
        Ok(self.lock().len().max(1) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(offset: i64) -> Control {
        Control::Idle { table: "t".into(), partition: 0, offset, watermark: 7 }
    }

    #[test]
    fn appends_stay_here() {
        let live = HeldControl::default();
        live.append(0, &idle(1)).unwrap();
        live.append(2, &idle(2)).unwrap();
        let held = HeldControl::of(&live).unwrap();
        assert_eq!(held.partitions().unwrap(), 3);
        assert_eq!(held.append(0, &idle(3)).unwrap(), 1);
        assert_eq!(held.append(5, &idle(4)).unwrap(), 0);
        assert_eq!(held.read(0, 1).unwrap(), (vec![(1, idle(3))], 2));
        assert_eq!(held.read(2, 0).unwrap().0, [(0, idle(2))]);
        assert_eq!(live.read(0, 0).unwrap(), (vec![(0, idle(1))], 1), "the live log is as it was");
        assert_eq!(live.partitions().unwrap(), 3);
    }
}
