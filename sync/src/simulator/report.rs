//! Results as CSV, JSON and one HTML page that needs nothing else.

use std::fmt::Write as _;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::campaign::in_parallel;
use super::outcome::{Outcome, quantile};
use super::scenario::Scenario;
use super::{failures, run};

/// One fabric's sum over all seeds of a scenario.
pub struct Row {
    /// The fabric.
    pub fabric: String,
    /// How many seeds.
    pub seeds: u32,
    /// The sum.
    pub outcome: Outcome,
    /// For each seed its counts.
    pub each: Vec<(u64, Vec<u64>)>,
    /// Seeds of `oplog` that broke an invariant that no expectation loosens.
    pub failed: Vec<(u64, Vec<String>)>,
}

/// One scenario's results.
pub struct Report {
    /// The scenario.
    pub scenario: Scenario,
    /// One row a fabric.
    pub rows: Vec<Row>,
}

impl Report {
    /// Runs everything a scenario asks for, on so many threads; `progress` is told how many of how many runs are done.
    /// The result does not depend on how many threads there are.
    pub fn of(scenario: Scenario, jobs: usize, mut progress: impl FnMut(usize, usize)) -> Self {
        let seeds = scenario.seeds as usize;
        let all = seeds * scenario.fabrics.len();
        let one = |index: usize| {
            let (fabric, seed) = (&scenario.fabrics[index / seeds], index % seeds);
            run(&scenario, fabric, seed as u64, false).0
        };
        let mut outcomes: Vec<Option<Outcome>> = (0..all).map(|_| None).collect();
        let mut done = 0;
        in_parallel(jobs, all, one, |index, outcome| {
            outcomes[index] = Some(outcome);
            done += 1;
            progress(done, all);
        });
        let mut outcomes = outcomes.into_iter().flatten();
        let mut rows = Vec::new();
        for fabric in &scenario.fabrics {
            let mut row = Row {
                fabric: fabric.clone(),
                seeds: scenario.seeds,
                outcome: Outcome::default(),
                each: Vec::new(),
                failed: Vec::new(),
            };
            for (seed, outcome) in (0..u64::from(scenario.seeds)).zip(outcomes.by_ref()) {
                if fabric == "oplog" && !failures(&scenario, &outcome).is_empty() {
                    row.failed.push((seed, failures(&scenario, &outcome)));
                }
                row.each.push((seed, outcome.counts()));
                row.outcome.add(&outcome);
            }
            rows.push(row);
        }
        Report { scenario, rows }
    }

    /// What the product's fabric did not hold, over all seeds.
    pub fn failures(&self) -> Vec<String> {
        let oplog = self.rows.iter().filter(|row| row.fabric == "oplog");
        oplog
            .flat_map(|row| {
                let seeds =
                    row.failed.iter().map(|(seed, _)| seed.to_string()).collect::<Vec<_>>().join(", ");
                let failures = failures(&self.scenario, &row.outcome);
                failures.into_iter().map(move |failure| format!("{failure} (seeds {seeds})"))
            })
            .collect()
    }

    /// One line a run.
    pub fn to_csv(&self) -> String {
        let mut csv = format!("scenario,fabric,seed,{}\n", Outcome::COUNTS.join(","));
        for row in &self.rows {
            for (seed, counts) in &row.each {
                let counts: Vec<String> = counts.iter().map(ToString::to_string).collect();
                let _ = writeln!(csv, "{},{},{seed},{}", self.scenario.name, row.fabric, counts.join(","));
            }
        }
        csv
    }

