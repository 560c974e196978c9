//! `plot`: the boot as one picture in SVG, steps of the boot above, then a bar for each service from its
//! start until it was ready. Not here: what the times mean (`blame`).

use std::fmt::Write;
use std::path::Path;

use serde_json::json;
use services::control::BootMode;
use services::status::StateName;

use super::blame::settled;
use super::dot::colour;
use super::known::{Known, One};
use crate::failure::Failure;
use crate::quantity::{seconds, span as took};
use crate::screen::Screen;

/// Measures of the picture, in its pixels.
const WIDTH: f64 = 1240.0;
const LEFT: f64 = 230.0;
const CHART: f64 = 880.0;
const TOP: f64 = 70.0;
const ROW: f64 = 18.0;
/// Characters of a name that fit beside the chart.
const LABEL: usize = 30;
/// Lines of the time scale, at most.
const TICKS: u64 = 12;
const STEP_COLOUR: &str = "#9db7d8";

/// One bar.
struct Bar {
    label: String,
    from_us: u64,
    to_us: u64,
    fill: &'static str,
    words: String,
}

/// `plot`.
pub(crate) fn plot(
    known: &Known,
    screen: &mut Screen<'_>,
    output: Option<&Path>,
    now_us: u64,
) -> Result<(), Failure> {
    let span = Span {
        begin: beginning(known),
        end: end_of_boot(known, now_us),
    };
    let (bars, later) = bars(known, span, now_us);
    if screen.json {
        let bars = bars.iter().map(|bar| {
            json!({ "name": bar.label, "fromUs": bar.from_us, "toUs": bar.to_us, "words": bar.words })
        });
        let told = json!({ "beginUs": span.begin, "endUs": span.end, "bars": bars.collect::<Vec<_>>(), "later": later });
        return screen.print_json(&told);
    }
    let version = known.boot.version.as_ref();
    let version = version.map_or_else(String::new, |version| format!(" of {version}"));
    let title = format!(
        "{}{version}, kernel {}",
        known.boot.target, known.boot.kernel
    );
    let text = svg(&title, &bars, later, span);
    match output {
        None => screen.print(text),
        Some(path) => {
            std::fs::write(path, text).map_err(|error| Failure::of_file("write", path, &error))?;
            screen.say_done(&format!("{}: {} bars\n", path.display(), bars.len()))
        }
    }
}

/// What the picture reaches over, microseconds since the kernel began.
#[derive(Clone, Copy)]
struct Span {
    begin: u64,
    end: u64,
}

/// The start of the kernel, but in a container, where that is another matter.
fn beginning(known: &Known) -> u64 {
    if known.boot.mode != BootMode::Container {
        return 0;
    }
    let steps = known.boot.timings.iter().map(|it| it.us);
    let starts = known
        .services
        .values()
        .filter_map(|one| one.status.started_us);
    steps.chain(starts).min().unwrap_or(0)
}

/// When the boot target was ready and all steps were done; now, where it is not.
fn end_of_boot(known: &Known, now_us: u64) -> u64 {
    let target = known.get(&known.boot.target);
    let ready = target.and_then(|one| one.status.ready_us);
    let steps = known.boot.timings.iter().map(|it| it.us).max();
    match ready {
        Some(ready) => ready.max(steps.unwrap_or(0)),
        None => now_us,
    }
    .max(1)
}

/// All bars up to `end`, and how many services were started later, or anew.
fn bars(known: &Known, span: Span, now_us: u64) -> (Vec<Bar>, usize) {
    let mut timings: Vec<_> = known.boot.timings.iter().collect();
    timings.sort_by_key(|it| it.us);
    let mut before = span.begin;
    let mut bars = Vec::new();
    for timing in timings {
        bars.push(Bar {
            label: timing.name.clone(),
            from_us: before,
            to_us: timing.us,
            fill: STEP_COLOUR,
            words: took(timing.us.saturating_sub(before)),
        });
        before = timing.us;
    }
    let of = |one: &One| one.status.started_us;
    let (mut shown, later): (Vec<&One>, Vec<&One>) = known
        .services
        .values()
        .filter(|one| of(one).is_some())
        .partition(|one| of(one).is_some_and(|started| started <= span.end));
    shown.sort_by_key(|one| (of(one), settled(&one.status)));
    bars.extend(shown.into_iter().map(|one| service_bar(one, now_us)));
    (bars, later.len())
}

