//! Processor time of the thread that asks, for tests and benches: what else the machine does costs none of it.

use std::time::Duration;

#[allow(unsafe_code)]
pub fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local that outlives the call, which writes it whole.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(done, 0);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}
