//! What the files promise, under truncation at every byte, flips of every byte, and a death at every step.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use tempfile::TempDir;
use weir_contract::clock::ManualClock;
use weir_contract::{Code, Error};

use super::*;
use crate::disk::{Step, Steps};

type Owned = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Vec<u8>)>);

/// Where the machine has a file system in memory: syncs cost nothing there, and mean the same here.
fn folder_in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn small() -> WriterOptions {
    WriterOptions { segment_bytes: 300, ..WriterOptions::default() }
}

/// Record number n: sizes, NULLs and headers vary with n.
fn owned(n: i64) -> Owned {
    let key = (n % 3 != 0).then(|| format!("key{n}").into_bytes());
    let value = (n % 5 != 4).then(|| vec![n as u8; (n % 23) as usize]);
    let headers = if n % 4 == 1 { vec![("h".to_owned(), vec![n as u8])] } else { Vec::new() };
    (n * 10, key, value, headers)
}

fn append(writer: &mut Writer, from: i64, count: i64) -> weir_contract::Result<std::ops::Range<i64>> {
    let all: Vec<Owned> = (from..from + count).map(owned).collect();
    let records: Vec<Record<'_>> = all
        .iter()
        .map(|(ms, key, value, headers)| Record {
            append_ms: *ms,
            key: key.as_deref(),
            value: value.as_deref(),
            headers,
        })
        .collect();
    writer.append(&records)
}

fn read(folder: &Path, from: i64, rows: usize) -> weir_contract::Result<Vec<Owned>> {
    let mut reader = Reader::open(folder, from)?;
    let mut all = Vec::new();
    while let Some(batch) = reader.next_batch(rows, 1 << 20)? {
        assert_eq!(batch.first, from + all.len() as i64);
        assert!(!batch.is_empty() && batch.len() <= rows);
        for row in 0..batch.len() {
            let headers = batch.headers.iter().filter(|h| h.row == row as u32);
            all.push((
                batch.append_ms[row],
                batch.keys.get(row).map(<[u8]>::to_vec),
                batch.values.get(row).map(<[u8]>::to_vec),
                headers.map(|h| (h.name.clone(), h.value.clone())).collect(),
            ));
        }
    }
    assert_eq!(reader.position(), reader.end()?);
    Ok(all)
}

fn expected(from: i64, to: i64) -> Vec<Owned> {
    (from..to).map(owned).collect()
}

fn code<T>(result: Result<T, Error>) -> Option<Code> {
    result.err().map(|e| e.code())
}

/// Copies a log as a power cut leaves it: without the mark, which is never synced.
fn copy(from: &Path, with_mark: bool) -> TempDir {
    let to = folder_in_memory();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if with_mark || entry.file_name() != "durable" {
            std::fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
        }
    }
    to
}

