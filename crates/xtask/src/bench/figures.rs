//! Numbers, each with how often it was measured, its spread and its target.

use crate::terminal;
use anyhow::{Result, ensure};
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

/// What a figure counts in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(super) enum Unit {
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// 10⁶ bytes.
    #[serde(rename = "MB")]
    Megabytes,
    /// How many a second.
    #[serde(rename = "/s")]
    PerSecond,
    /// Hundredths.
    #[serde(rename = "%")]
    Percent,
    /// How many times as much as something else.
    #[serde(rename = "×")]
    Times,
    /// Hashes of an opening.
    #[serde(rename = "siblings")]
    Siblings,
    /// Controllers.
    #[serde(rename = "controllers")]
    Controllers,
}

impl Unit {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Megabytes => "MB",
            Self::PerSecond => "/s",
            Self::Percent => "%",
            Self::Times => "×",
            Self::Siblings => "siblings",
            Self::Controllers => "controllers",
        }
    }
}

/// What is aimed at.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Target {
    /// The median is to be this or less.
    P50AtMost(f64),
    /// The median is to be this or more.
    P50AtLeast(f64),
    /// Of a hundred measurements, all but one are to be this or less.
    P99AtMost(f64),
}

impl Target {
    /// The median is to be this or less.
    pub(super) const fn p50_at_most(limit: f64) -> Self {
        Self::P50AtMost(limit)
    }

    fn is_met(self, figure: &Figure) -> bool {
        match self {
            Self::P50AtMost(limit) => figure.p50 <= limit,
            Self::P50AtLeast(limit) => figure.p50 >= limit,
            Self::P99AtMost(limit) => figure.p99 <= limit,
        }
    }

    fn describe(self) -> String {
        match self {
            Self::P50AtMost(limit) => format!("p50 ≤ {}", number(limit)),
            Self::P50AtLeast(limit) => format!("p50 ≥ {}", number(limit)),
            Self::P99AtMost(limit) => format!("p99 ≤ {}", number(limit)),
        }
    }
}

/// A figure.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Figure {
    name: String,
    unit: Unit,
    n: usize,
    min: f64,
    p50: f64,
    p99: f64,
    max: f64,
    target: Option<Target>,
    met: Option<bool>,
}

impl Figure {
    /// Of some measurements.
    ///
    /// # Errors
    /// When there are none, or one is no number.
    pub(super) fn new(name: impl Into<String>, unit: Unit, mut measured: Vec<f64>) -> Result<Self> {
        let name = name.into();
        ensure!(!measured.is_empty(), "{name}: nothing was measured");
        ensure!(measured.iter().all(|number| number.is_finite()), "{name}: something measured is no number");
        measured.sort_by(f64::total_cmp);
        // Nearest rank: always a number that was measured.
        let rank = |part: f64| measured[((part * measured.len() as f64).ceil() as usize).clamp(1, measured.len()) - 1];
        Ok(Self {
            n: measured.len(),
            min: measured[0],
            p50: rank(0.5),
            p99: rank(0.99),
            max: measured[measured.len() - 1],
            name,
            unit,
            target: None,
            met: None,
        })
    }

    /// With a target.
    pub(super) fn with(self, target: Target) -> Self {
        Self { met: Some(target.is_met(&self)), target: Some(target), ..self }
    }

    /// The median.
    pub(super) fn median(&self) -> f64 {
        self.p50
    }
}

/// All figures of a run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    machine: String,
    version: &'static str,
    figures: Vec<Figure>,
}

impl Report {
    /// An empty one.
    pub(super) fn of_this_machine() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let model = model.map_or(std::env::consts::ARCH, |(_, model)| model.trim());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { machine: format!("{cores} × {model}"), version: env!("CARGO_PKG_VERSION"), figures: Vec::new() }
    }

    /// Adds figures.
    pub(super) fn add(&mut self, figures: Vec<Figure>) {
        self.figures.extend(figures);
    }

    /// Prints the table.
    pub(super) fn print(&self) {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        table.set_header(["what", "n", "min", "p50", "p99", "unit", "target", ""]);
        for figure in &self.figures {
            let target = figure.target.map_or_else(String::new, Target::describe);
            let met = match figure.met {
                Some(true) => "met",
                Some(false) => "missed",
                None => "",
            };
            table.add_row([
                figure.name.clone(),
                figure.n.to_string(),
                number(figure.min),
                number(figure.p50),
                number(figure.p99),
                figure.unit.as_str().to_owned(),
                target,
                met.to_owned(),
            ]);
        }
        terminal::heading(&format!("{}, version {}", self.machine, self.version));
        terminal::line(table);
    }

    /// As JSON.
    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        Ok(serde_json::to_vec_pretty(self)?)
    }
}

/// Three digits that count.
fn number(number: f64) -> String {
    let magnitude = number.abs();
    let decimals = match magnitude {
        m if m == 0.0 || m >= 100.0 => 0,
        m if m >= 10.0 => 1,
        m if m >= 1.0 => 2,
        _ => 3,
    };
    format!("{number:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_numbers_that_were_measured() {
        let figure = Figure::new("x", Unit::Milliseconds, (1..=200).rev().map(f64::from).collect()).unwrap();
        assert_eq!((figure.n, figure.min, figure.p50, figure.p99, figure.max), (200, 1.0, 100.0, 198.0, 200.0));
        let one = Figure::new("x", Unit::Seconds, vec![7.0]).unwrap();
        assert_eq!((one.min, one.p50, one.p99), (7.0, 7.0, 7.0));
        assert!(Figure::new("x", Unit::Seconds, vec![]).is_err());
        assert!(Figure::new("x", Unit::Seconds, vec![f64::NAN]).is_err());
    }

    #[test]
    fn a_target_is_met_by_the_percentile_it_names() {
        let figure = Figure::new("x", Unit::Milliseconds, vec![4.0, 5.0, 90.0]).unwrap();
        assert_eq!(figure.clone().with(Target::p50_at_most(5.0)).met, Some(true));
        assert_eq!(figure.clone().with(Target::p50_at_most(4.9)).met, Some(false));
        assert_eq!(figure.clone().with(Target::P50AtLeast(5.0)).met, Some(true));
        assert_eq!(figure.with(Target::P99AtMost(89.0)).met, Some(false));
    }

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!([0.0, 0.0421, 1.5, 12.34, 432.1].map(number), ["0", "0.042", "1.50", "12.3", "432"]);
        assert_eq!(number(-1.25), "-1.25");
    }

    #[test]
    fn json_names_its_units() {
        let mut report = Report::of_this_machine();
        let target = Target::p50_at_most(80.0);
        report.add(vec![Figure::new("idle", Unit::Megabytes, vec![41.0]).unwrap().with(target)]);
        let json: serde_json::Value = serde_json::from_slice(&report.to_json().unwrap()).unwrap();
        assert_eq!(json["figures"][0]["unit"], "MB");
        assert_eq!(json["figures"][0]["target"]["p50_at_most"], 80.0);
        assert_eq!(json["figures"][0]["met"], true);
    }
}
