//! Numbers as text: exact for data, short for people, and the ticks of an axis.

/// Shortest text that reads back as the same `f32`; empty for NaN.
pub fn exact(value: f32) -> String {
    if value.is_nan() {
        String::new()
    } else if plain(f64::from(value)) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

/// Shortest text that reads back as the same `f64`; empty for NaN.
pub fn exact64(value: f64) -> String {
    if value.is_nan() {
        String::new()
    } else if plain(value) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

/// Whether a number is readable without an exponent.
fn plain(value: f64) -> bool {
    value == 0.0 || !value.is_finite() || (1e-5..1e15).contains(&value.abs())
}

/// Texts of one column of numbers for people, with one count of decimals: about four digits of the largest magnitude,
/// none for whole numbers. Empty for NaN.
pub fn column(values: &[f64]) -> Vec<String> {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let largest = finite().fold(0.0, |max: f64, value| max.max(value.abs()));
    let whole = finite().all(|value| value.fract() == 0.0);
    let text = |value: f64| match value {
        _ if value.is_nan() => String::new(),
        _ if value.is_infinite() => sign(if value > 0.0 { "∞".into() } else { "-∞".into() }),
        _ if whole && largest < 1e15 => sign(format!("{value:.0}")),
        _ if largest > 0.0 && !(1e-4..1e7).contains(&largest) => sign(format!("{value:.3e}")),
        _ => sign(format!("{value:.*}", decimals(largest / 1000.0).clamp(0, 7))),
    };
    values.iter().map(|&value| text(value)).collect()
}

/// About `target` round positions within `low..=high`, with their texts. None when the range is empty or not finite.
pub fn ticks(low: f64, high: f64, target: usize) -> Vec<(f64, String)> {
    let span = high - low;
    if !(span.is_finite() && span > 0.0) {
        return Vec::new();
    }
    let raw = span / target.max(1) as f64;
    let decade = 10_f64.powf(raw.log10().floor());
    let Some(step) = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * decade).find(|step| *step >= raw * 0.999)
    else {
        return Vec::new();
    };
    if !(step.is_finite() && step > 0.0) {
        return Vec::new();
    }
    let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
    let largest = low.abs().max(high.abs());
    let text = |value: f64| {
        if !(1e-3..1e5).contains(&largest) {
            let digits = (largest.log10().floor() - step.log10().floor()).clamp(0.0, 9.0) as usize;
            if value == 0.0 { "0".to_owned() } else { sign(format!("{value:.digits$e}")) }
        } else {
            sign(format!("{value:.*}", decimals(step)))
        }
    };
    // A step far below the precision of the ends would repeat the same value.
    let count = ((last - first).max(0.0) as usize).min(4 * target);
    (0..=count).map(|index| (first + index as f64) * step).map(|value| (value, text(value + 0.0))).collect()
}

/// Decimals that show one digit of a number of this size.
fn decimals(size: f64) -> usize {
    if size > 0.0 { (-(size.log10() + 1e-9).floor()).clamp(0.0, 12.0) as usize } else { 0 }
}

/// With a typographic minus, and no minus before zero.
fn sign(text: String) -> String {
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|byte| matches!(byte, b'0' | b'.')) => rest.to_owned(),
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(low: f64, high: f64) -> Vec<String> {
        ticks(low, high, 5).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(0.0, 1.0), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(-3.2, 3.2), ["−2", "0", "2"]);
        assert_eq!(
            labels(0.0, 2.0e-5),
            ["0", "5e-6", "1.0e-5", "1.5e-5", "2.0e-5"]
                .map(|t| { if t == "5e-6" { "5.0e-6".to_owned() } else { t.to_owned() } })
        );
        for (low, high) in [(1.0, 1.0), (2.0, 1.0), (0.0, f64::INFINITY), (f64::NAN, 1.0)] {
            assert!(ticks(low, high, 5).is_empty());
        }
    }

    #[test]
    fn columns_share_their_decimals() {
        assert_eq!(column(&[1.0, -20.0, f64::NAN]), ["1", "−20", ""]);
        assert_eq!(column(&[0.25, 13.5]), ["0.25", "13.50"]);
        assert_eq!(column(&[-0.00001, 2.0]), ["0.000", "2.000"]);
        assert_eq!(column(&[f64::NEG_INFINITY, 1.5]), ["−∞", "1.500"]);
    }

    proptest! {
        #[test]
        fn exact_reads_back(bits in any::<u32>()) {
            let value = f32::from_bits(bits);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(exact(value).parse::<f32>().map(f32::to_bits), Ok(bits));
        }

        #[test]
        fn exact64_reads_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(exact64(value).parse::<f64>().map(f64::to_bits), Ok(bits));
        }

        #[test]
        fn ticks_stay_inside(low in -1e6_f64..1e6, span in 1e-6_f64..1e7) {
            let slack = span * 1e-6 + low.abs() * 1e-12;
            let ticks = ticks(low, low + span, 5);
            prop_assert!(ticks.len() <= 21);
            prop_assert!(ticks.iter().all(|(at, _)| *at >= low - slack && *at <= low + span + slack));
        }
    }
}