    /// One object a fabric, sums over all seeds.
    pub fn to_json(&self) -> String {
        let mut json = format!("{{\"scenario\":{},\"fabrics\":[", quoted(&self.scenario.name));
        for (index, row) in self.rows.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let _ = write!(json, "{comma}{{\"fabric\":{},\"seeds\":{}", quoted(&row.fabric), row.seeds);
            for (name, count) in Outcome::COUNTS.iter().zip(row.outcome.counts()) {
                let _ = write!(json, ",\"{name}\":{count}");
            }
            for (name, value) in times(&row.outcome) {
                let value = value.map_or("null".to_string(), |value| value.to_string());
                let _ = write!(json, ",\"{name}\":{value}");
            }
            json.push('}');
        }
        json.push_str("]}\n");
        json
    }

    /// A page of several reports: tables and plots, no scripts, nothing loaded.
    pub fn to_html(reports: &[Report]) -> String {
        let mut html = String::from(
            "<!doctype html><html lang=en><meta charset=utf-8><title>Doppelkey sync: simulation</title><style>\
             body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}\
             table{border-collapse:collapse;font-size:13px}td{white-space:nowrap}td,th{padding:.25rem .5rem;text-align:right;\
             border-bottom:1px solid #ccc}td:first-child,th:first-child{text-align:left}svg{margin:.5rem 1rem .5rem 0}\
             text{font:11px system-ui,sans-serif;fill:currentColor}.bad{color:#b00020;font-weight:600}\
             @media(prefers-color-scheme:dark){body{background:#111;color:#ddd}td,th{border-color:#444}}</style>\
             <h1>Doppelkey sync: simulation</h1><p><b>oplog</b> is the product's replica; the other fabrics are models \
             with the assumptions stated in their documentation, not the products they resemble.</p>",
        );
        if reports.len() > 1 {
            html.push_str("<p>");
            for report in reports {
                let name = escaped(&report.scenario.name);
                let _ = write!(html, "<a href=\"#{name}\">{name}</a> ");
            }
        }
        for report in reports {
            report.section(&mut html);
        }
        html.push_str("</html>\n");
        html
    }

    fn section(&self, html: &mut String) {
        let scenario = &self.scenario;
        let _ = write!(
            html,
            "<h2 id=\"{0}\">{0}</h2><p>{1} {2} days × {3} seeds × {4} devices.</p><table><tr><th>fabric",
            escaped(&scenario.name),
            escaped(&scenario.about),
            scenario.days,
            scenario.seeds,
            scenario.devices.len()
        );
        const COLUMNS: [&str; 14] = [
            "made",
            "blocked",
            "sign-ins ok",
            "lock-outs",
            "lost",
            "lost, BS=1",
            "lies",
            "unaware",
            "back again",
            "differ",
            "exposed",
            "attacks seen",
            "false alarms",
            "kB/device/day",
        ];
        for column in COLUMNS.iter().chain(&["p50", "p99"]) {
            let _ = write!(html, "<th>{column}");
        }
        for row in &self.rows {
            let out = &row.outcome;
            let part = |one: u64, of: u64| if of == 0 { 0.0 } else { 100.0 * one as f64 / of as f64 };
            let _ = write!(
                html,
                "<tr><td>{}<td>{}<td>{:.1} %<td>{:.1} %<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}/{}<td>{}<td>{:.1}",
                row.fabric,
                out.created,
                part(out.blocked, out.created + out.blocked),
                part(out.signed_in, out.signins),
                out.lockouts,
                out.lost,
                bad(out.lost_with_bs),
                bad(out.lies),
                out.unaware,
                bad(out.resurrected),
                bad(out.diverged),
                out.exposed,
                out.seen,
                out.attacks,
                bad(out.false_alarms),
                out.bytes as f64 / 1000.0 / out.device_days.max(1) as f64,
            );
            for part in [0.5, 0.99] {
                let _ = write!(html, "<td>{}", out.convergence(part).map_or("–".to_string(), seconds));
            }
        }
        html.push_str("</table>");
        self.bars(html, "sign-ins that succeed", "%", |out| {
            100.0 * out.signed_in as f64 / out.signins.max(1) as f64
        });
        self.bars(html, "untrue backup claims and losses", "", |out| (out.lies + out.lost) as f64);
        self.curves(html);
    }

    /// For each fabric the share of new passkeys that had come to another device after a time, on a logarithmic axis.
    fn curves(&self, html: &mut String) {
        const DECADES: [(&str, f64); 6] = [
            ("0.1 s", 1e2),
            ("1 s", 1e3),
            ("10 s", 1e4),
            ("2 min", 1.2e5),
            ("1 h", 3.6e6),
            ("1 day", 8.64e7),
        ];
        let across = |ms: f64| 40.0 + 240.0 * ((ms.max(100.0) / 100.0).log10() / 6.0).min(1.0);
        let height = 150 + 14 * self.rows.len();
        let title = "new passkeys at another device within a time";
        let _ = write!(
            html,
            "<svg width=340 height={height} role=img aria-label=\"{title}\"><text x=0 y=12>{title}</text>\
             <path d=\"M40 20V120H285\" fill=none stroke=currentColor />\
             <text x=0 y=28>100 %</text><text x=14 y=122>0 %</text>"
        );
        for (label, ms) in DECADES {
            let x = across(ms);
            let _ = write!(
                html,
                "<path d=\"M{x:.0} 120v4\" stroke=currentColor /><text x={:.0} y=136>{label}</text>",
                x - 12.0
            );
        }
        for (index, row) in self.rows.iter().enumerate() {
            let mut times = row.outcome.convergence_ms.clone();
            times.sort_unstable();
            let points = (0..=60).filter_map(|step| {
                let at = times.get(step * times.len().saturating_sub(1) / 60)?;
                Some(format!("{:.1},{:.1}", across(*at as f64), 120.0 - 100.0 * step as f64 / 60.0))
            });
            let points: Vec<String> = points.collect();
            let colour = COLOURS[index % COLOURS.len()];
            let y = 152 + 14 * index;
            let _ = write!(
                html,
                "<polyline points=\"{}\" fill=none stroke=\"{colour}\" stroke-width=1.5 />\
                 <path d=\"M40 {}h14\" stroke=\"{colour}\" stroke-width=3 /><text x=60 y={y}>{}</text>",
                points.join(" "),
                y - 4,
                row.fabric
            );
        }
        html.push_str("</svg>");
    }

    fn bars(&self, html: &mut String, title: &str, unit: &str, value: impl Fn(&Outcome) -> f64) {
        let values: Vec<f64> = self.rows.iter().map(|row| value(&row.outcome)).collect();
        let most = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let height = 24 + 18 * values.len();
        let _ = write!(
            html,
            "<svg width=340 height={height} role=img aria-label=\"{title}\"><text x=0 y=12>{title}</text>"
        );
        for (index, (row, value)) in self.rows.iter().zip(&values).enumerate() {
            let y = 22 + 18 * index;
            let width = 180.0 * value / most;
            let fill = if row.fabric == "oplog" { "#1a73e8" } else { "#9aa0a6" };
            let _ = write!(
                html,
                "<text x=0 y={}>{}</text><rect x=80 y={y} width={width:.1} height=13 fill=\"{fill}\"/>\
                 <text x={:.1} y={}>{} {unit}</text>",
                y + 11,
                row.fabric,
                86.0 + width,
                y + 11,
                (value * 10.0).round() / 10.0
            );
        }
        html.push_str("</svg>");
    }
}

fn times(outcome: &Outcome) -> [(&'static str, Option<u64>); 4] {
    [
        ("convergence_p50_ms", outcome.convergence(0.5)),
        ("convergence_p99_ms", outcome.convergence(0.99)),
        ("claim_p50_ms", quantile(&outcome.claim_ms, 0.5)),
        ("claim_p99_ms", quantile(&outcome.claim_ms, 0.99)),
    ]
}

/// The product's colour first.
const COLOURS: [&str; 7] = ["#1a73e8", "#d93025", "#e8710a", "#188038", "#9334e6", "#80868b", "#12b5cb"];

fn seconds(ms: u64) -> String {
    match ms {
        0..=119_999 => format!("{:.1} s", ms as f64 / 1000.0),
        120_000..=7_199_999 => format!("{:.0} min", ms as f64 / 60_000.0),
        _ => format!("{:.1} h", ms as f64 / 3_600_000.0),
    }
}

fn bad(count: u64) -> String {
    if count == 0 { "0".to_string() } else { format!("<span class=bad>{count}</span>") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", control as u32);
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
