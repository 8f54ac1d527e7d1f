//! The whole agent over a disk that does not give a place back.

use super::*;

/// Neither an exit nor memory only: what cannot be read is counted, the rest arrives.
#[test]
fn a_place_that_cannot_be_read_stops_no_agent() {
    let folder = tempfile::tempdir().unwrap();
    let floor = Floor { scan_every_us: 1_000_000, frame_every_us: 5_000_000, frame_bytes: 2_000 };
    let now_us = BOOT_US + MINUTE_US;
    let link = Link::new(LINK_BYTES, ANSWER_US, false, now_us);
    let left = Left { disk: MemoryDisk::default(), link, now_us, write: 0 };
    let mut life = Life::start(folder.path(), left, floor, Taken::default(), Plan::Never);
    life.link.set_up(false, life.clock.now_us());
    life.pass(2 * MINUTE_US, 100_000, |_| {});
    let disk = life.tap.disk.clone();
    let frames = |p: &PathBuf| p.to_str().is_some_and(|p| p.contains("frames") && p.ends_with(".seg"));
    let path = disk.files().into_iter().find(frames).unwrap();
    let bytes = disk.read(&path).unwrap().len() as u64;
    let at = bytes * 3 / 4;
    disk.bad_place(&path, Some(at..at + 512));
    // The window of records on their way was read before; the others were not.
    life.link.set_up(true, life.clock.now_us());
    life.pass(MINUTE_US, 100_000, |_| {});
    assert_eq!((life.edge.spool.in_memory(), life.edge.disk_bad_since), (None, None));
    let link = life.link.get();
    let arrived =
        |lane: usize| link.log[lane].iter().filter(|a| matches!(a, Arrival::Record { .. })).count() as u64;
    let lost = life.taken.shown[1] - arrived(FRAMES) - life.edge.spool.records(FRAMES);
    assert_eq!(life.taken.shown[0], arrived(SCANS) + life.edge.spool.records(SCANS), "no scan is lost");
    assert!(lost > 0 && life.edge.spool.gone() == lost, "{lost} frames, {} counted", life.edge.spool.gone());
}
