//! What was measured, and the table of it.

use std::time::Duration;

/// A stage of sending.
#[derive(Default)]
pub struct Stage {
    /// Sorted.
    times: Vec<Duration>,
    length: Duration,
    cpu: Duration,
}

impl Stage {
    pub fn new(mut times: Vec<Duration>, length: Duration, cpu: Duration) -> Self {
        times.sort_unstable();
        Self { times, length, cpu }
    }

    fn rate(&self) -> f64 {
        self.times.len() as f64 / self.length.as_secs_f64()
    }

    /// Latency that this part of all messages did not exceed, in ms.
    fn percentile(&self, part: f64) -> f64 {
        let index = (self.times.len() as f64 * part) as usize;
        let time = self.times.get(index).or(self.times.last());
        time.copied().unwrap_or_default().as_secs_f64() * 1e3
    }

    fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.times.len().max(1) as f64
    }

    pub fn line(&self) -> String {
        format!(
            "{:.0}/s, p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.1} ms, {:.0} us of CPU a message",
            self.rate(),
            self.percentile(0.5),
            self.percentile(0.99),
            self.percentile(0.999),
            self.percentile(1.0),
            self.cpu_us()
        )
    }
}

/// What was found out about one data folder.
#[derive(Default)]
pub struct Report {
    pub starts: Vec<Duration>,
    pub starts_after_kill: Vec<Duration>,
    pub idle_kb: u64,
    pub loaded_kb: u64,
    pub rested_kb: u64,
    /// Number of senders, and how they did.
    pub stages: Vec<(usize, Stage)>,
}

impl Report {
    fn rows(&self) -> Vec<(String, String)> {
        let slowest = |starts: &[Duration]| {
            let slowest = starts.iter().max().copied().unwrap_or_default();
            format!("{:.0}", slowest.as_secs_f64() * 1e3)
        };
        let mb = |kb: u64| format!("{:.0}", kb as f64 / 1024.0);
        let mut rows = vec![
            ("start to first answer, ms".to_owned(), slowest(&self.starts)),
            (
                "the same after kill -9, ms".to_owned(),
                slowest(&self.starts_after_kill),
            ),
            ("idle memory, MB".to_owned(), mb(self.idle_kb)),
        ];
        for (clients, stage) in &self.stages {
            rows.push((format!("sends/s, {clients} clients"), format!("{:.0}", stage.rate())));
            rows.push(("  p50 ms".to_owned(), format!("{:.2}", stage.percentile(0.5))));
            rows.push(("  p99 ms".to_owned(), format!("{:.2}", stage.percentile(0.99))));
            rows.push(("  p99.9 ms".to_owned(), format!("{:.2}", stage.percentile(0.999))));
            rows.push(("  max ms".to_owned(), format!("{:.1}", stage.percentile(1.0))));
            rows.push(("  CPU us a send".to_owned(), format!("{:.0}", stage.cpu_us())));
        }
        rows.push(("memory under load, MB".to_owned(), mb(self.loaded_kb)));
        rows.push(("memory after it, MB".to_owned(), mb(self.rested_kb)));
        rows
    }
}

/// The reports side by side.
pub fn print(reports: &[(&str, Report)]) {
    let columns: Vec<_> = reports.iter().map(|(name, report)| (name, report.rows())).collect();
    let Some((_, first)) = columns.first() else { return };
    let line = |cells: &mut dyn Iterator<Item = String>| println!("| {} |", cells.collect::<Vec<_>>().join(" | "));
    line(&mut std::iter::once(String::new()).chain(columns.iter().map(|(name, _)| name.to_string())));
    line(&mut std::iter::once("---".to_owned()).chain(columns.iter().map(|_| "---:".to_owned())));
    for (index, (title, _)) in first.iter().enumerate() {
        let cells = columns
            .iter()
            .filter_map(|(_, rows)| rows.get(index))
            .map(|(_, cell)| cell.clone());
        line(&mut std::iter::once(title.clone()).chain(cells));
    }
}
