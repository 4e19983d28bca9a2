//! What a trace measures of a prompt whatever its length: indirect effects by layer and by where a token stands to the subject
//! (ROME, arXiv 2202.05262, section 2.1 and figure 2).

use crate::method::Measure;
use crate::method::measure::{Labels, one};
use crate::spec::Spec;

/// Where a token stands to the corrupted ones, the subject: its first, those between, its last; the one behind it, those after
/// that, and the prompt's last. Of a subject of one token that one is its last.
const PLACES: [&str; 6] = ["subj first", "subj mid", "subj last", "next", "further", "last"];

/// Means over a list.
pub(super) const MEASURES: &[Measure] = &[
    Measure {
        name: "indirect_effect",
        title: "Indirect effect",
        quantity: "P(answer) restored, less corrupted",
        unit: "",
        signed: true,
        shape: by_place,
    },
    Measure {
        name: "total_effect",
        title: "Total effect",
        quantity: "P(answer) clean, less corrupted",
        unit: "",
        signed: true,
        shape: one,
    },
    Measure {
        name: "clean",
        title: "P(answer) clean",
        quantity: "P(answer) clean",
        unit: "",
        signed: false,
        shape: one,
    },
];

fn by_place(spec: &Spec) -> [Labels; 2] {
    [Labels::counted("Layer", spec.n_layers()), Labels::new("Token", PLACES)]
}

/// The place of each position of a prompt; none before the subject. `corrupt` is ascending.
fn places(corrupt: &[usize], len: usize) -> Vec<Option<usize>> {
    let (first, last) = (corrupt.first().copied(), corrupt.last().copied());
    let place = |at: usize| match at {
        _ if at + 1 == len => Some(5),
        _ if Some(at) == last => Some(2),
        _ if Some(at) == first => Some(0),
        _ if corrupt.contains(&at) => Some(1),
        _ if last.is_some_and(|last| at == last + 1) => Some(3),
        _ if last.is_some_and(|last| at > last) => Some(4),
        _ => None,
    };
    (0..len).map(place).collect()
}

/// Means over the tokens of a place; NaN where a prompt has none. `restored` is P(answer) by layer and position, `corrupt` are
/// the corrupted positions, ascending.
pub(super) fn measured(
    restored: &[Vec<f32>],
    corrupt: &[usize],
    clean: f32,
    corrupted: f32,
) -> Vec<Vec<f64>> {
    let len = restored.first().map_or(0, Vec::len);
    let places = places(corrupt, len);
    let (clean, corrupted) = (f64::from(clean), f64::from(corrupted));
    let effect = |row: &[f32], place: usize| {
        let of = row.iter().zip(&places).filter(|(_, at)| **at == Some(place));
        let (sum, count) =
            of.fold((0.0, 0.0), |(sum, count), (p, _)| (sum + f64::from(*p) - corrupted, count + 1.0));
        sum / count
    };
    let effects = restored.iter().flat_map(|row| (0..PLACES.len()).map(|place| effect(row, place)));
    vec![effects.collect(), vec![clean - corrupted], vec![clean]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_placed_by_the_subject() {
        let all = places(&[1, 2, 3, 4], 9);
        let expected = [None, Some(0), Some(1), Some(1), Some(2), Some(3), Some(4), Some(4), Some(5)];
        assert_eq!(all, expected);
        assert_eq!(places(&[0], 3), [Some(2), Some(3), Some(5)]);
        assert_eq!(places(&[0, 1], 2), [Some(0), Some(5)]);
    }

    #[test]
    fn effects_are_means_over_the_tokens_of_a_place() {
        let restored = [vec![0.25, 0.5, 0.75, 0.25, 0.5, 1.0], vec![0.5; 6]];
        let [effects, total, clean] = measured(&restored, &[1, 2], 0.75, 0.25).try_into().unwrap();
        assert!(effects[1].is_nan());
        assert_eq!(
            [effects[0], effects[2], effects[3], effects[4], effects[5]],
            [0.25, 0.5, 0.0, 0.25, 0.75]
        );
        assert_eq!((total, clean), (vec![0.5], vec![0.75]));
    }
}
