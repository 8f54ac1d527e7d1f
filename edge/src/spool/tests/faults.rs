//! Bytes that the disk does not give: asked for three times, then passed over to the next file, and counted.
//! Syncs and names that it refuses, once or for a while.

use std::io;
use std::sync::Mutex;

use weir_segments::{DiskFile, LockGuard, Mode};

use super::*;

/// What is asked of a disk that may say no.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Asked {
    Open(Mode),
    Sync,
}

type Refusal = Box<dyn FnMut(&str, Asked) -> Option<io::ErrorKind> + Send>;

/// A disk that refuses what a test says.
#[derive(Clone)]
struct Moody {
    disk: MemoryDisk,
    refusal: Arc<Mutex<Option<Refusal>>>,
}

struct MoodyFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    of: Moody,
}

impl Moody {
    fn over(disk: MemoryDisk) -> Self {
        Self { disk, refusal: Arc::default() }
    }

    fn refuses(&self, refusal: impl FnMut(&str, Asked) -> Option<io::ErrorKind> + Send + 'static) {
        *self.refusal.lock().unwrap() = Some(Box::new(refusal));
    }

    fn ask(&self, path: &Path, asked: Asked) -> io::Result<()> {
        let mut refusal = self.refusal.lock().unwrap();
        let said = refusal.as_mut().and_then(|refusal| refusal(path.to_str().unwrap(), asked));
        said.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn spool(&self, bytes_max: u64) -> Result<Spool> {
        Spool::open(Arc::new(self.clone()), Path::new(ROOT), &lanes(bytes_max))
    }
}

impl DiskFile for MoodyFile {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(into, at)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn sync(&self) -> io::Result<()> {
        self.of.ask(&self.path, Asked::Sync)?;
        self.file.sync()
    }
}

impl Disk for Moody {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>> {
        self.ask(path, Asked::Open(mode))?;
        let (file, path, of) = (self.disk.open(path, mode)?, path.to_owned(), self.clone());
        Ok(Box::new(MoodyFile { file, path, of }))
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.disk.names(folder)
    }

