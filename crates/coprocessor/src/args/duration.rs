//! Times as people write them: `90d`, `12h`, `1h 30m`, `forever`.

use jiff::{Span, SpanRelativeTo, Unit};
use std::{str::FromStr, time::Duration};

/// A text that is no time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurationError {
    /// Not numbers with units, or with units whose length depends on the date.
    #[error("expected a time such as 90d, 12h, 30m, 45s or 1h30m")]
    Malformed,
    /// No timestamp is that far away.
    #[error("that is longer than a time can be here")]
    TooLong,
}

/// A time in jiff's friendly format or in ISO 8601's; days have 24 hours.
pub(crate) fn duration(text: &str) -> Result<Duration, DurationError> {
    let span: Span = text.trim().parse().map_err(|_| DurationError::Malformed)?;
    let seconds =
        span.total((Unit::Second, SpanRelativeTo::days_are_24_hours())).map_err(|_| DurationError::Malformed)?;
    // Ten thousand years fit into no timestamp; half of that does.
    const LONGEST: f64 = 5000.0 * 365.0 * 24.0 * 3600.0;
    if seconds > LONGEST {
        return Err(DurationError::TooLong);
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| DurationError::Malformed)
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
            ("1d 2h", 93_600),
            ("1.5h", 5400),
            ("P1DT1M", 86_460),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!("forever".parse(), Ok(Keep(None)));
        assert_eq!("1d".parse(), Ok(Keep(Some(Duration::from_secs(86_400)))));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", " ", "90", "d", "9x", "-1d", "1d ago", "1mo", "forever1d", "٣d", "99999999999999999999d"] {
            assert_eq!(duration(text), Err(DurationError::Malformed), "{text:?}");
        }
        assert_eq!(duration("400000w"), Err(DurationError::TooLong));
        assert!("never".parse::<Keep>().is_err());
    }
}
