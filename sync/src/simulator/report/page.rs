//! One page of several reports: a verdict, tables, plots. No scripts, nothing loaded, readable in the dark and on a phone.

use std::fmt::Write as _;
use std::format;
use std::string::{String, ToString as _};
use std::vec::Vec;

use super::Report;
use super::plot::{Plot, colour, rounded};
use crate::simulator::Outcome;
use crate::simulator::outcome::quantile;

/// What a column is called, what it means, and what it says of an outcome.
type Column = (&'static str, &'static str, fn(&Outcome) -> String);

const COLUMNS: [Column; 16] = [
    ("made", "passkeys made", |out| out.created.to_string()),
    ("blocked", "changes that a device refused because it was off the net", |out| {
        percent(out.blocked, out.created + out.blocked)
    }),
    ("sign-ins ok", "of those tried; the rest was not there yet, locked out, or needed the net", |out| {
        percent(out.signed_in, out.signins)
    }),
    ("lock-outs", "sign-ins that failed on every device", |out| out.lockouts.to_string()),
    ("lost", "accounts with no passkey left that works", |out| out.lost.to_string()),
    ("lost, BS = 1", "of those, accounts that some device had called backed up", |out| bad(out.lost_with_bs)),
    ("untrue BS", "backup claims that were not true when they were made", |out| bad(out.lies)),
    ("late BS", "claims that counted a device which was gone, and nobody had said so", |out| {
        out.unaware.to_string()
    }),
    ("BS after", "how long it took until a backup was claimed, median", |out| time(&out.claim_ms, 0.5)),
    ("back again", "deleted passkeys that are offered again", |out| bad(out.resurrected)),
    ("differ", "devices that are not like the others after three quiet days", |out| bad(out.diverged)),
    ("exposed", "passkeys made after a revocation that the thief can read", |out| out.exposed.to_string()),
    ("attacks seen", "runs with an attack in which a device told of it", |out| match out.attacks {
        0 => "–".to_string(),
        attacks => format!("{}/{attacks}", out.seen),
    }),
    ("false alarms", "runs with an alarm and no reason for one", |out| bad(out.false_alarms)),
    ("kB/device/day", "what devices and server send", |out| {
        format!("{:.1}", out.bytes as f64 / 1000.0 / out.device_days.max(1) as f64)
    }),
    ("p50 | p99", "how long a new passkey took to another device that was on", |out| {
        format!("{} | {}", time(&out.convergence_ms, 0.5), time(&out.convergence_ms, 0.99))
    }),
];

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:80rem;margin:2rem auto;padding:0 1rem}\
    .wide{overflow-x:auto}table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}\
    td{white-space:nowrap}th{vertical-align:bottom}[rowspan]{vertical-align:top}td,th{padding:.25rem .5rem;\
    text-align:right;border-bottom:1px solid #ccc}.name{text-align:left}.first td{border-top:1px solid #999}\
    .us{font-weight:600}.us td:not([rowspan]){background:#1a73e814}\
    .plots{display:flex;flex-wrap:wrap;gap:1rem 2rem;margin:1rem 0 2.5rem}h2{margin-top:2.5rem}\
    .grid{stroke:#8885}text{font:11px system-ui,sans-serif;fill:currentColor}.bad{color:#b00020;font-weight:600}.ok{color:#188038}\
    dl{display:grid;grid-template-columns:max-content 1fr;gap:0 1rem;font-size:13px}dd{margin:0}\
    @media(prefers-color-scheme:dark){body{background:#111;color:#ddd}td,th{border-color:#444}a{color:#8ab4f8}\
    .bad{color:#ff6b6b}.ok{color:#81c995}}";

impl Report {
    /// A page of several reports. Those of one sweep are together and get plots of their own.
    pub fn to_html(reports: &[Report]) -> String {
        let mut html = format!(
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
             <title>Doppelkey sync: simulation</title><style>{STYLE}</style>\
             <h1>Doppelkey sync: simulation</h1><p><b>oplog</b> is the product's replica; the other fabrics are models \
             with the assumptions stated in their documentation, not the products they resemble. Every number comes from \
             the scenario's file and its seeds: the same again gives the same page.</p>"
        );
        contents(&mut html, reports);
        html.push_str("<details><summary>What the columns mean</summary><dl>");
        for (name, meaning, _) in COLUMNS {
            let _ = write!(html, "<dt><b>{name}</b><dd>{meaning}");
        }
        html.push_str("</dl></details>");
        for same in reports.chunk_by(|one, other| one.scenario.name == other.scenario.name) {
            section(&mut html, same);
        }
        html.push_str("</html>\n");
        html
    }

    /// For each fabric the share of new passkeys that had come to another device after a time, on a logarithmic axis.
    fn curves(&self, html: &mut String) {
        const TICKS: [(&str, f64); 6] = [
            ("0.1 s", 1e2),
            ("1 s", 1e3),
            ("10 s", 1e4),
            ("2 min", 1.2e5),
            ("1 h", 3.6e6),
            ("1 day", 8.64e7),
        ];
        let across = |ms: f64| ((ms.max(100.0) / 100.0).log10() / 6.0).min(1.0);
        let mut plot = Plot::new("new passkeys at another device within a time");
        for part in [0.0, 0.5, 1.0] {
            plot.tick_y(&format!("{:.0} %", 100.0 * part), part);
        }
        TICKS.iter().for_each(|(label, ms)| plot.tick_x(label, across(*ms)));
        for (index, row) in self.rows.iter().enumerate() {
            let mut times = row.outcome.convergence_ms.clone();
            times.sort_unstable();
            let points = (0..=60).filter_map(|step| {
                let at = times.get(step * times.len().saturating_sub(1) / 60)?;
                Some((across(*at as f64), step as f64 / 60.0))
            });
            plot.line(index, &row.fabric, &points.collect::<Vec<_>>());
        }
        html.push_str(&plot.finish());
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
            let _ = write!(
                html,
                "<text x=0 y={0}>{1}</text><rect x=80 y={y} width={width:.1} height=13 fill=\"{2}\"/>\
                 <text x={3:.1} y={0}>{4} {unit}</text>",
                y + 11,
                row.fabric,
                colour(index),
                86.0 + width,
                (value * 10.0).round() / 10.0
            );
        }
        html.push_str("</svg>");
    }
}

/// Where to find what, and whether the product held what it was expected to.
fn contents(html: &mut String, reports: &[Report]) {
    html.push_str("<ul>");
    for same in reports.chunk_by(|one, other| one.scenario.name == other.scenario.name) {
        let broken: usize = same.iter().map(|report| report.failures().len()).sum();
        let name = escaped(&same[0].scenario.name);
        let _ = write!(html, "<li><a href=\"#{name}\">{name}</a>: ");
        let tried = same.iter().flat_map(|report| &report.rows).any(|row| row.fabric == "oplog");
        match broken {
            _ if !tried => html.push_str("the product is not in it"),
            0 => html.push_str("<span class=ok>the product holds every expectation</span>"),
            _ => {
                let _ = write!(html, "<span class=bad>{broken} expectations broken</span>");
            }
        }
    }
    html.push_str("</ul>");
}

/// One scenario, or all variants of one.
fn section(html: &mut String, same: &[Report]) {
    let scenario = &same[0].scenario;
    let _ = write!(
        html,
        "<h2 id=\"{0}\">{0}</h2><p>{1} {2} days × {3} seeds × {4} devices.</p>",
        escaped(&scenario.name),
        escaped(&scenario.about),
        scenario.days,
        scenario.seeds,
        scenario.devices.len()
    );
    table(html, same);
    for report in same {
        let value = report.scenario.swept.map_or(String::new(), |_| report.scenario.title() + ": ");
        for failure in report.failures() {
            let _ = write!(html, "<p class=bad>{}{}</p>", escaped(&value), escaped(&failure));
        }
    }
    html.push_str("<div class=plots>");
    if scenario.swept.is_some() {
        sweep(html, same);
    } else if let [report] = same {
        report.bars(html, "sign-ins that succeed", "%", |out| {
            100.0 * out.signed_in as f64 / out.signins.max(1) as f64
        });
        report.bars(html, "untrue backup claims and losses", "", |out| (out.lies + out.lost) as f64);
        report.curves(html);
    }
    html.push_str("</div>");
}

/// One row a fabric; of a sweep, for each value of its parameter.
fn table(html: &mut String, same: &[Report]) {
    let sweep = same[0].scenario.sweep.as_ref();
    html.push_str("<div class=wide><table><tr>");
    if let Some(sweep) = sweep {
        let _ = write!(html, "<th>{}", sweep.of.name());
    }
    html.push_str("<th class=name>fabric");
    for (name, meaning, _) in COLUMNS {
        let _ = write!(html, "<th title=\"{meaning}\">{name}");
    }
    for report in same {
        for (index, row) in report.rows.iter().enumerate() {
            let us = if row.fabric == "oplog" { "us" } else { "" };
            let first = if index == 0 { "first" } else { "" };
            let _ = write!(html, "<tr class=\"{us} {first}\">");
            match report.scenario.swept {
                Some(value) if index == 0 => {
                    let _ = write!(html, "<td rowspan={}>{}", report.rows.len(), rounded(value));
                }
                _ => {}
            }
            let _ = write!(html, "<td class=name>{}", row.fabric);
            for (_, _, value) in COLUMNS {
                let _ = write!(html, "<td>{}", value(&row.outcome));
            }
        }
    }
    html.push_str("</table></div>");
}

/// What depends on the parameter of a sweep. What does not occur is left out.
fn sweep(html: &mut String, variants: &[Report]) {
    type Measure = (&'static str, fn(&Outcome) -> Option<f64>);
    let measures: [Measure; 6] = [
        ("attacks told of before the last day, %", |out| {
            (out.attacks > 0).then(|| 100.0 * out.detection_ms.len() as f64 / out.attacks as f64)
        }),
        ("hours until an attack is told of, median", |out| {
            quantile(&out.detection_ms, 0.5).map(|ms| ms as f64 / 3.6e6)
        }),
        ("seconds to another device, median", |out| out.convergence(0.5).map(|ms| ms as f64 / 1000.0)),
        ("seconds to another device, 99 of 100", |out| out.convergence(0.99).map(|ms| ms as f64 / 1000.0)),
        ("sign-ins that succeed, %", |out| {
            (out.signins > 0).then(|| 100.0 * out.signed_in as f64 / out.signins as f64)
        }),
        ("bits that the size of an entry tells", Outcome::size_bits),
    ];
    for (title, measure) in measures {
        let all = variants.iter().flat_map(|report| &report.rows).filter_map(|row| measure(&row.outcome));
        let Some(most) = all.reduce(f64::max).filter(|most| *most > 0.0) else { continue };
        let mut plot = Plot::new(title);
        let top = plot.axis_y(most);
        let across = |index: usize| index as f64 / variants.len().saturating_sub(1).max(1) as f64;
        for (index, variant) in variants.iter().enumerate() {
            plot.tick_x(&rounded(variant.scenario.swept.unwrap_or_default()), across(index));
        }
        if let Some(sweep) = &variants[0].scenario.sweep {
            plot.name_x(sweep.of.name());
        }
        for (index, row) in variants[0].rows.iter().enumerate() {
            let points = variants.iter().enumerate().filter_map(|(at, variant)| {
                Some((across(at), measure(&variant.rows.get(index)?.outcome)? / top))
            });
            plot.line(index, &row.fabric, &points.collect::<Vec<_>>());
        }
        html.push_str(&plot.finish());
    }
}

fn percent(one: u64, of: u64) -> String {
    let part = if of == 0 { 0.0 } else { 100.0 * one as f64 / of as f64 };
    format!("{part:.1} %")
}

fn time(values: &[u64], part: f64) -> String {
    quantile(values, part).map_or("–".to_string(), seconds)
}

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
