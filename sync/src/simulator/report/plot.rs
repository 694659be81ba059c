//! A plot as inline SVG: lines over two axes, a legend below. Nothing but text, so it can be read in any browser and by diff.

use std::fmt::Write as _;
use std::format;
use std::string::{String, ToString as _};
use std::vec::Vec;

/// Where the axes are, in pixels from above and from the left. Lines keep a little away from the left one.
const TOP: f64 = 26.0;
const BOTTOM: f64 = 126.0;
const LEFT: f64 = 46.0;
const FIRST: f64 = 58.0;
const LAST: f64 = 318.0;
const RIGHT: f64 = 332.0;

/// Lines over two axes. Positions are parts of 1.
pub(super) struct Plot {
    title: String,
    body: String,
    lines: usize,
    /// How far down the labels go.
    bottom: f64,
}

impl Plot {
    pub(super) fn new(title: &str) -> Self {
        let body = format!("<path d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\" fill=none stroke=currentColor />");
        Plot { title: title.to_string(), body, lines: 0, bottom: BOTTOM + 16.0 }
    }

    pub(super) fn tick_y(&mut self, label: &str, part: f64) {
        let y = down(part);
        let _ = write!(
            self.body,
            "<path class=grid d=\"M{LEFT} {y:.1}H{RIGHT}\" /><text x={} y={:.0} text-anchor=end>{label}</text>",
            LEFT - 5.0,
            y + 4.0
        );
    }

    /// An axis from 0 to a round number that is not below `most`, which it gives back.
    pub(super) fn axis_y(&mut self, most: f64) -> f64 {
        let step = step(most);
        let steps = (most / step).ceil();
        for tick in 0..=steps as u32 {
            self.tick_y(&rounded(f64::from(tick) * step), f64::from(tick) / steps);
        }
        steps * step
    }

    pub(super) fn tick_x(&mut self, label: &str, part: f64) {
        let x = across(part);
        let _ = write!(
            self.body,
            "<path d=\"M{x:.0} {BOTTOM}v4\" stroke=currentColor /><text x={x:.0} y={} text-anchor=middle>{label}</text>",
            BOTTOM + 16.0
        );
    }

    pub(super) fn name_x(&mut self, name: &str) {
        self.bottom += 15.0;
        let (x, y) = (across(0.5), self.bottom);
        let _ = write!(self.body, "<text x={x:.0} y={y} text-anchor=middle>{name}</text>");
    }

    pub(super) fn line(&mut self, index: usize, name: &str, points: &[(f64, f64)]) {
        let colour = colour(index);
        let at: Vec<String> =
            points.iter().map(|(x, part)| format!("{:.1},{:.1}", across(*x), down(*part))).collect();
        let (x, y) =
            (LEFT as usize + 98 * (self.lines % 3), self.bottom as usize + 20 + 15 * (self.lines / 3));
        self.lines += 1;
        let _ = write!(
            self.body,
            "<polyline points=\"{}\" fill=none stroke=\"{colour}\" stroke-width=2 />\
             <path d=\"M{x} {}h14\" stroke=\"{colour}\" stroke-width=3 /><text x={} y={y}>{name}</text>",
            at.join(" "),
            y - 4,
            x + 18
        );
        if points.len() < 12 {
            for (x, part) in points {
                let _ = write!(
                    self.body,
                    "<circle cx={:.1} cy={:.1} r=3 fill=\"{colour}\" />",
                    across(*x),
                    down(*part)
                );
            }
        }
    }

    pub(super) fn finish(self) -> String {
        let Plot { title, body, lines, bottom } = self;
        let height = bottom as usize + 10 + 15 * lines.div_ceil(3);
        format!(
            "<svg width=345 height={height} role=img aria-label=\"{title}\"><text x=0 y=12>{title}</text>{body}</svg>"
        )
    }
}

fn across(part: f64) -> f64 {
    FIRST + (LAST - FIRST) * part
}

fn down(part: f64) -> f64 {
    BOTTOM - (BOTTOM - TOP) * part
}

/// The smallest of 1, 2 and 5 times a power of ten of which at most four reach `most`.
fn step(most: f64) -> f64 {
    let power = 10_f64.powf((most / 4.0).log10().floor());
    let fits = [1.0, 2.0, 5.0].into_iter().map(|times| times * power).find(|step| most / step <= 4.0);
    fits.unwrap_or(10.0 * power)
}

/// A number as it is read on an axis: no more digits than it needs, thousands apart.
pub(super) fn rounded(value: f64) -> String {
    let digits = if value >= 100.0 { 0 } else { 3 };
    let text = format!("{value:.digits$}");
    if digits > 0 {
        return text.trim_end_matches('0').trim_end_matches('.').to_string();
    }
    let mut apart = String::new();
    for (index, digit) in text.char_indices() {
        if index > 0 && (text.len() - index).is_multiple_of(3) {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart
}

/// The product's colour first.
pub(super) fn colour(index: usize) -> &'static str {
    ["#1a73e8", "#d93025", "#e8710a", "#188038", "#9334e6", "#80868b", "#12b5cb"][index % 7]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_few_and_round_numbers_and_holds_the_greatest_value() {
        for most in [0.004, 0.18, 2.2, 4.0, 98.9, 100.0, 269.0, 25_631.0] {
            let top = Plot::new("").axis_y(most);
            let steps = (top / step(most)).round();
            assert!(
                top >= most && top < 1.7 * most && (2.0..=4.0).contains(&steps),
                "{most}: {top}, {steps}"
            );
        }
        assert_eq!(
            [0.0, 0.1, 0.25, 2.0, 98.9, 25_000.0].map(rounded),
            ["0", "0.1", "0.25", "2", "98.9", "25,000"]
        );
    }
}
