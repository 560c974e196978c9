//! Families of figures in a text format: that of OpenMetrics 1.0, or the older one of Prometheus (0.0.4),
//! which `promtool check metrics` and node-exporter's textfile collector read. They differ in the names of
//! counters. Not here: which figures there are.

use std::fmt::Write as _;

use clap::ValueEnum;
use services::control::metrics::{FIRST_BUCKET_NS, Histogram};

/// How the text is to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// OpenMetrics 1.0
    #[default]
    Openmetrics,
    /// The text format of Prometheus, version 0.0.4
    Prometheus,
}

impl Format {
    /// What a web server calls it.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Openmetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The text, as far as it is written.
pub(super) struct Text {
    format: Format,
    /// What samples of the present family are called.
    sample: String,
    written: String,
}

impl Text {
    pub(super) const fn new(format: Format) -> Self {
        Self {
            format,
            sample: String::new(),
            written: String::new(),
        }
    }

    /// Begins a family of counters; what is read out of it ends in `_total`.
    pub(super) fn counter(&mut self, name: &str, about: &str) {
        let total = format!("{name}_total");
        match self.format {
            Format::Openmetrics => self.family(name, "counter", about),
            Format::Prometheus => self.family(&total, "counter", about),
        }
        self.sample = total;
    }

    /// Begins a family of figures that go up and down.
    pub(super) fn gauge(&mut self, name: &str, about: &str) {
        self.family(name, "gauge", about);
    }

    fn family(&mut self, name: &str, kind: &str, about: &str) {
        let written = &mut self.written;
        let _ = writeln!(written, "# TYPE {name} {kind}");
        let unit = ["seconds", "bytes"]
            .into_iter()
            .find(|unit| name.ends_with(&format!("_{unit}")));
        if let (Format::Openmetrics, Some(unit)) = (self.format, unit) {
            let _ = writeln!(written, "# UNIT {name} {unit}");
        }
        let _ = writeln!(written, "# HELP {name} {about}.");
        name.clone_into(&mut self.sample);
    }

    /// One figure of the present family.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: u64) {
        self.line(labels, &value.to_string());
    }

    /// The same, of a time.
    pub(super) fn sample_seconds(&mut self, labels: &[(&str, &str)], nanos: u64) {
        self.line(labels, &seconds(nanos));
    }

    fn line(&mut self, labels: &[(&str, &str)], value: &str) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, text)| format!("{name}=\"{}\"", escaped(text)))
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.written, "{}{labels} {value}", self.sample);
    }

    /// A family of its own. Its buckets count all that is below their bound; ours what is between two.
    pub(super) fn histogram(&mut self, name: &str, about: &str, histogram: &Histogram) {
        self.family(name, "histogram", about);
        let mut below = 0_u64;
        let mut bound = FIRST_BUCKET_NS;
        let last = histogram.buckets.len().saturating_sub(1);
        for (number, count) in histogram.buckets.iter().enumerate() {
            below = below.saturating_add(*count);
            let bucket = match number == last {
                true => "+Inf".to_owned(),
                false => seconds(bound),
            };
            self.sample = format!("{name}_bucket");
            self.sample(&[("le", &bucket)], below);
            bound = bound.saturating_mul(2);
        }
        self.sample = format!("{name}_count");
        self.sample(&[], below);
        self.sample = format!("{name}_sum");
        self.sample_seconds(&[], histogram.sum_ns);
        let (stem, _) = name.rsplit_once("_seconds").unwrap_or((name, ""));
        self.gauge(&format!("{stem}_longest_seconds"), "The longest of them");
        self.sample_seconds(&[], histogram.longest_ns);
    }

    pub(super) fn end(mut self) -> String {
        match self.format {
            Format::Openmetrics => self.written.push_str("# EOF\n"),
            Format::Prometheus => {}
        }
        self.written
    }
}

/// As both formats have it in the value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// Nanoseconds as seconds, without floating point.
fn seconds(nanos: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    format!("{}.{:09}", nanos / SECOND, nanos % SECOND)
}