fn service_bar(one: &One, now_us: u64) -> Bar {
    let status = &one.status;
    let from = status.started_us.unwrap_or(0);
    let ready = status.ready_us.filter(|ready| *ready >= from);
    let to = settled(status).unwrap_or(now_us).max(from);
    let took = took(to - from);
    let (fill, words) = match (ready, status.state) {
        // What became of it later is another matter.
        (Some(_), _) => (colour(StateName::Up), took),
        (None, StateName::Failed | StateName::Backoff) => {
            (colour(StateName::Failed), format!("{took}, failed"))
        }
        (None, state) => (colour(state), format!("{took}, not ready")),
    };
    Bar {
        label: status.name.clone(),
        from_us: from,
        to_us: to,
        fill,
        words,
    }
}

fn svg(title: &str, bars: &[Bar], later: usize, span: Span) -> String {
    let length = span.end.saturating_sub(span.begin).max(1);
    let scale = CHART / pixels(length);
    let x = |us: u64| LEFT + pixels(us.saturating_sub(span.begin).min(length)) * scale;
    let rows = bars.iter().fold(0.0, |sum, _| sum + ROW);
    let bottom = TOP + rows;
    let height = bottom + 40.0;
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"10\" y=\"24\" font-size=\"16\">{}</text>\n",
        escaped(title)
    );
    let step = tick(length);
    let mut at = 0;
    while at <= length {
        let x = x(span.begin + at);
        // A string takes whatever is written to it.
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"#dddddd\"/>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#666666\">{}</text>",
            TOP - 6.0,
            TOP - 10.0,
            seconds(at)
        );
        at = at.saturating_add(step);
    }
    let mut y = TOP;
    for bar in bars {
        push_bar(&mut out, bar, y, x(bar.from_us), x(bar.to_us));
        y += ROW;
    }
    let began = if span.begin == 0 {
        "the kernel began"
    } else {
        "init began"
    };
    let later = match later {
        0 => String::new(),
        later => format!("; {later} started after the boot, or anew, are left out"),
    };
    let _ = writeln!(
        out,
        "<text x=\"10\" y=\"{:.1}\" fill=\"#666666\">Seconds since {began}. A bar is from the \
         start of a service until it was ready{later}.</text>\n</svg>",
        bottom + 26.0
    );
    out
}

fn push_bar(out: &mut String, bar: &Bar, y: f64, from: f64, to: f64) {
    let base = y + 13.0;
    let name = escaped(&bar.label);
    let short: String = bar.label.chars().take(LABEL).collect();
    let short = match bar.label.chars().count() > LABEL {
        true => format!("{}...", escaped(&short)),
        false => name.clone(),
    };
    let words = escaped(&bar.words);
    // Where there is no room behind the bar, before it.
    let (at, anchor) = if to > LEFT + CHART * 0.95 && from > LEFT + 150.0 {
        (from - 4.0, "end")
    } else {
        (to + 4.0, "start")
    };
    let _ = writeln!(
        out,
        "<g><title>{name}: {words}, from {} to {}</title>\
         <text x=\"{:.1}\" y=\"{base:.1}\" text-anchor=\"end\">{short}</text>\
         <rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>\
         <text x=\"{at:.1}\" y=\"{base:.1}\" text-anchor=\"{anchor}\" fill=\"#333333\">{words}</text></g>",
        seconds(bar.from_us),
        seconds(bar.to_us),
        LEFT - 8.0,
        y + 2.0,
        (to - from).max(1.0),
        ROW - 4.0,
        bar.fill,
    );
}

/// A round time, of which few enough fit.
fn tick(end: u64) -> u64 {
    let mut unit = 1_000_u64;
    loop {
        for step in [unit, unit * 2, unit * 5] {
            if end / step < TICKS {
                return step;
            }
        }
        let Some(next) = unit
            .checked_mul(10)
            .filter(|it| it.checked_mul(5).is_some())
        else {
            return end;
        };
        unit = next;
    }
}

#[allow(clippy::cast_precision_loss, reason = "a picture has few pixels")]
fn pixels(us: u64) -> f64 {
    us as f64
}

/// Text for XML: without what cannot be in it at all.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
