//! What a load gave: figures, and a picture.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

/// The times of every ceremony.
pub(super) struct Report {
    origin: String,
    users: u32,
    pub(super) done: u32,
    pub(super) took: Duration,
    pub(super) sign_ups: Vec<Duration>,
    pub(super) sign_ins: Vec<Duration>,
}

/// The share of ceremonies, in thousandths, that took no longer than what is shown beside it.
const PERCENTILES: [(u64, &str); 5] =
    [(500, "50 %"), (900, "90 %"), (990, "99 %"), (999, "99.9 %"), (1000, "all")];

impl Report {
    pub(super) fn new(origin: &str, users: u32) -> Self {
        Report {
            origin: origin.to_owned(),
            users,
            done: 0,
            took: Duration::ZERO,
            sign_ups: Vec::new(),
            sign_ins: Vec::new(),
        }
    }

    fn series(&self) -> [(&'static str, Vec<Duration>); 2] {
        let sorted = |times: &Vec<Duration>| {
            let mut times = times.clone();
            times.sort_unstable();
            times
        };
        [("sign-up", sorted(&self.sign_ups)), ("sign-in", sorted(&self.sign_ins))]
    }

    fn rate(&self, times: &[Duration]) -> f64 {
        times.len() as f64 / self.took.as_secs_f64().max(0.001)
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{} of {} users in {:.1} s at {}\n\n{:>10} {:>8} {:>9}",
            self.done,
            self.users,
            self.took.as_secs_f64(),
            self.origin,
            "",
            "count",
            "a second"
        );
        for (_, name) in PERCENTILES {
            let _ = write!(text, " {name:>10}");
        }
        text.push('\n');
        for (name, times) in self.series() {
            let _ = write!(text, "{name:>10} {:>8} {:>9.1}", times.len(), self.rate(&times));
            for (share, _) in PERCENTILES {
                let shown =
                    percentile(&times, share).map_or("-".to_owned(), |time| format!("{:.1} ms", ms(time)));
                let _ = write!(text, " {shown:>10}");
            }
            text.push('\n');
        }
        text
    }

    /// For scripts: one line.
    pub(super) fn json(&self) -> String {
        let series = self.series().map(|(name, times)| {
            let percentiles: serde_json::Map<String, Value> = PERCENTILES
                .iter()
                .map(|(share, _)| {
                    (format!("p{}", *share as f64 / 10.0), json!(percentile(&times, *share).map(ms)))
                })
                .collect();
            (
                name.to_owned(),
                json!({"count": times.len(), "per_second": self.rate(&times), "ms": percentiles}),
            )
        });
        let series: serde_json::Map<String, Value> = series.into_iter().collect();
        let report = json!({"users": self.done, "seconds": self.took.as_secs_f64(), "ceremonies": series});
        format!("{report}\n")
    }

    /// A page that needs nothing else.
    pub(super) fn html(&self) -> String {
        let origin = self.origin.replace('&', "&amp;").replace('<', "&lt;");
        let pictures: String = self.series().iter().map(|(name, times)| picture(name, times)).collect();
        format!(
            "<!doctype html>\n<html lang=en><meta charset=utf-8><title>Load: {origin}</title>\n\
             <style>:root {{ color-scheme: light dark }} body {{ font: 16px/1.5 system-ui; max-width: 52rem; \
             margin: 2rem auto; padding: 0 1rem }} pre {{ overflow-x: auto }} svg {{ width: 100%; height: auto }} \
             svg text {{ font: 12px system-ui; fill: currentColor }} rect {{ fill: #2563eb }}</style>\n\
             <h1>{} users at {origin}</h1>\n<pre>{}</pre>\n{pictures}</html>\n",
            self.done,
            self.text().replace('<', "&lt;"),
        )
    }
}

/// The shortest time that this share of all, in thousandths, did not exceed.
fn percentile(sorted: &[Duration], thousandths: u64) -> Option<Duration> {
    let rank = (sorted.len() as u64 * thousandths).div_ceil(1000).max(1) as usize;
    sorted.get(rank - 1).copied()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// How many ceremonies took how long: bars over a logarithmic scale, eight to the doubling.
fn picture(name: &str, sorted: &[Duration]) -> String {
    const WIDTH: f64 = 800.0;
    const HEIGHT: f64 = 220.0;
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else { return String::new() };
    let bin = |time: &Duration| (ms(*time).max(0.01).log2() * 8.0).floor() as i64;
    let (low, high) = (bin(first), bin(last));
    let mut counts = vec![0_u32; usize::try_from(high - low + 1).unwrap_or(1)];
    for time in sorted {
        counts[usize::try_from(bin(time) - low).unwrap_or(0)] += 1;
    }
    let most = f64::from(counts.iter().copied().max().unwrap_or(1).max(1));
    let step = WIDTH / counts.len() as f64;
    let mut bars = String::new();
    for (index, count) in counts.iter().enumerate() {
        let height = f64::from(*count) / most * (HEIGHT - 40.0);
        let (x, y) = (index as f64 * step, HEIGHT - 20.0 - height);
        let from = ((low + index as i64) as f64 / 8.0).exp2();
        let _ = write!(
            bars,
            "<rect x='{x:.1}' y='{y:.1}' width='{:.1}' height='{height:.1}'><title>{count} from {from:.1} ms</title></rect>",
            (step - 1.0).max(0.5)
        );
    }
    format!(
        "<h2>{name}</h2>\n<svg viewBox='0 0 {WIDTH} {HEIGHT}' role=img aria-label='How many took how long'>{bars}\
         <text x='0' y='{HEIGHT}'>{:.1} ms</text><text x='{WIDTH}' y='{HEIGHT}' text-anchor='end'>{:.1} ms</text>\
         <text x='{WIDTH}' y='12' text-anchor='end'>at most {most} in a bar; logarithmic scale</text></svg>\n",
        ms(*first),
        ms(*last)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::new("http://localhost:8080", 100);
        report.done = 100;
        report.took = Duration::from_secs(2);
        report.sign_ups = (1..=100).rev().map(Duration::from_millis).collect();
        report
    }

    #[test]
    fn a_percentile_is_a_time_that_was_measured() {
        let sorted: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 500), Some(Duration::from_millis(50)));
        assert_eq!(percentile(&sorted, 990), Some(Duration::from_millis(99)));
        assert_eq!(percentile(&sorted, 1000), Some(Duration::from_millis(100)));
        assert_eq!(percentile(&[], 500), None);
        assert_eq!(percentile(&sorted[..1], 1), Some(Duration::from_millis(1)));
    }

    #[test]
    fn the_figures_for_people_fit_a_terminal() {
        let expected = "\
100 of 100 users in 2.0 s at http://localhost:8080

              count  a second       50 %       90 %       99 %     99.9 %        all
   sign-up      100      50.0    50.0 ms    90.0 ms    99.0 ms   100.0 ms   100.0 ms
   sign-in        0       0.0          -          -          -          -          -
";
        assert_eq!(report().text(), expected);
    }

    #[test]
    fn the_picture_has_every_ceremony_in_one_bar() {
        let html = report().html();
        let counts =
            html.split("<title>").skip(2).map(|part| part.split(' ').next().unwrap().parse::<u32>().unwrap());
        assert_eq!(counts.sum::<u32>(), 100);
    }
}
