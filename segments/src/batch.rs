//! Records as a reader gives them: columns over one buffer each, no allocation a record.

/// Byte strings one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub bytes: Vec<u8>,
    /// One more than there are entries; entry i is `bytes[ends[i]..ends[i + 1]]`.
    pub ends: Vec<i32>,
    pub valid: Vec<bool>,
    pub null_count: usize,
}

impl Default for Column {
    fn default() -> Self {
        Self { bytes: Vec::new(), ends: vec![0], valid: Vec::new(), null_count: 0 }
    }
}

impl Column {
    pub(crate) fn push(&mut self, entry: Option<&[u8]>) {
        self.bytes.extend_from_slice(entry.unwrap_or_default());
        // Batches are cut before 2^30 bytes.
        self.ends.push(self.bytes.len() as i32);
        self.valid.push(entry.is_some());
        self.null_count += usize::from(entry.is_none());
    }

    pub fn get(&self, row: usize) -> Option<&[u8]> {
        self.valid[row].then(|| &self.bytes[self.ends[row] as usize..self.ends[row + 1] as usize])
    }
}

/// A header of one record of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader {
    pub row: u32,
    pub name: String,
    pub value: Vec<u8>,
}

/// Consecutive records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Offset of the first record; the others follow without gaps.
    pub first: i64,
    /// Milliseconds since the Unix epoch.
    pub append_ms: Vec<i64>,
    pub keys: Column,
    pub values: Column,
    /// Sorted by row.
    pub headers: Vec<RecordHeader>,
}

impl Batch {
    pub fn len(&self) -> usize {
        self.append_ms.len()
    }

    pub fn is_empty(&self) -> bool {
        self.append_ms.is_empty()
    }

    /// Offset after the last record.
    pub fn next(&self) -> i64 {
        self.first + self.len() as i64
    }
}
