//! What a process holds while something goes on, and whether that stays the same.

use std::fmt::Write as _;

/// What a process held, at a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    /// How much of the work was done.
    done: u64,
    /// Resident memory of its own in KiB: without the pages of files, which the kernel takes back when it likes.
    memory_kib: u64,
    /// Open file descriptors.
    descriptors: u64,
    /// Threads.
    threads: u64,
}

/// One number of a sample.
type Of = fn(&Sample) -> u64;

/// What a process held from the beginning of something to its end.
#[derive(Debug)]
pub struct Trace {
    name: String,
    samples: Vec<Sample>,
}

impl Trace {
    /// Begins.
    pub fn new(name: impl Into<String>) -> Self {
        Trace { name: name.into(), samples: Vec::new() }
    }

    /// Looks at this process when so much is done. Linux only: elsewhere everything is 0.
    pub fn sample(&mut self, done: u64) {
        self.sample_at("/proc/self", done);
    }

    /// Looks at another process.
    pub fn sample_of(&mut self, process: u32, done: u64) {
        self.sample_at(&format!("/proc/{process}"), done);
    }

    fn sample_at(&mut self, process: &str, done: u64) {
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap_or_default();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
        };
        let descriptors =
            std::fs::read_dir(format!("{process}/fd")).map_or(0, |listed| listed.count() as u64);
        let (memory_kib, threads) = (number("RssAnon:"), number("Threads:"));
        self.samples.push(Sample { done, memory_kib, descriptors, threads });
    }

    /// Whether what is held in the last quarter is what was held in the second: the first one warms up.
    ///
    /// # Errors
    /// With what grew, and from what to what: memory by more than a tenth and 8 MiB, descriptors or threads by more
    /// than 4.
    pub fn is_flat(&self) -> Result<(), String> {
        let quarter = self.samples.len() / 4;
        if quarter == 0 {
            return Err("fewer than four samples".into());
        }
        let before = &self.samples[quarter..2 * quarter];
        let after = &self.samples[self.samples.len() - quarter..];
        let check = |what: &str, of: Of, more: fn(u64) -> u64| {
            let (before, after) = (median(before, of), median(after, of));
            if after <= more(before) { Ok(()) } else { Err(format!("{what} grew from {before} to {after}")) }
        };
        check("memory (KiB)", |sample| sample.memory_kib, |kib| kib + kib / 10 + 8 * 1024)?;
        check("file descriptors", |sample| sample.descriptors, |count| count + 4)?;
        check("threads", |sample| sample.threads, |count| count + 4)
    }

    /// In one line: at the end of the first quarter, and at the end.
    pub fn summary(&self) -> String {
        let at = |index: usize| self.samples.get(index).copied().unwrap_or_default();
        let (first, last) = (at(self.samples.len() / 4), at(self.samples.len().saturating_sub(1)));
        format!(
            "memory {:.1} MiB after a quarter, {:.1} MiB at the end; descriptors {} and {}; threads {} and {}",
            first.memory_kib as f64 / 1024.0,
            last.memory_kib as f64 / 1024.0,
            first.descriptors,
            last.descriptors,
            first.threads,
            last.threads
        )
    }

    /// A drawing: memory, descriptors and threads over the work done, each from 0 to its own maximum.
    pub fn svg(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 300\" font-family=\"sans-serif\" \
             font-size=\"13\">\n<rect width=\"720\" height=\"300\" fill=\"white\"/>\n<text x=\"40\" y=\"24\">{}</text>\n",
            self.name
        );
        let end = self.samples.last().map_or(1, |sample| sample.done.max(1));
        let lines: [(&str, &str, Of); 3] = [
            ("memory, KiB", "#1a66d6", |sample| sample.memory_kib),
            ("file descriptors", "#c2410c", |sample| sample.descriptors),
            ("threads", "#15803d", |sample| sample.threads),
        ];
        for (row, (what, colour, of)) in lines.into_iter().enumerate() {
            let most = self.samples.iter().map(of).max().unwrap_or_default().max(1);
            let point = |sample: &Sample| {
                let x = 40.0 + 640.0 * sample.done as f64 / end as f64;
                // The lines would lie on each other if each began at the same height.
                let y = 260.0 - row as f64 * 70.0 - 55.0 * of(sample) as f64 / most as f64;
                format!("{x:.1},{y:.1}")
            };
            let points: Vec<_> = self.samples.iter().map(point).collect();
            let label = 260.0 - row as f64 * 70.0 - 58.0;
            let _ = writeln!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>\n\
                 <text x=\"44\" y=\"{label:.0}\" fill=\"{colour}\">{what}: at most {most}</text>",
                points.join(" ")
            );
        }
        let _ = writeln!(svg, "<text x=\"680\" y=\"285\" text-anchor=\"end\">{end} done</text>\n</svg>");
        svg
    }
}

fn median(samples: &[Sample], of: Of) -> u64 {
    let mut values: Vec<_> = samples.iter().map(of).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(memory_kib: impl Fn(u64) -> u64) -> Trace {
        let sample = |done| Sample { done, memory_kib: memory_kib(done), descriptors: 9, threads: 3 };
        Trace { name: "test".into(), samples: (0..100).map(sample).collect() }
    }

    #[test]
    fn what_warms_up_is_flat_and_what_grows_is_not() {
        assert_eq!(trace(|done| 20_000 + 1000 * done.min(20)).is_flat(), Ok(()));
        assert!(trace(|done| 20_000 + 500 * done).is_flat().is_err());
        assert!(trace(|_| 1).svg().contains("file descriptors: at most 9"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_sees_what_it_holds() {
        let mut trace = Trace::new("test");
        trace.sample(0);
        let held: Vec<_> = (0..200).map(|_| std::fs::File::open("/dev/null").expect("it is there")).collect();
        trace.sample(1);
        drop(held);
        // Other tests of this process open and close a few meanwhile.
        let more = trace.samples[1].descriptors - trace.samples[0].descriptors;
        assert!((150..=250).contains(&more), "{more}");
        assert!(trace.samples[0].memory_kib > 100 && trace.samples[0].threads > 0);
    }
}
