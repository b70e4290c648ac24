//! What is shown: a live line with the elapsed time on a terminal, plain lines elsewhere.
#![allow(
    clippy::print_stdout,
    reason = "showing things is what this file is for; anstream drops colour where none belongs"
)]

use anstream::{eprintln, println};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

/// Width of the labels on the left.
const LABEL: usize = 13;

/// How often a step that takes long says so where there is no terminal to show it live.
const PLAIN_INTERVAL: Duration = Duration::from_secs(15);

/// A title, with an empty line before it.
pub(crate) fn heading(text: &str) {
    println!("\n{BOLD}{text}{RESET}");
}

/// A line of text.
pub(crate) fn line(text: impl std::fmt::Display) {
    println!("{text}");
}

/// `label  text`, aligned with the steps.
pub(crate) fn field(label: &str, text: impl std::fmt::Display) {
    println!("  {label:LABEL$} {text}");
}

/// A remark on standard error.
pub(crate) fn note(text: impl std::fmt::Display) {
    eprintln!("{YELLOW}{text}{RESET}");
}

/// An error with its causes on standard error.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("{RED}error:{RESET} {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because {cause}");
    }
}

/// A mark for something good or bad.
pub(crate) fn mark(good: bool) -> String {
    if good { format!("{GREEN}✓{RESET}") } else { format!("{RED}✗{RESET}") }
}

/// A duration as people read it: `40 µs`, `1.8 ms`, `850 ms`, `12.3 s`, `3 min 20 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 0.01 => format!("{:.1} ms", s * 1e3),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.1} s"),
        _ => format!("{} min {} s", duration.as_secs() / 60, duration.as_secs() % 60),
    }
}

/// Bytes as people read them.
pub(crate) fn bytes(bytes: u64) -> String {
    let mut amount = bytes as f64;
    for unit in ["B", "KiB", "MiB"] {
        if amount < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{amount:.1} {unit}") };
        }
        amount /= 1024.0;
    }
    format!("{amount:.1} GiB")
}

/// A number with its thousands apart.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A step in progress. Dropped without a word it leaves no trace on a terminal.
pub(crate) struct Step {
    label: String,
    started: Instant,
    live: Option<ProgressBar>,
    said: Instant,
}

impl Step {
    /// Begins a step.
    pub(crate) fn begin(label: &str, doing: &str) -> Self {
        let live = std::io::stdout().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner:.yellow} {prefix} {wide_msg} {elapsed:>5.dim}");
            let bar = ProgressBar::no_length().with_style(style.expect("the template is well-formed"));
            bar.set_prefix(format!("{label:LABEL$}"));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        let mut step = Self { label: label.to_owned(), started: Instant::now(), live, said: Instant::now() };
        step.doing(doing);
        step
    }

    /// Says what is going on; may be called often. Without a terminal most of it is left out.
    pub(crate) fn doing(&mut self, text: &str) {
        if let Some(bar) = &self.live {
            bar.set_message(text.to_owned());
        } else if self.said.elapsed() >= PLAIN_INTERVAL {
            println!("… {:LABEL$} {text} ({})", self.label, duration(self.started.elapsed()));
            self.said = Instant::now();
        }
    }

    /// Leaves a line above the live one.
    pub(crate) fn leave(&mut self, text: &str) {
        match &self.live {
            Some(bar) => bar.suspend(|| println!("{text}")),
            None => println!("{text}"),
        }
        self.said = Instant::now();
    }

    /// Time since it began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ends it well.
    pub(crate) fn done(self, text: impl std::fmt::Display) {
        self.end(true, &text);
    }

    /// Ends it badly.
    pub(crate) fn failed(self, text: impl std::fmt::Display) {
        self.end(false, &text);
    }

    fn end(&self, good: bool, text: &dyn std::fmt::Display) {
        if let Some(bar) = &self.live {
            bar.finish_and_clear();
        }
        let took = duration(self.started.elapsed());
        println!("{} {:LABEL$} {text} {DIM}({took}){RESET}", mark(good), self.label);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.live {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_well() {
        assert_eq!(duration(Duration::from_micros(840)), "840 µs");
        assert_eq!(duration(Duration::from_micros(1840)), "1.8 ms");
        assert_eq!(duration(Duration::from_millis(850)), "850 ms");
        assert_eq!(duration(Duration::from_millis(12_340)), "12.3 s");
        assert_eq!(duration(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(10 << 30), "10.0 GiB");
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(18_727), "18,727");
        assert_eq!(thousands(4_200_000), "4,200,000");
    }
}
