//! The k largest of some values where it matters which of equals they are: what fills a choice beyond the open groups counts as
//! minus infinity each, and shows in the logits. PyTorch on a CPU takes the first k after C++'s `nth_element`; here are the
//! same comparisons and exchanges in the same order.

use std::cmp::Ordering;

/// Places of the `k` largest of `values`, as `torch.topk` takes them; in no order.
pub(super) fn top(values: &[f32], k: usize) -> Vec<usize> {
    let mut places = Places { values, order: (0..values.len()).collect() };
    if (1..values.len()).contains(&k) {
        places.part(k - 1);
    }
    places.order.truncate(k);
    places.order
}

/// Places in an order that is being changed.
struct Places<'a> {
    values: &'a [f32],
    order: Vec<usize>,
}

impl Places<'_> {
    fn value(&self, at: usize) -> f32 {
        self.order.get(at).and_then(|&place| self.values.get(place)).copied().unwrap_or(f32::NAN)
    }

    /// Whether what stands at `a` comes before what stands at `b`: a larger number, and NaN before all numbers.
    fn before(&self, a: usize, b: usize) -> bool {
        let (a, b) = (self.value(a), self.value(b));
        a.is_nan() && !b.is_nan() || a > b
    }

    /// Exchange until nothing behind `nth` comes before anything up to it.
    fn part(&mut self, nth: usize) {
        let (mut first, mut last) = (0, self.order.len());
        let mut rounds = 2 * last.ilog2();
        while last - first > 3 && rounds > 0 {
            rounds -= 1;
            let cut = self.cut(first, last);
            if cut <= nth { first = cut } else { last = cut }
        }
        // Few are left, as a rule; equals keep their order.
        let values = self.values;
        let key = |place: &usize| values.get(*place).copied().unwrap_or(f32::NAN);
        if let Some(rest) = self.order.get_mut(first..last) {
            let by_value = |a: f32, b: f32| b.partial_cmp(&a).unwrap_or(Ordering::Equal);
            rest.sort_by(|a, b| key(b).is_nan().cmp(&key(a).is_nan()).then(by_value(key(a), key(b))));
        }
    }

    /// Split `first .. last` by the median of three of its values; where the second part begins.
    fn cut(&mut self, first: usize, last: usize) -> usize {
        let (a, b, c) = (first + 1, first + (last - first) / 2, last - 1);
        let median = match (self.before(a, b), self.before(b, c), self.before(a, c)) {
            (true, true, _) | (false, false, false) => b,
            (true, false, true) | (false, true, false) => c,
            (true, false, false) | (false, _, true) => a,
        };
        self.order.swap(first, median);
        let (mut left, mut right) = (first + 1, last);
        loop {
            while left < last && self.before(left, first) {
                left += 1;
            }
            right -= 1;
            while right > first && self.before(first, right) {
                right -= 1;
            }
            if left >= right {
                return left;
            }
            self.order.swap(left, right);
            left += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(values: &[f32], k: usize) -> Vec<usize> {
        let mut places = top(values, k);
        places.sort_unstable();
        places
    }

    /// Against what torch 2.15 answered on a CPU.
    #[test]
    fn equals_are_taken_as_torch_takes_them() {
        // Values, how many, which are not minus infinity, what was taken.
        let table: [(usize, usize, &[usize], &[usize]); 6] = [
            (8, 3, &[4, 5], &[4, 5, 6]),
            (8, 3, &[0, 1], &[0, 1, 7]),
            (8, 5, &[6, 7], &[2, 4, 5, 6, 7]),
            (12, 7, &[3, 4, 5], &[3, 4, 5, 6, 8, 9, 10]),
            (16, 6, &[8, 9], &[8, 9, 10, 11, 12, 14]),
            (64, 8, &[20, 21, 22, 23], &[20, 21, 22, 23, 42, 43, 44, 45]),
        ];
        for (count, k, open, taken) in table {
            let mut values = vec![f32::NEG_INFINITY; count];
            open.iter().for_each(|&place| values[place] = 0.5 + 0.1 * (place % 2) as f32);
            assert_eq!(sorted(&values, k), taken, "{k} of {count}");
        }
        assert_eq!(sorted(&[0.5, 0.1, 0.5, 0.2, 0.5, 0.5, 0.1, 0.5, 0.5], 3), [4, 5, 7]);
        assert_eq!(sorted(&[0.5; 4], 2), [2, 3]);
    }

    #[test]
    fn without_equals_they_are_the_largest() {
        for count in 1..40 {
            let values: Vec<f32> = (0..count).map(|i| ((i * 29 + 3) % 41) as f32).collect();
            for k in 0..=count {
                let mut best: Vec<usize> = (0..count).collect();
                best.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
                best.truncate(k);
                best.sort_unstable();
                assert_eq!(sorted(&values, k), best);
            }
        }
        assert_eq!(sorted(&[1.0, f32::NAN, 3.0, 2.0, 0.0], 2), [1, 2]);
    }
}
