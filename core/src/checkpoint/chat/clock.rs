//! The date as templates ask for it, in Coordinated Universal Time.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// Now, written as Python's strftime writes a format.
pub(super) fn now(format: &str) -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    written(seconds, format)
}

/// Seconds since 1970 in a format. What is no directive stays as it is.
fn written(seconds: u64, format: &str) -> String {
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let (year, of_year, month, day) = date(days);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    let weekday = DAYS.get((days as usize + 3) % 7).copied().unwrap_or_default();
    let name = MONTHS.get(month).copied().unwrap_or_default();
    let short = |name: &str| name.get(..3).unwrap_or(name).to_owned();
    let half = if hour % 12 == 0 { 12 } else { hour % 12 };
    let (mut text, mut letters) = (String::new(), format.chars());
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let mut directive = letters.next();
        // glibc: without the zero in front.
        let bare = directive == Some('-');
        if bare {
            directive = letters.next();
        }
        let two = |value: u64| if bare { value.to_string() } else { format!("{value:02}") };
        text.push_str(&match directive {
            Some('Y') => year.to_string(),
            Some('y') => two(year % 100),
            Some('m') => two(month as u64 + 1),
            Some('d') => two(day),
            Some('e') => format!("{day:2}"),
            Some('B') => name.to_owned(),
            Some('b' | 'h') => short(name),
            Some('A') => weekday.to_owned(),
            Some('a') => short(weekday),
            Some('H') => two(hour),
            Some('I') => two(half),
            Some('M') => two(minute),
            Some('S') => two(second),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            Some('j') if bare => of_year.to_string(),
            Some('j') => format!("{of_year:03}"),
            Some('F') => format!("{year}-{:02}-{day:02}", month + 1),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('Z') => "UTC".to_owned(),
            Some('z') => "+0000".to_owned(),
            Some('%') => "%".to_owned(),
            Some(other) => format!("%{other}"),
            None => "%".to_owned(),
        });
    }
    text
}

/// Year, day of the year from 1, month from 0, and day from 1, of the days since 1970.
fn date(mut days: u64) -> (u64, u64, usize, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let of_year = days + 1;
    let february = if leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, of_year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // 29 February 2024, 13:05:09, a Thursday (date -u -d @1709211909).
        let leap = |format| written(1_709_211_909, format);
        assert_eq!(leap("%d %b %Y"), "29 Feb 2024");
        assert_eq!(
            leap("%A, %B %-d, %H:%M:%S %I %p, day %j"),
            "Thursday, February 29, 13:05:09 01 PM, day 060"
        );
        assert_eq!(leap("%F %T 100%% %Q %y"), "2024-02-29 13:05:09 100% %Q 24");
        assert_eq!(written(0, "%Y-%m-%d %a"), "1970-01-01 Thu");
        assert_eq!(written(951_868_799, "%F"), "2000-02-29");
        assert_eq!(written(4_107_542_400, "%F"), "2100-03-01");
    }
}
