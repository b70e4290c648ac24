//! What is shown: one line for each thing worth saying, and a table at the end.
#![allow(
    clippy::print_stdout,
    reason = "showing things is what this file is for; anstream drops colour where none belongs"
)]

use anstream::{eprintln, println};
use std::time::Duration;

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

/// A title, with an empty line before it.
pub(crate) fn heading(text: &str) {
    println!("\n{BOLD}{text}{RESET}");
}

/// A line of text.
pub(crate) fn line(text: impl std::fmt::Display) {
    println!("{text}");
}

/// Something that is less than it could be.
pub(crate) fn note(text: impl std::fmt::Display) {
    println!("{YELLOW}{text}{RESET}");
}

/// Something good or bad.
pub(crate) fn verdict(good: bool, text: impl std::fmt::Display) {
    if good { println!("{GREEN}✓{RESET} {text}") } else { println!("{RED}✗{RESET} {text}") }
}

/// An error with its causes.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("{RED}error:{RESET} {error:#}");
}

/// Rows of cells, the first column to the left and the others to the right.
pub(crate) fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let mut text = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            text.push_str(&if column == 0 { format!("  {cell:width$}") } else { format!("  {cell:>width$}") });
        }
        println!("{text}");
    }
}

/// A duration as people read it: `850 ms`, `12.3 s`, `3 min 20 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.1} s"),
        _ => format!("{} min {} s", duration.as_secs() / 60, duration.as_secs() % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(Duration::from_millis(850)), "850 ms");
        assert_eq!(duration(Duration::from_millis(12_340)), "12.3 s");
        assert_eq!(duration(Duration::from_secs(200)), "3 min 20 s");
    }
}
