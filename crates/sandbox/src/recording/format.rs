//! Recordings as bytes.

use super::call::{Bytes, Exchange};
use super::{End, Failed, RECORDING_VERSION, Recording, RecordingError};
use crate::limits::{Limits, Usage};
use crate::run::Export;
use coprocessor_types::{BlobDigest, ProgramId, Root};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Header(Header),
    Call(Exchange),
    End(EndLine),
    Sha256(BlobDigest),
    Wasm(Bytes),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    made_by: String,
    export: String,
    controller: BlobDigest,
    program: ProgramId,
    root: Root,
    limits: Limits,
    args: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndLine {
    /// JSON.
    result: Option<String>,
    failed: Option<FailedLine>,
    log: Vec<String>,
    usage: Usage,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FailedLine {
    code: String,
    message: String,
}

impl Recording {
    /// The recording as a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { made_by, export, controller, program, root, limits, args, calls, end, wasm } = self;
        let header = Header {
            version: RECORDING_VERSION,
            made_by: made_by.clone(),
            export: export.name().to_owned(),
            controller: *controller,
            program: *program,
            root: *root,
            limits: limits.clone(),
            args: args.clone(),
        };
        let (result, failed) = match &end.result {
            Ok(result) => (result.clone(), None),
            Err(Failed { code, message }) => (None, Some(FailedLine { code: code.clone(), message: message.clone() })),
        };
        let end = EndLine { result, failed, log: end.log.clone(), usage: end.usage.clone() };
        let mut bytes = Vec::new();
        put(&mut bytes, &Line::Header(header));
        calls.iter().for_each(|call| put(&mut bytes, &Line::Call(call.clone())));
        put(&mut bytes, &Line::End(end));
        let digest = BlobDigest::of(&bytes);
        put(&mut bytes, &Line::Sha256(digest));
        if let Some(wasm) = wasm {
            Self::attach(&mut bytes, wasm);
        }
        bytes
    }

    /// Adds the controller's WebAssembly to a recording that has none yet, without reading it.
    pub fn attach(recording: &mut Vec<u8>, wasm: &[u8]) {
        put(recording, &Line::Wasm(Bytes(wasm.to_vec())));
    }

    /// Reads a recording, whoever made the bytes.
    ///
    /// # Errors
    /// All of [`RecordingError`] but [`RecordingError::TooLarge`] and [`RecordingError::Nothing`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordingError> {
        let mut lines = Lines { rest: bytes, number: 0, before: 0, all: bytes };
        let header = header(&mut lines)?;
        let mut calls = Vec::new();
        let end = loop {
            match lines.next()? {
                Line::Call(call) => {
                    if call.answer.as_ref().is_some_and(|answer| !call.asked.is_answered_by(answer)) {
                        return Err(lines.damaged("the answer is to another call"));
                    }
                    calls.push(call);
                }
                Line::End(end) => break end,
                _ => return Err(lines.damaged("expected `call` or `end`")),
            }
        };
        let got = BlobDigest::of(lines.so_far());
        match lines.next()? {
            Line::Sha256(expected) if expected == got => {}
            Line::Sha256(expected) => return Err(RecordingError::Damaged { expected, got }),
            _ => return Err(lines.damaged("expected `sha256`")),
        }
        let wasm = lines.wasm(header.controller)?;
        let export = Export::ALL.into_iter().find(|export| export.name() == header.export);
        let export = export.ok_or_else(|| RecordingError::Line {
            line: 1,
            reason: format!("`{}` is no function that is called", header.export),
        })?;
        let result = match end {
            EndLine { failed: None, ref result, .. } => Ok(result.clone()),
            EndLine { failed: Some(FailedLine { ref code, ref message }), .. } => {
                Err(Failed { code: code.clone(), message: message.clone() })
            }
        };
        let Header { made_by, controller, program, root, limits, args, .. } = header;
        let end = End { result, log: end.log, usage: end.usage };
        Ok(Self { made_by, export, controller, program, root, limits, args, calls, end, wasm })
    }
}

/// A line's end is part of what is digested.
fn put(bytes: &mut Vec<u8>, line: &Line) {
    // Its types have names that are strings, and a vector takes whatever is written to it.
    serde_json::to_writer(&mut *bytes, line).expect("a line of a recording is JSON");
    bytes.push(b'\n');
}

/// The first line. Says what is wrong with what is no recording, or one of another version.
fn header(lines: &mut Lines<'_>) -> Result<Header, RecordingError> {
    let no_recording = |reason: String| RecordingError::NotARecording { reason };
    let line = lines.line().map_err(|_| no_recording("it has no line".to_owned()))?;
    let value: Value =
        serde_json::from_slice(line).map_err(|error| no_recording(format!("its first line is no JSON: {error}")))?;
    let version = value["header"]["version"].as_u64();
    match version.ok_or_else(|| no_recording("its first line has no `header` with a `version`".to_owned()))? {
        version if version == u64::from(RECORDING_VERSION) => {}
        got => return Err(RecordingError::Version { got }),
    }
    match serde_json::from_slice(line) {
        Ok(Line::Header(header)) => Ok(header),
        Ok(_) => Err(lines.damaged("expected `header`")),
        Err(error) => Err(lines.damaged(&error.to_string())),
    }
}

struct Lines<'a> {
    all: &'a [u8],
    rest: &'a [u8],
    /// Of the line read last.
    number: usize,
    /// Bytes before the rest.
    before: usize,
}

impl<'a> Lines<'a> {
    fn line(&mut self) -> Result<&'a [u8], RecordingError> {
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or(RecordingError::CutOff { lines: self.number })?;
        let (line, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        self.number += 1;
        self.before += end + 1;
        Ok(line)
    }

    fn next(&mut self) -> Result<Line, RecordingError> {
        let line = self.line()?;
        serde_json::from_slice(line).map_err(|error| self.damaged(&error.to_string()))
    }

    /// All that was read, with its lines' ends.
    fn so_far(&self) -> &'a [u8] {
        &self.all[..self.before]
    }

    /// What may follow, and must be that controller's.
    fn wasm(&mut self, expected: BlobDigest) -> Result<Option<Vec<u8>>, RecordingError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let Line::Wasm(Bytes(wasm)) = self.next()? else { return Err(self.damaged("expected `wasm`")) };
        let got = BlobDigest::of(&wasm);
        if got != expected {
            return Err(RecordingError::OtherController { expected, got });
        }
        if self.rest.is_empty() {
            Ok(Some(wasm))
        } else {
            Err(RecordingError::Line { line: self.number + 1, reason: "there is nothing after `wasm`".to_owned() })
        }
    }

    fn damaged(&self, reason: &str) -> RecordingError {
        RecordingError::Line { line: self.number, reason: reason.to_owned() }
    }
}
