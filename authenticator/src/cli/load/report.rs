//! What a load gave: figures, and a picture.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::device::Clock;

/// The times of every ceremony, and what they cost.
pub(super) struct Report {
    origin: String,
    users: u32,
    /// How many signatures one core verifies in a second.
    pub(super) floor_per_second: f64,
    pub(super) sign_ups: Series,
    pub(super) sign_ins: Series,
    /// The processor time that the sign-ins took of the relying party, where that can be known.
    pub(super) server_time: Option<Duration>,
}

/// Many ceremonies of one kind.
#[derive(Default)]
pub(super) struct Series {
    /// How long all of them took together.
    pub(super) took: Duration,
    pub(super) times: Vec<Duration>,
}

impl Series {
    /// Lets `work` note the times of its ceremonies, and takes the time of the whole.
    pub(super) fn measure<E>(
        &mut self,
        clock: &Clock,
        work: impl FnOnce(&mut Vec<Duration>) -> Result<(), E>,
    ) -> Result<(), E> {
        let begun = clock();
        let outcome = work(&mut self.times);
        self.took = clock() - begun;
        self.times.sort_unstable();
        outcome
    }

    fn rate(&self) -> f64 {
        self.times.len() as f64 / self.took.as_secs_f64().max(0.001)
    }
}

/// The share of ceremonies, in thousandths, that took no longer than what is shown beside it.
const PERCENTILES: [(u64, &str); 5] =
    [(500, "50 %"), (900, "90 %"), (990, "99 %"), (999, "99.9 %"), (1000, "all")];

impl Report {
    pub(super) fn new(origin: &str, users: u32) -> Self {
        Report {
            origin: origin.to_owned(),
            users,
            floor_per_second: 0.0,
            sign_ups: Series::default(),
            sign_ins: Series::default(),
            server_time: None,
        }
    }

    fn series(&self) -> [(&'static str, &Series); 2] {
        [("sign-up", &self.sign_ups), ("sign-in", &self.sign_ins)]
    }

    /// How many sign-ins the relying party handles in a second of its processor time.
    fn per_core(&self) -> Option<f64> {
        let spent = self.server_time?.as_secs_f64();
        (spent > 0.0).then(|| self.sign_ins.times.len() as f64 / spent)
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{} of {} users at {}\n\n{:>10} {:>8} {:>9}",
            self.sign_ups.times.len(),
            self.users,
            self.origin,
            "",
            "count",
            "a second"
        );
        for (_, name) in PERCENTILES {
            let _ = write!(text, " {name:>10}");
        }
        text.push('\n');
        for (name, series) in self.series() {
            let _ = write!(text, "{name:>10} {:>8} {:>9.1}", series.times.len(), series.rate());
            for (share, _) in PERCENTILES {
                let shown = percentile(&series.times, share)
                    .map_or("-".to_owned(), |time| format!("{:.1} ms", ms(time)));
                let _ = write!(text, " {shown:>10}");
            }
            text.push('\n');
        }
        let _ = writeln!(
            text,
            "\n{:>10.0} signatures verified a second on one core: the floor",
            self.floor_per_second
        );
        if let Some(rate) = self.per_core() {
            let share = 100.0 * rate / self.floor_per_second;
            let _ = writeln!(
                text,
                "{rate:>10.0} sign-ins in a second of the relying party's processor time: {share:.0} % of the floor"
            );
        }
        text
    }

    /// For scripts: one line.
    pub(super) fn json(&self) -> String {
        let series = self.series().map(|(name, series)| {
            let percentiles: serde_json::Map<String, Value> = PERCENTILES
                .iter()
                .map(|(share, _)| {
                    (format!("p{}", *share as f64 / 10.0), json!(percentile(&series.times, *share).map(ms)))
                })
                .collect();
            let (count, rate, took) = (series.times.len(), series.rate(), series.took.as_secs_f64());
            (name.to_owned(), json!({"count": count, "seconds": took, "per_second": rate, "ms": percentiles}))
        });
        let series: serde_json::Map<String, Value> = series.into_iter().collect();
        let report = json!({
            "users": self.sign_ups.times.len(),
            "ceremonies": series,
            "floor_per_second": self.floor_per_second,
            "sign_ins_per_core_second": self.per_core(),
        });
        format!("{report}\n")
    }

    /// A page that needs nothing else.
    pub(super) fn html(&self) -> String {
        let origin = self.origin.replace('&', "&amp;").replace('<', "&lt;");
        let pictures: String =
            self.series().iter().map(|(name, series)| picture(name, &series.times)).collect();
        format!(
            "<!doctype html>\n<html lang=en><meta charset=utf-8><title>Load: {origin}</title>\n\
             <style>:root {{ color-scheme: light dark }} body {{ font: 16px/1.5 system-ui; max-width: 52rem; \
             margin: 2rem auto; padding: 0 1rem }} pre {{ overflow-x: auto }} svg {{ width: 100%; height: auto }} \
             svg text {{ font: 12px system-ui; fill: currentColor }} rect {{ fill: #2563eb }}</style>\n\
             <h1>{} users at {origin}</h1>\n<pre>{}</pre>\n{pictures}</html>\n",
            self.sign_ups.times.len(),
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
        report.sign_ups.took = Duration::from_secs(2);
        report.sign_ups.times = (1..=100).map(Duration::from_millis).collect();
        report.sign_ins.took = Duration::from_secs(1);
        report.sign_ins.times = vec![Duration::from_millis(3); 400];
        report.floor_per_second = 4000.0;
        report.server_time = Some(Duration::from_millis(125));
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
100 of 100 users at http://localhost:8080

              count  a second       50 %       90 %       99 %     99.9 %        all
   sign-up      100      50.0    50.0 ms    90.0 ms    99.0 ms   100.0 ms   100.0 ms
   sign-in      400     400.0     3.0 ms     3.0 ms     3.0 ms     3.0 ms     3.0 ms

      4000 signatures verified a second on one core: the floor
      3200 sign-ins in a second of the relying party's processor time: 80 % of the floor
";
        assert_eq!(report().text(), expected);
    }

    #[test]
    fn the_picture_has_every_ceremony_in_one_bar() {
        let html = report().html();
        let counts =
            html.split("<title>").skip(2).map(|part| part.split(' ').next().unwrap().parse::<u32>().unwrap());
        assert_eq!(counts.sum::<u32>(), 500);
    }
}