fn last_segment(folder: &Path) -> std::path::PathBuf {
    disk::segment_path(folder, *disk::segments(&RealDisk, folder).unwrap().last().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_was_appended_is_read_from_anywhere(appends in prop::collection::vec((0..9_i64, any::<bool>(), 0..8_u8), 1..30)) {
        let folder = folder_in_memory();
        let mut writer = Writer::open(folder.path(), small()).unwrap();
        let mut durable = 0;
        for (count, sync, reopen) in appends {
            let next = writer.end();
            prop_assert_eq!(append(&mut writer, next, count).unwrap(), next..next + count);
            // A full file is synced before the next one is made.
            durable = durable.max(writer.durable_end());
            if sync {
                writer.sync().unwrap();
                durable = writer.end();
            }
            prop_assert_eq!(Reader::bounds(folder.path()).unwrap(), (0, durable));
            if reopen == 0 {
                drop(writer);
                writer = Writer::open(folder.path(), small()).unwrap();
                prop_assert_eq!(writer.end(), durable);
            }
        }
        for rows in [1, 2, 7, 63, 64, 65] {
            prop_assert_eq!(read(folder.path(), 0, rows).unwrap(), expected(0, durable));
        }
        for from in 0..=durable {
            prop_assert_eq!(read(folder.path(), from, 7).unwrap(), expected(from, durable));
        }
    }
}

#[test]
fn a_tail_cut_at_every_byte_loses_only_the_torn_append() {
    let folder = folder_in_memory();
    let options = WriterOptions { segment_bytes: 1_000, ..WriterOptions::default() };
    let mut writer = Writer::open(folder.path(), options).unwrap();
    let mut ends = vec![];
    for n in 0..15 {
        let segments = disk::segments(&RealDisk, folder.path()).unwrap().len();
        let next = writer.end();
        append(&mut writer, next, 1 + n % 3).unwrap();
        writer.sync().unwrap();
        if disk::segments(&RealDisk, folder.path()).unwrap().len() > segments {
            ends.clear();
        }
        ends.push((std::fs::metadata(last_segment(folder.path())).unwrap().len(), writer.end()));
    }
    assert!(ends.len() > 2, "the last file holds several frames");
    let base = *disk::segments(&RealDisk, folder.path()).unwrap().last().unwrap();
    for len in 0..=ends.last().unwrap().0 {
        let copied = copy(folder.path(), false);
        let torn = std::fs::OpenOptions::new().write(true).open(last_segment(copied.path())).unwrap();
        torn.set_len(len).unwrap();
        let kept = ends.iter().rev().find(|(end, _)| *end <= len).map_or(base, |(_, next)| *next);
        assert_eq!(read(copied.path(), 0, 64).unwrap(), expected(0, kept), "read at {len}, no writer yet");
        let mut again = Writer::open(copied.path(), options).unwrap();
        assert_eq!(again.end(), kept);
        append(&mut again, kept, 2).unwrap();
        again.sync().unwrap();
        assert_eq!(read(copied.path(), 0, 64).unwrap(), expected(0, kept + 2));

        let marked = copy(folder.path(), true);
        std::fs::copy(torn_path(&copied, base, len, folder.path()), last_segment(marked.path())).unwrap();
        if len < ends.last().unwrap().0 {
            assert_eq!(code(Writer::open(marked.path(), options)), Some(Code::Damaged), "durable bytes lost");
        }
    }
}

/// The last file of `original` cut at `len`, beside it.
fn torn_path(scratch: &TempDir, base: i64, len: u64, original: &Path) -> std::path::PathBuf {
    let bytes = std::fs::read(disk::segment_path(original, base)).unwrap();
    let path = scratch.path().join("torn");
    std::fs::write(&path, &bytes[..len as usize]).unwrap();
    path
}

#[test]
fn a_flipped_bit_is_never_read_as_something_else() {
    let folder = folder_in_memory();
    let mut writer = Writer::open(folder.path(), small()).unwrap();
    for _ in 0..9 {
        let next = writer.end();
        append(&mut writer, next, 2).unwrap();
        writer.sync().unwrap();
    }
    let end = writer.end();
    drop(writer);
    let bases = disk::segments(&RealDisk, folder.path()).unwrap();
    assert!(bases.len() > 2);
    for with_mark in [true, false] {
        let copied = copy(folder.path(), with_mark);
        for base in &bases {
            let path = disk::segment_path(copied.path(), *base);
            let sound = std::fs::read(&path).unwrap();
            for at in 0..sound.len() {
                let mut flipped = sound.clone();
                flipped[at] ^= 1 << (at % 8);
                std::fs::write(&path, &flipped).unwrap();
                match read(copied.path(), 0, 64) {
                    Err(e) => assert_eq!(e.code(), Code::Damaged, "{e}"),
                    // Without any word on what was durable, the last append may look torn.
                    Ok(all) => {
                        assert!(!with_mark && all == expected(0, end - 2), "byte {at} of {base}");
                    }
                }
            }
            std::fs::write(&path, &sound).unwrap();
        }
        assert_eq!(read(copied.path(), 0, 64).unwrap(), expected(0, end));
    }
}

/// Refuses step number `at`, and every later one too where `dies`.
fn refuse(at: usize, dies: bool, kind: io::ErrorKind, count: Arc<AtomicUsize>) -> Steps {
    Steps::new(Box::new(move |_step: Step| {
        let n = count.fetch_add(1, Ordering::SeqCst);
        if n == at || (dies && n > at) { Err(io::Error::from(kind)) } else { Ok(()) }
    }))
}

/// Appends and syncs with trimming; gives how far a sync returned, and how far an append did.
fn work(folder: &Path, steps: Steps, retry: bool) -> (i64, i64) {
    let options = WriterOptions { segment_bytes: 120, retain_bytes: Some(400), retain_ms: None };
    let Ok(mut writer) = Writer::open_with(folder, options, steps) else { return (0, 0) };
    let (mut synced, mut appended) = (0, 0);
    let mut broken = false;
    while appended < 30 && !broken {
        let next = writer.end();
        match append(&mut writer, next, 2) {
            Ok(offsets) => appended = offsets.end,
            Err(_) if retry && append(&mut writer, next, 2).is_ok() => appended = next + 2,
            Err(_) => broken = true,
        }
        synced = synced.max(writer.durable_end());
        match writer.sync() {
            Ok(()) => synced = writer.durable_end(),
            Err(_) => {
                broken = true;
                assert_eq!(code(writer.sync()), Some(Code::Io), "a failed sync is never made good");
            }
        }
    }
    (synced, appended)
}

#[test]
fn a_death_or_refusal_at_every_step_loses_nothing_that_was_synced() {
    for (dies, kind) in [(true, io::ErrorKind::Other), (false, io::ErrorKind::StorageFull)] {
        let mut steps_seen = 0;
        for at in 0.. {
            let folder = folder_in_memory();
            let count = Arc::new(AtomicUsize::new(0));
            let (synced, appended) = work(folder.path(), refuse(at, dies, kind, count.clone()), !dies);
            for with_mark in [true, false] {
                let left = copy(folder.path(), with_mark);
                let mut writer = Writer::open(left.path(), small()).unwrap();
                let (start, end) = (writer.start(), writer.end());
                assert!(end >= synced, "step {at}: synced {synced}, found {end}");
                assert!(end <= appended + 2, "step {at}: appended {appended}, found {end}");
                assert_eq!(read(left.path(), start, 7).unwrap(), expected(start, end), "step {at}");
                append(&mut writer, end, 1).unwrap();
                writer.sync().unwrap();
                assert_eq!(read(left.path(), start, 7).unwrap(), expected(start, end + 1));
            }
            steps_seen = at;
            if count.load(Ordering::SeqCst) <= at {
                assert_eq!(appended, 30, "no step was refused");
                break;
            }
        }
        assert!(steps_seen > 40, "only {steps_seen} steps");
    }
}

#[test]
fn a_full_disk_leaves_nothing_half_written_and_goes_on() {
    let folder = folder_in_memory();
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let steps = Steps::new(Box::new(move |step| {
        let full = step == Step::Write && seen.fetch_add(1, Ordering::SeqCst) == 1;
        if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }));
    let mut writer = Writer::open_with(folder.path(), WriterOptions::default(), steps).unwrap();
    append(&mut writer, 0, 3).unwrap();
    assert_eq!(code(append(&mut writer, 3, 3)), Some(Code::DiskFull));
    append(&mut writer, 3, 4).unwrap();
    writer.sync().unwrap();
    assert_eq!(read(folder.path(), 0, 64).unwrap(), expected(0, 7));
}

#[test]
fn a_running_log_is_read_up_to_what_is_durable() {
    let folder = folder_in_memory();
    let mut writer = Writer::open(folder.path(), small()).unwrap();
    let mut reader = Reader::open(folder.path(), 0).unwrap();
    for n in 0..50 {
        append(&mut writer, n, 1).unwrap();
        writer.sync().unwrap();
        assert_eq!(reader.next_batch(10, 1_000).unwrap().unwrap().append_ms, [n * 10]);
    }
    let mut fresh = Writer::open(&folder.path().join("other"), WriterOptions::default()).unwrap();
    let mut reader = Reader::open(&folder.path().join("other"), 0).unwrap();
    append(&mut fresh, 0, 5).unwrap();
    assert!(reader.next_batch(10, 1_000).unwrap().is_none(), "not synced, not seen");
    fresh.sync().unwrap();
    assert_eq!(reader.next_batch(10, 1).unwrap().unwrap().len(), 1, "one, however small the limit");
}

#[test]
fn one_writer_only_and_an_identity_that_stays() {
    let folder = folder_in_memory();
    let writer = Writer::open(folder.path(), small()).unwrap();
    assert_eq!(code(Writer::open(folder.path(), small())), Some(Code::Locked));
    let id = writer.identity().to_owned();
    drop(writer);
    assert_eq!(Writer::open(folder.path(), small()).unwrap().identity(), id);
    assert_eq!(Reader::identity(folder.path()).unwrap(), id);
    let other = folder_in_memory();
    assert_ne!(Writer::open(other.path(), small()).unwrap().identity(), id);
}

#[test]
fn retention_deletes_whole_files_and_names_the_gap() {
    let folder = folder_in_memory();
    let options = WriterOptions { segment_bytes: 100, retain_bytes: None, retain_ms: Some(200) };
    let mut writer = Writer::open(folder.path(), options).unwrap();
    let mut slow = Reader::open(folder.path(), 0).unwrap();
    for n in 0..60 {
        append(&mut writer, n, 1).unwrap();
        writer.sync().unwrap();
    }
    let start = writer.start();
    assert!((20..50).contains(&start), "{start}");
    assert_eq!(code(Reader::open(folder.path(), start - 1)), Some(Code::Retention));
    assert_eq!(read(folder.path(), start, 64).unwrap(), expected(start, 60));
    let overtaken = loop {
        match slow.next_batch(1, 1) {
            Ok(batch) => assert!(batch.is_some_and(|b| b.first < start)),
            Err(e) => break e,
        }
    };
    assert_eq!(overtaken.code(), Code::Retention);
    writer.retain(i64::MAX).unwrap();
    assert_eq!(Reader::bounds(folder.path()).unwrap(), (writer.start(), 60));
}

#[test]
fn append_times_never_go_back_not_even_over_a_restart() {
    let folder = folder_in_memory();
    let clock = ManualClock::at(5_999);
    let mut writer = Writer::open(folder.path(), WriterOptions::default()).unwrap();
    assert_eq!(writer.stamp(&clock), 5);
    let record = Record { append_ms: writer.stamp(&clock), ..Record::default() };
    writer.append(&[record]).unwrap();
    writer.sync().unwrap();
    clock.set(1_000);
    assert_eq!(writer.stamp(&clock), 5);
    drop(writer);
    assert_eq!(Writer::open(folder.path(), WriterOptions::default()).unwrap().stamp(&clock), 5);
}

#[test]
fn a_large_append_is_several_frames_and_an_index_finds_its_middle() {
    let folder = folder_in_memory();
    let value = vec![7_u8; 1 << 20];
    let record = Record { value: Some(&value), ..Record::default() };
    let options = WriterOptions { segment_bytes: 1 << 20, ..WriterOptions::default() };
    let mut writer = Writer::open(folder.path(), options).unwrap();
    writer.append(&[record; 20]).unwrap();
    writer.append(&[record; 2]).unwrap();
    writer.sync().unwrap();
    assert!(disk::index_path(folder.path(), 0).is_file());
    let mut reader = Reader::open(folder.path(), 13).unwrap();
    let batch = reader.next_batch(100, 4 << 20).unwrap().unwrap();
    assert_eq!((batch.first, batch.len()), (13, 4));
    let huge = vec![0; RECORD_BYTES_MAX];
    let refused = writer.append(&[Record { value: Some(&huge), ..Record::default() }]);
    assert_eq!(code(refused), Some(Code::TooLarge));
}
