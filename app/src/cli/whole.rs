//! Whole numbers on the command line, refused with the range that they have.

use std::str::FromStr;

/// Mebibytes at most: more than any machine has.
const MOST_MIB: u64 = 1 << 40;

/// A whole number from 0 on.
pub fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits => Ok(number),
        _ if digits => Err(format!("it goes up to {}", most::<T>())),
        _ => Err("a whole number from 0 on is needed".into()),
    }
}

/// The same from 1 on.
pub fn positive<T: FromStr + From<u8> + PartialOrd>(text: &str) -> Result<T, String> {
    let wrong = || "a whole number from 1 on is needed".to_owned();
    let number: T = whole(text).map_err(|error| if error.contains("needed") { wrong() } else { error })?;
    if number < T::from(1) { Err(wrong()) } else { Ok(number) }
}

/// Memory in MiB.
pub fn mebibytes(text: &str) -> Result<u64, String> {
    match positive(text)? {
        mib if mib < MOST_MIB => Ok(mib),
        _ => Err(format!("it goes from 1 to {}", MOST_MIB - 1)),
    }
}

/// The greatest number of a type.
fn most<T>() -> u128 {
    u128::MAX >> (128 - 8 * size_of::<T>()).min(127)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_said() {
        assert_eq!(whole::<usize>("7"), Ok(7));
        assert_eq!(whole::<u64>("18446744073709551616"), Err("it goes up to 18446744073709551615".into()));
        for text in ["-1", "x", "", "1.5", "+1"] {
            assert!(whole::<u64>(text).unwrap_err().contains("from 0 on"), "{text}");
        }
        assert!(positive::<u64>("0").unwrap_err().contains("from 1 on"));
        assert!(mebibytes("-1").unwrap_err().contains("from 1 on"));
        assert!(mebibytes("1099511627776").unwrap_err().contains("1 to 1099511627775"));
    }
}
