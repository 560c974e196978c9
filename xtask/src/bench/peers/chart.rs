//! A bar chart of the times to ready, as SVG: one bar a contestant, with the most services, on a
//! logarithmic scale, since the slowest takes fifty times the quickest.

use super::report::ready_cell;
use super::result::{Outcome, milliseconds};

const WIDTH: u32 = 860;
const LABEL: u32 = 330;
const ROW: u32 = 24;

/// The chart.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "pixels"
)]
pub(super) fn bars(outcomes: &[Outcome]) -> String {
    let most = outcomes.iter().map(|it| it.n).max().unwrap_or(0);
    let rows: Vec<(&Outcome, Option<u64>)> = outcomes
        .iter()
        .filter(|it| it.n == most)
        .map(|it| (it, it.get("ready-ns")))
        .collect();
    let times = || rows.iter().filter_map(|(_, ns)| *ns);
    let least = times().min().unwrap_or(1) as f64 / 2.0;
    let longest = times().max().unwrap_or(1) as f64;
    let scale = f64::from(WIDTH - LABEL - 90) / (longest / least).ln().max(f64::EPSILON);
    let height = (rows.len() as u32 + 2) * ROW;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<text x=\"8\" y=\"17\" font-weight=\"bold\">\
         Time until {most} services run, ms (logarithmic)</text>\n"
    );
    for (number, (outcome, ns)) in rows.iter().enumerate() {
        let y = (number as u32 + 1) * ROW + 8;
        let (length, text) = match ns {
            Some(ns) => (
                ((*ns as f64 / least).ln() * scale) as u32,
                milliseconds(*ns),
            ),
            None => (0, ready_cell(outcome)),
        };
        let colour = if outcome.name == "shark" {
            "#0b6e99"
        } else {
            "#b8bcc2"
        };
        svg.push_str(&format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LABEL}\" y=\"{y}\" width=\"{length}\" height=\"16\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"{}\">{}</text>\n",
            LABEL - 8,
            y + 13,
            escaped(&outcome.label.replace("**", "")),
            LABEL + length + 6,
            y + 13,
            escaped(&text),
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escaped("a<b & c"), "a&lt;b &amp; c");
        assert!(bars(&[]).ends_with("</svg>\n"));
    }
}
