//! Dates as directories hold them: from 1980 to 2107, in steps of two seconds, without a time zone. Here they are UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;
/// Days from 1970-01-01 to 1980-01-01.
const FIRST_DAY: u64 = 3652;
const FIRST_YEAR: u16 = 1980;
const LAST_YEAR: u16 = 2107;

/// A moment in the four fields a directory entry has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DosTime {
    /// Years since 1980 (7 bits), month (4), day (5).
    pub(crate) date: u16,
    /// Hours (5 bits), minutes (6), half seconds (5).
    pub(crate) time: u16,
    /// What `time` rounds off, in hundredths of a second: 0 or 100.
    pub(crate) fine: u8,
}

impl DosTime {
    /// Moments that FAT can't express become the nearest one that it can.
    pub(crate) fn from_system(time: SystemTime) -> Self {
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let day = seconds / SECONDS_PER_DAY;
        if day < FIRST_DAY {
            return Self { date: 1 << 5 | 1, time: 0, fine: 0 };
        }
        let Some((year, month, day)) = civil(day - FIRST_DAY) else {
            return Self {
                date: (LAST_YEAR - FIRST_YEAR) << 9 | 12 << 5 | 31,
                time: 23 << 11 | 59 << 5 | 29,
                fine: 100,
            };
        };
        // Each is below 60, or 24: no bit is lost.
        let [hour, minute, second] = [seconds / 3600 % 24, seconds / 60 % 60, seconds % 60].map(|n| n as u16);
        Self {
            date: (year - FIRST_YEAR) << 9 | month << 5 | day,
            time: hour << 11 | minute << 5 | (second / 2),
            fine: if second % 2 == 1 { 100 } else { 0 },
        }
    }

    /// `None` for a date that does not exist, such as the zeros of an entry that was never given one.
    pub(crate) fn to_system(self) -> Option<SystemTime> {
        let (year, month, day) = (FIRST_YEAR + (self.date >> 9), self.date >> 5 & 15, self.date & 31);
        let (hour, minute, second) = (self.time >> 11, self.time >> 5 & 63, (self.time & 31) * 2);
        if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
            return None;
        }
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let days = (FIRST_YEAR..year).map(days_in_year).sum::<u64>()
            + (1..month).map(|month| u64::from(days_in(year, month))).sum::<u64>()
            + u64::from(day - 1);
        let seconds = u64::from(hour) * 3600 + u64::from(minute) * 60 + u64::from(second) + u64::from(self.fine / 100);
        Some(UNIX_EPOCH + Duration::from_secs((FIRST_DAY + days) * SECONDS_PER_DAY + seconds))
    }
}

/// Year, month and day of a day counted from 1980-01-01; `None` after the last year FAT can express.
fn civil(mut day: u64) -> Option<(u16, u16, u16)> {
    let year = (FIRST_YEAR..=LAST_YEAR).find(|&year| take(&mut day, days_in_year(year)))?;
    let month = (1..=12).find(|&month| take(&mut day, days_in(year, month).into()))?;
    Some((year, month, day as u16 + 1))
}

/// Whether `day` falls within a period of `length` days; if not, counts it from the period's end.
fn take(day: &mut u64, length: u64) -> bool {
    let within = *day < length;
    if !within {
        *day -= length;
    }
    within
}

fn days_in_year(year: u16) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_in(year: u16, month: u16) -> u16 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn known_moments() {
        // 2024-02-29 12:34:57
        let leap = DosTime { date: 44 << 9 | 2 << 5 | 29, time: 12 << 11 | 34 << 5 | 28, fine: 100 };
        assert_eq!(DosTime::from_system(at(1_709_210_097)), leap);
        assert_eq!(leap.to_system(), Some(at(1_709_210_097)));
        // 2100 is no leap year: 2100-03-01
        assert_eq!(DosTime::from_system(at(4_107_542_400)).date, 120 << 9 | 3 << 5 | 1);
    }

    #[test]
    fn clamps_to_what_fat_can_express() {
        let first = DosTime::from_system(UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(first.to_system(), Some(at(FIRST_DAY * SECONDS_PER_DAY)));
        let last = DosTime::from_system(at(1 << 40));
        assert_eq!(DosTime::from_system(last.to_system().expect("a date")), last);
        assert_eq!(DosTime::from_system(last.to_system().expect("a date") + Duration::from_secs(1)), last);
    }

    #[test]
    fn every_day_there_and_back() {
        for day in 0..46_751 {
            let moment = at((FIRST_DAY + day) * SECONDS_PER_DAY + day % SECONDS_PER_DAY);
            assert_eq!(DosTime::from_system(moment).to_system(), Some(moment), "day {day}");
        }
    }

    #[test]
    fn dates_that_do_not_exist() {
        for (date, time) in [(0, 0), (13 << 5 | 1, 0), (2 << 5 | 30, 0), (1 << 5 | 1, 24 << 11), (1 << 5 | 1, 60 << 5)]
        {
            assert_eq!(DosTime { date, time, fine: 0 }.to_system(), None, "{date:#x} {time:#x}");
        }
    }
}
