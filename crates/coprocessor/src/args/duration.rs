//! Times as people write them: `90d`, `12h`, `1h30m`, `forever`.

use std::{str::FromStr, time::Duration};

/// A text that is no time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurationError {
    /// Not numbers with units.
    #[error("expected a time such as 90d, 12h, 30m, 45s or 1h30m")]
    Malformed,
    /// More than this program counts.
    #[error("that is longer than a time can be here")]
    TooLong,
}

/// A time: whole numbers, each with its unit `w`, `d`, `h`, `m` or `s`.
pub(crate) fn duration(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(DurationError::Malformed);
    }
    let mut seconds = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(DurationError::Malformed)?;
        let (number, unit) = rest.split_at(digits);
        if number.is_empty() {
            return Err(DurationError::Malformed);
        }
        let number: u64 = number.parse().map_err(|_| DurationError::TooLong)?;
        let unit_seconds = match unit.as_bytes()[0] {
            b'w' => 7 * 24 * 3600,
            b'd' => 24 * 3600,
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return Err(DurationError::Malformed),
        };
        let more = number.checked_mul(unit_seconds).ok_or(DurationError::TooLong)?;
        seconds = seconds.checked_add(more).ok_or(DurationError::TooLong)?;
        rest = &unit[1..];
    }
    // Ten thousand years fit into no timestamp; half of that does.
    const LONGEST: u64 = 5000 * 365 * 24 * 3600;
    if seconds > LONGEST { Err(DurationError::TooLong) } else { Ok(Duration::from_secs(seconds)) }
}

/// How long something is kept: a time, or `forever`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keep(pub(crate) Option<Duration>);

impl FromStr for Keep {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        if text.trim() == "forever" { Ok(Self(None)) } else { duration(text).map(|time| Self(Some(time))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        for (text, seconds) in [
            ("0s", 0),
            ("45s", 45),
            ("30m", 1800),
            ("12h", 43_200),
            ("90d", 7_776_000),
            ("2w", 1_209_600),
            (" 1h30m ", 5400),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!("forever".parse(), Ok(Keep(None)));
        assert_eq!("1d".parse(), Ok(Keep(Some(Duration::from_secs(86_400)))));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", " ", "90", "d", "9x", "-1d", "1.5h", "1d 2h", "forever1d", "1µs", "٣d"] {
            assert_eq!(duration(text), Err(DurationError::Malformed), "{text:?}");
        }
        for text in ["99999999999999999999d", "18446744073709551615d", "400000w"] {
            assert_eq!(duration(text), Err(DurationError::TooLong), "{text:?}");
        }
        assert!("never".parse::<Keep>().is_err());
    }
}
