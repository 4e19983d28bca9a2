//! The learning rate.

/// Linear warm-up, then half a cosine down to a share of the largest rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// The largest rate.
    pub top: f32,
    /// Updates that it rises over.
    pub warm_up: u64,
    /// Updates in all.
    pub steps: u64,
    /// What is left of `top` at the end, as a share.
    pub floor: f32,
}

impl Rate {
    /// The rate of update `step`, counted from 0.
    pub fn at(&self, step: u64) -> f32 {
        let warm = ((step + 1) as f32 / self.warm_up.max(1) as f32).min(1.0);
        let done = step as f32 / self.steps.max(1) as f32;
        let cosine = 0.5 * (1.0 + (std::f32::consts::PI * done).cos());
        self.top * warm * (self.floor + (1.0 - self.floor) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_in_a_line_and_down_in_half_a_cosine() {
        let rate = Rate { top: 2.0, warm_up: 4, steps: 100, floor: 0.1 };
        assert!((rate.at(0) - 0.5).abs() < 1e-3 && (rate.at(1) - 1.0).abs() < 1e-2);
        assert!((rate.at(50) - 1.1).abs() < 1e-6 && (rate.at(100) - 0.2).abs() < 1e-6);
        assert!((4..100).all(|step| rate.at(step) > rate.at(step + 1)));
        assert!(Rate { warm_up: 0, steps: 0, ..rate }.at(0).is_finite());
    }
}