    fn is_folder(&self, path: &Path) -> bool {
        self.disk.is_folder(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.disk.create_folder(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.disk.sync_folder(folder)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<LockGuard>> {
        self.disk.lock(path)
    }

    fn boot(&self) -> String {
        self.disk.boot()
    }
}

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

/// The disk is full, then refuses otherwise: only for the full disk frames go, and no more than one file of them.
#[test]
fn frames_go_for_a_full_disk_and_for_nothing_else() {
    let disk = Moody::over(MemoryDisk::default());
    let mut spool = disk.spool(SMALL).unwrap();
    for n in 0..40 {
        spool.push(1, b"W1", draft(n, 500));
        spool.sync().unwrap();
    }
    let mut full = false;
    disk.refuses(move |path, asked| {
        let kind = if full { io::ErrorKind::Other } else { io::ErrorKind::StorageFull };
        let refused = path.contains("scans") && path.ends_with(".seg") && asked == Asked::Sync;
        full |= refused;
        refused.then_some(kind)
    });
    spool.push(0, b"W1", draft(40, 5));
    assert_eq!(spool.sync().unwrap_err().code(), Code::Io);
    assert!((1..=8).contains(&spool.gone()), "one file: {}", spool.gone());
    disk.refuses(|_, _| None);
    spool.sync().unwrap();
    assert_eq!(drained(&mut spool), (vec![40], 0));
}

/// A lane whose writer broke before gives its room all the same.
#[test]
fn frames_that_could_not_be_synced_still_make_room_for_scans() {
    let disk = Moody::over(MemoryDisk::default());
    let mut spool = disk.spool(SMALL).unwrap();
    let refuse_once = |lane: &'static str, kind: io::ErrorKind| {
        let mut left = 1;
        disk.refuses(move |path, asked| {
            let refused = left > 0 && path.contains(lane) && path.ends_with(".seg") && asked == Asked::Sync;
            left -= i32::from(refused);
            refused.then_some(kind)
        });
    };
    (0..3).for_each(|n| spool.push(1, b"W1", draft(n, 500)));
    spool.sync().unwrap();
    refuse_once("frames", io::ErrorKind::Other);
    spool.push(1, b"W1", draft(3, 500));
    assert_eq!(spool.sync().unwrap_err().code(), Code::Io);
    refuse_once("scans", io::ErrorKind::StorageFull);
    spool.push(0, b"W1", draft(4, 5));
    spool.sync().unwrap();
    assert_eq!((drained(&mut spool), spool.gone(), spool.records(1)), ((vec![4], 0), 3, 1));
}

fn acked(disk: &MemoryDisk) -> i64 {
    open(disk, SMALL).unwrap().states()[0].acked
}

/// Acknowledges so many and saves; whether the disk took it.
fn acknowledged(spool: &mut Spool, count: usize) -> bool {
    let last = spool.next(0, count, 1 << 20).unwrap().last().unwrap().offset;
    spool.ack(0, last);
    spool.save().is_ok()
}

/// A file of the ledger that could not be synced is replaced: what is then said to be durable is.
#[test]
fn a_ledger_that_could_not_be_synced_is_written_anew_and_is_durable() {
    for opens in [true, false] {
        let disk = Moody::over(MemoryDisk::crashable());
        let mut spool = disk.spool(SMALL).unwrap();
        (0..40).for_each(|n| spool.push(0, b"W1", draft(n, 5)));
        spool.sync().unwrap();
        assert!((0..2).all(|_| acknowledged(&mut spool, 2)));
        let (mut syncs, mut makes) = (1, i32::from(!opens));
        disk.refuses(move |path, asked| {
            let left = match asked {
                Asked::Sync => &mut syncs,
                Asked::Open(Mode::Create) if syncs == 0 => &mut makes,
                Asked::Open(_) => return None,
            };
            let refused = *left > 0 && path.contains("ledger.");
            *left -= i32::from(refused);
            refused.then_some(io::ErrorKind::Other)
        });
        assert!(!acknowledged(&mut spool, 2));
        let tries = (0..5).take_while(|_| spool.save().is_err()).count();
        assert!(tries <= 1, "{tries}");
        // A power cut keeps what was synced and, of the names that were not, the first: that of the old file goes.
        let mut before = 3;
        disk.disk.power_cut(|n| {
            let first = before == 3;
            before = n;
            u64::from(!first || n == 3)
        });
        assert_eq!(acked(&disk.disk), 6, "opens {opens}");
    }
}

/// What a killed agent had written and not synced is read by the next one, which writes over the other file.
#[test]
fn a_ledger_is_durable_before_anything_rests_on_it() {
    let disk = Moody::over(MemoryDisk::crashable());
    let mut spool = disk.spool(SMALL).unwrap();
    (0..40).for_each(|n| spool.push(0, b"W1", draft(n, 5)));
    spool.sync().unwrap();
    assert!((0..2).all(|_| acknowledged(&mut spool, 2)));
    // Killed between the write and the sync of the next facts.
    let newest = disk.disk.files().into_iter().filter(|p| p.to_str().unwrap().contains("ledger."));
    let held: Vec<Vec<u8>> = newest.clone().map(|p| disk.disk.read(&p).unwrap()).collect();
    assert!(acknowledged(&mut spool, 2));
    let (path, before) = newest.zip(held).find(|(p, held)| disk.disk.read(p).unwrap() != *held).unwrap();
    let after = disk.disk.read(&path).unwrap();
    disk.disk.damage(&path, |bytes| bytes.clone_from(&before));
    disk.disk.open(&path, Mode::Write).unwrap().write_all_at(&after, 0).unwrap();
    drop(spool);
    let spool = disk.spool(SMALL).unwrap();
    assert_eq!(spool.states()[0].acked, 6);
    // A power cut tears the next facts, and leaves nothing that was not synced.
    let other = disk.disk.files().into_iter().find(|p| p.to_str().unwrap().contains("ledger.") && *p != path);
    disk.disk.damage(&other.unwrap(), |bytes| bytes[20] ^= 1);
    drop(spool);
    disk.disk.power_cut(|n| u64::from(n == 3));
    assert_eq!(acked(&disk.disk), 6);
}

#[test]
fn a_spool_that_nothing_happens_to_writes_nothing() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, 3);
    spool.save().unwrap();
    let steps = disk.steps();
    (0..10).for_each(|_| spool.save().unwrap());
    assert_eq!(disk.steps(), steps);
    assert_eq!(drained(&mut spool).0, [0, 1, 2]);
    spool.save().unwrap();
    assert!(disk.steps() > steps);
}
