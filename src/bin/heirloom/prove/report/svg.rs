//! The report as a picture: how long answers took around the restarts, all of them over each other.

use std::fmt::Write;

use super::{Chart, Report};
use crate::output::time;
use crate::prove::restarting::Phase;

pub(in crate::prove) fn svg(report: &Report, chart: &Chart) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = draw(report, chart, &mut out);
    out
}

fn draw(report: &Report, chart: &Chart, out: &mut String) -> std::fmt::Result {
    let most = chart.answers.iter().flatten().map(|(_, took)| *took).fold(LEAST * 10.0, f64::max);
    let x = |at: f64| LEFT + (at - Chart::FROM) / (Chart::UNTIL - Chart::FROM) * (WIDTH - LEFT - RIGHT);
    let y = |took: f64| {
        let share = (took.max(LEAST) / LEAST).ln() / (most / LEAST).ln();
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    };
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
    )?;
    let title =
        format!("{} restarts, {} losses: the time of answers", report.restarts.len(), report.losses());
    writeln!(out, "<text x=\"{LEFT}\" y=\"20\" font-size=\"15\">{title}</text>")?;
    let mut took = LEAST;
    while took <= most {
        let (at, label) = (y(took), time(took));
        let right = WIDTH - RIGHT;
        writeln!(out, "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>")?;
        writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", LEFT - 6.0, at + 4.0)?;
        took *= 10.0;
    }
    for at in [Chart::FROM, 0.0, 500.0, 1000.0, 1500.0, Chart::UNTIL] {
        let label = format!("{:+.1} s", at / 1e3);
        let bottom = HEIGHT - BOTTOM + 18.0;
        writeln!(out, "<text x=\"{:.1}\" y=\"{bottom}\" text-anchor=\"middle\">{label}</text>", x(at))?;
    }
    let mut marks = vec![(0.0, "asked for")];
    for (phase, times) in &chart.phases {
        let name = match phase {
            Phase::Starting => continue,
            Phase::Both => "new process",
            Phase::Draining => "old lets go",
            Phase::Over => "old is gone",
        };
        marks.extend(middle(times).into_iter().filter(|at| *at < Chart::UNTIL).map(|at| (at, name)));
    }
    for (row, (at, name)) in marks.iter().enumerate() {
        let (at, high) = (x(*at), TOP + 14.0 * row as f64);
        let low = HEIGHT - BOTTOM;
        writeln!(
            out,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{low}\" stroke=\"#888\" stroke-dasharray=\"4 3\"/>"
        )?;
        writeln!(out, "<text x=\"{:.1}\" y=\"{high:.1}\" fill=\"#555\">{name}</text>", at + 4.0)?;
    }
    let width = (Chart::UNTIL - Chart::FROM) / PARTS as f64;
    for slowest in chart.slowest(PARTS) {
        for (part, took) in slowest.into_iter().enumerate() {
            let Some(took) = took else { continue };
            let at = Chart::FROM + (part as f64 + 0.5) * width;
            let (at, took) = (x(at), y(took));
            writeln!(
                out,
                "<circle cx=\"{at:.1}\" cy=\"{took:.1}\" r=\"1.6\" fill=\"#2a6fbb\" fill-opacity=\"0.5\"/>"
            )?;
        }
    }
    for at in chart.losses.iter().flatten().take(MOST_CROSSES) {
        let (at, y) = (x(*at), TOP + 8.0);
        writeln!(out, "<path d=\"M{:.1} {y}l8 8m0 -8l-8 8\" stroke=\"#c22\" stroke-width=\"2\"/>", at - 4.0)?;
    }
    writeln!(out, "</svg>")
}

/// The one in the middle of them.
fn middle(times: &[f64]) -> Option<f64> {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied()
}

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 36.0;

/// What is quicker is drawn as if it took this long: a tenth of a millisecond.
const LEAST: f64 = 0.1;

/// 10 ms each.
const PARTS: usize = 250;

/// More would only hide each other.
const MOST_CROSSES: usize = 2000;
