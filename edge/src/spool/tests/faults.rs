//! Bytes that the disk does not give: asked for three times, then passed over to the next file, and counted.

use super::*;

/// Files of 4 KiB: some seven records each.
const SMALL: u64 = 64 << 10;

fn file(disk: &MemoryDisk, which: usize) -> (PathBuf, u64) {
    let segments = disk.files().into_iter().filter(|p| p.starts_with("data/spool/scans"));
    let path = segments.filter(|p| p.extension().is_some_and(|e| e == "seg")).nth(which).unwrap();
    let bytes = disk.read(&path).unwrap().len() as u64;
    (path, bytes)
}

fn filled(disk: &MemoryDisk, records: u64) -> Spool {
    let mut spool = open(disk, SMALL).unwrap();
    for n in 0..records {
        spool.push(0, b"W1", draft(n, 500));
        spool.sync().unwrap();
    }
    spool
}

/// Everything that comes, and how often the disk refused.
fn drained(spool: &mut Spool) -> (Vec<u64>, u32) {
    let (mut seen, mut refusals) = (Vec::new(), 0);
    loop {
        match spool.next(0, 5, 1 << 20) {
            Ok(records) => {
                let Some(last) = records.last() else { return (seen, refusals) };
                seen.extend(records.iter().map(number));
                spool.ack(0, last.offset);
            }
            Err(e) => {
                assert_eq!(e.code(), Code::Io);
                refusals += 1;
                assert!(refusals < 20, "it never ends");
            }
        }
    }
}

fn gone(spool: &Spool) -> Vec<u64> {
    let ranges = spool.states()[0].ranges.clone();
    assert!(ranges.iter().all(|r| r.why == Why::Damage), "{ranges:?}");
    ranges.iter().flat_map(|r| r.from.cast_unsigned()..r.to.cast_unsigned()).collect()
}

#[test]
fn a_place_that_is_never_given_costs_the_rest_of_its_file_and_the_count_says_so() {
    for which in [0, 2, 5] {
        let disk = MemoryDisk::default();
        let mut spool = filled(&disk, 40);
        let (path, bytes) = file(&disk, which);
        disk.bad_place(&path, Some(bytes / 2..bytes / 2 + 512));
        let (seen, refusals) = drained(&mut spool);
        assert_eq!(refusals, 2, "the third time it goes on");
        let missing: Vec<u64> = (0..40).filter(|n| !seen.contains(n)).collect();
        assert!((1..=8).contains(&missing.len()), "{missing:?}");
        assert_eq!((gone(&spool), spool.gone()), (missing.clone(), missing.len() as u64));
        assert!(seen.is_sorted() && spool.records(0) == 0);
        // What comes afterwards comes, over a restart too.
        spool.push(0, b"W1", draft(40, 5));
        spool.sync().unwrap();
        spool.save().unwrap();
        drop(spool);
        let mut spool = open(&disk, SMALL).unwrap();
        assert_eq!((drained(&mut spool), gone(&spool)), ((vec![40], 0), missing));
    }
}

#[test]
fn a_place_that_is_given_after_all_costs_nothing() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, 20);
    let (path, bytes) = file(&disk, 1);
    disk.bad_place(&path, Some(0..bytes));
    let mut seen: Vec<u64> = Vec::new();
    let mut refusals = 0;
    while refusals < 2 {
        match spool.next(0, 5, 1 << 20) {
            Ok(records) => seen.extend(records.iter().map(number)),
            Err(_) => refusals += 1,
        }
    }
    disk.bad_place(&path, None);
    seen.extend(drained(&mut spool).0);
    assert_eq!((seen, spool.gone()), ((0..20).collect(), 0));
}

/// The file written to has none behind it: one is begun.
#[test]
fn the_newest_file_is_passed_over_too() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, 3);
    disk.bad_place(&file(&disk, 0).0, Some(0..1));
    assert_eq!(drained(&mut spool), (vec![], 2));
    assert_eq!(gone(&spool), [0, 1, 2]);
    spool.push(0, b"W1", draft(3, 5));
    spool.sync().unwrap();
    assert_eq!(drained(&mut spool), (vec![3], 0));
}

/// What was on its way is asked for again: where its file is not given, after a broken sender or at a start.
#[test]
fn a_rewind_and_a_start_pass_it_over_as_well() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, 20);
    let sent = spool.next(0, 3, 1 << 20).unwrap();
    spool.ack(0, sent[1].offset);
    spool.save().unwrap();
    disk.bad_place(&file(&disk, 0).0, Some(0..1));
    let refusals = (0..10).take_while(|_| spool.rewind(0).is_err()).count();
    let (seen, _) = drained(&mut spool);
    let lost: Vec<u64> = (2..seen[0]).collect();
    assert_eq!((refusals, gone(&spool), seen.last()), (2, lost.clone(), Some(&19)));
    drop(spool);
    let mut spool = open(&disk, SMALL).unwrap();
    assert_eq!((drained(&mut spool).0, gone(&spool)), (seen, lost));
}

/// A lane whose files cannot be read holds no other lane's quota, and its own goes by the files behind.
#[test]
fn quotas_are_kept_beside_what_cannot_be_read() {
    let disk = MemoryDisk::default();
    let mut both = lanes(SMALL);
    both.iter_mut().for_each(|l| l.age_max_us = Some(1_000));
    let mut spool = Spool::open(Arc::new(disk.clone()), Path::new(ROOT), &both).unwrap();
    for n in 0..40 {
        (0..2).for_each(|lane| spool.push(lane, b"W1", draft(n, 500)));
        spool.sync().unwrap();
    }
    disk.bad_place(&file(&disk, 1).0, Some(0..512));
    let (path, _) = file(&disk, 2);
    disk.damage(&path, |bytes| bytes[20] ^= 1);
    spool.enforce(Some(1_000 + 30)).unwrap();
    let first = |spool: &mut Spool, lane: usize| number(&spool.next(lane, 1, 1).unwrap()[0]);
    let first = [first(&mut spool, 0), first(&mut spool, 1)];
    assert!(first.iter().all(|n| (20..=30).contains(n)), "older than ten of the forty: {first:?}");
    let aged = spool.states().iter().map(|s| s.gone).collect::<Vec<_>>();
    assert_eq!(aged, first, "each counted");
}
