//! Amounts, times and bytes as people read them; text from elsewhere made harmless.

use jiff::{Span, SpanRelativeTo, Unit};
use std::time::Duration;

/// Bytes longer than this are shown in part.
const SHOWN_BYTES: usize = 256;

/// `0 ms`, `0.8 ms`, `850 ms`, `12.3 s`, `3 min 20 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1e3;
    match duration.as_secs() {
        0 if duration.is_zero() => "0 ms".to_owned(),
        _ if millis < 10.0 => format!("{millis:.1} ms"),
        0 => format!("{millis:.0} ms"),
        1..120 => format!("{:.1} s", duration.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// A time as people write it: `90d`, `12h`, `1h30m`; days are 24 hours.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a time such as 90d, 12h or 1h30m".to_owned();
    let span: Span = text.parse().map_err(|_| expected())?;
    let seconds = span.total((Unit::Second, SpanRelativeTo::days_are_24_hours())).map_err(|_| expected())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| expected())
}

/// A long time: `90 days`, `12 h`, `30 min`.
pub(crate) fn span(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds > 0 && seconds.is_multiple_of(86_400) => count(seconds / 86_400, "day", "days"),
        seconds if seconds > 0 && seconds.is_multiple_of(3600) => format!("{} h", seconds / 3600),
        seconds if seconds > 0 && seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

/// How to get the rest of a list, if there is more.
pub(crate) fn more(next: Option<&str>) -> String {
    next.map_or_else(String::new, |next| format!("\nmore: --cursor {next}"))
}

/// `17 B`, `1.5 KiB`, `10.0 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[allow(clippy::cast_precision_loss)] // One decimal is shown.
    let mut amount = bytes as f64 / 1024.0;
    let mut units = ["KiB", "MiB"].into_iter();
    loop {
        match units.next() {
            Some(unit) if amount < 1024.0 => return format!("{amount:.1} {unit}"),
            Some(_) => amount /= 1024.0,
            None => return format!("{amount:.1} GiB"),
        }
    }
}

/// `18,727`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 witness`, `2 witnesses`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

/// Text where it is text, else hexadecimal digits; long ones in part.
pub(crate) fn bytes(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "empty".to_owned();
    }
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
    let more = if bytes.len() > SHOWN_BYTES { "…" } else { "" };
    let is_text = |text: &str| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t'));
    let text = match std::str::from_utf8(shown) {
        Ok(text) => Some(text),
        // A character that the cut went through is no sign of binary data.
        Err(error) if error.error_len().is_none() && !more.is_empty() => {
            std::str::from_utf8(&shown[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    let shown = match text.filter(|text| is_text(text)) {
        Some(text) => format!("{text:?}{more}"),
        None => format!("0x{}{more}", hex::encode(shown)),
    };
    format!("{shown} ({})", count(bytes.len() as u64, "byte", "bytes"))
}

/// One line of text from elsewhere, with nothing in it that a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// As [`printable`], line by line.
pub(crate) fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

/// The first digits of an id or a digest.
pub(crate) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_well() {
        assert_eq!(duration(Duration::ZERO), "0 ms");
        assert_eq!(duration(Duration::from_micros(840)), "0.8 ms");
        assert_eq!(duration(Duration::from_millis(850)), "850 ms");
        assert_eq!(duration(Duration::from_millis(12_340)), "12.3 s");
        assert_eq!(duration(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(64 << 20), "64.0 MiB");
        assert_eq!(size(10 << 30), "10.0 GiB");
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(4_218_727), "4,218,727");
        assert_eq!(count(1, "byte", "bytes"), "1 byte");
    }

    #[test]
    fn long_times_are_read_and_shown() {
        for (text, seconds) in [("90d", 7_776_000), ("12h", 43_200), ("1h30m", 5400), ("2w", 1_209_600), ("45s", 45)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "90", "d", "-1d", "1 month", "soon"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
        assert_eq!(span(Duration::from_secs(86_400)), "1 day");
        assert_eq!(span(Duration::from_secs(7_776_000)), "90 days");
        assert_eq!(span(Duration::from_secs(5400)), "90 min");
        assert_eq!(span(Duration::ZERO), "0 s");
    }

    #[test]
    fn bytes_are_text_where_they_are_text() {
        assert_eq!(bytes(b""), "empty");
        assert_eq!(bytes("grüße".as_bytes()), "\"grüße\" (7 bytes)");
        assert_eq!(bytes(&[0, 0xff]), "0x00ff (2 bytes)");
        assert_eq!(bytes(b"\x1b[31m"), "0x1b5b33316d (5 bytes)");
        let long = "ü".repeat(200);
        assert!(bytes(long.as_bytes()).starts_with("\"üüü"), "{}", bytes(long.as_bytes()));
        let cut = format!("x{long}");
        assert!(bytes(cut.as_bytes()).ends_with("…\u{20}(401 bytes)"), "{}", bytes(cut.as_bytes()));
    }

    #[test]
    fn nothing_from_elsewhere_moves_the_cursor() {
        assert_eq!(printable("a\x1b[2Jb\r\n"), "a\\u{1b}[2Jb\\r\\n");
        assert_eq!(printable_lines("a\nb\x07"), "a\nb\\u{7}");
    }
}
