//! The process's own use of memory, time and descriptors, read from `/proc/self` when metrics are asked for.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

/// The size of a memory page where this program runs (x86-64, and arm64 as Debian builds it).
const PAGE_BYTES: i64 = 4096;
/// The kernel reports time in hundredths of a second to user space (`USER_HZ`), whatever its own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug, Default)]
pub(crate) struct Gauges {
    resident_bytes: Gauge,
    cpu_seconds: Gauge<f64, AtomicU64>,
    open_files: Gauge,
    threads: Gauge,
}

impl Gauges {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let gauges = Self::default();
        registry.register(
            "process_resident_memory_bytes",
            "Resident memory",
            gauges.resident_bytes.clone(),
        );
        registry.register(
            "process_cpu_seconds",
            "Processor time used so far",
            gauges.cpu_seconds.clone(),
        );
        registry.register("process_open_files", "Open file descriptors", gauges.open_files.clone());
        registry.register("process_threads", "Threads", gauges.threads.clone());
        gauges
    }

    /// Where `/proc` is missing the gauges keep what they had.
    pub(crate) fn refresh(&self) {
        if let Ok(statm) = std::fs::read_to_string("/proc/self/statm")
            && let Some(pages) = statm.split(' ').nth(1).and_then(|pages| pages.parse::<i64>().ok())
        {
            self.resident_bytes.set(pages * PAGE_BYTES);
        }
        if let Ok(stat) = std::fs::read_to_string("/proc/self/stat")
            // The program's name, in parentheses, may hold spaces: count from behind it. utime, stime, num_threads.
            && let Some((_, fields)) = stat.rsplit_once(')')
        {
            let number = |field: usize| {
                fields
                    .split_whitespace()
                    .nth(field)
                    .and_then(|text| text.parse::<i64>().ok())
            };
            if let (Some(user), Some(system), Some(threads)) = (number(11), number(12), number(17)) {
                self.cpu_seconds.set((user + system) as f64 / TICKS_PER_SECOND);
                self.threads.set(threads);
            }
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            // The reading itself holds one.
            self.open_files
                .set(i64::try_from(files.count()).unwrap_or(i64::MAX) - 1);
        }
    }
}
