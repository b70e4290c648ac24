//! The only place that writes to standard output, and where errors and notes go to standard error.

use crate::{error::CliError, text};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::{
    fmt::Display,
    io::{IsTerminal, Write},
    process::ExitCode,
};

/// What a text is, for its colour.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    Quiet,
}

/// Standard output and standard error.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    json: bool,
    colour: bool,
    live: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { json, colour: out && !no_colour && !dumb, live: out && err && !json && !dumb }
    }

    /// Whether JSON is asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether there is a terminal to draw on.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// A command's result: `value` as JSON, or what `plain` says.
    pub(crate) fn result<T: Serialize>(&self, value: &T, plain: impl FnOnce() -> String) -> Result<(), CliError> {
        if self.json {
            let json =
                serde_json::to_string_pretty(value).map_err(|error| CliError::Output { source: error.into() })?;
            return self.line(json);
        }
        self.line(plain().trim_end())
    }

    /// One of a stream of results: a line of JSON, or the lines that `plain` says, if any.
    pub(crate) fn streamed<T: Serialize>(&self, value: &T, plain: impl FnOnce() -> String) -> Result<(), CliError> {
        if self.json {
            let json = serde_json::to_string(value).map_err(|error| CliError::Output { source: error.into() })?;
            return self.line(json);
        }
        let plain = plain();
        if plain.is_empty() { Ok(()) } else { self.line(plain) }
    }

    /// Bytes as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|source| CliError::Output { source })
    }

    /// Something worth knowing that is no result: on standard error, and not where JSON is asked for.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.json {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    /// An error on standard error; its exit code.
    pub(crate) fn failure(&self, error: &CliError) -> ExitCode {
        if let CliError::Output { source } = error
            && source.kind() == std::io::ErrorKind::BrokenPipe
        {
            // Whoever read the output has seen enough.
            return ExitCode::SUCCESS;
        }
        let mut err = std::io::stderr().lock();
        // Nothing is left to be done where standard error cannot be written either.
        let _ = if self.json {
            writeln!(err, "{}", error.to_problem())
        } else {
            let log = error.guest_log().iter().map(|line| format!("  | {}\n", text::printable(line)));
            let hint = error.hint().map(|hint| format!("hint: {hint}\n"));
            write!(
                err,
                "{}error: {}\n{}",
                log.collect::<String>(),
                text::printable_lines(&error.to_string()).trim_end(),
                hint.unwrap_or_default()
            )
        };
        ExitCode::from(error.exit_code())
    }

    /// `text` in a colour, on a terminal that shows colours.
    pub(crate) fn paint(&self, tone: Tone, text: impl Display) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Quiet => "2",
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }

    /// A table with a header; columns named in `right` are aligned to the right.
    pub(crate) fn table<const N: usize>(&self, header: [&str; N], right: &[usize], rows: Vec<[String; N]>) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).force_no_tty();
        table.set_header(header.map(|title| title.to_uppercase()));
        table.add_rows(rows);
        for (at, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            if right.contains(&at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.trim_fmt()
    }

    /// `label  value` lines; labels are padded to the longest.
    pub(crate) fn fields<'a>(&self, fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
        let fields: Vec<_> = fields.into_iter().collect();
        let width = fields.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
        let line = |(label, value): (&str, String)| {
            format!("{}  {value}\n", self.paint(Tone::Quiet, format_args!("{label:width$}")))
        };
        fields.into_iter().map(line).collect()
    }

    fn line(&self, text: impl Display) -> Result<(), CliError> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|source| CliError::Output { source })
    }
}
