//! What the paper says of its 1.4 B parameter model, beside what this one shows. Outcomes are computed, not chosen.

use serde::Serialize;

use super::routes::Routes;

/// One claim.
#[derive(Clone, Debug, Serialize)]
pub struct Claim {
    /// The paper's, with its place.
    pub paper: &'static str,
    /// What was measured here.
    pub here: String,
    /// Whether both agree.
    pub holds: bool,
}

/// Compare.
pub fn claims(routes: &Routes) -> Vec<Claim> {
    let oracle = |big: usize| routes.by_budget.get(big).map_or(f64::NAN, |budget| budget.oracle.mean);
    let fixed = |big: usize| routes.by_budget.get(big).map_or(f64::NAN, |budget| budget.fixed);
    let best = (0..=routes.layers).min_by(|&a, &b| oracle(a).total_cmp(&oracle(b))).unwrap_or(0);
    let (one, half) = (routes.one_big_less_all_big, routes.layers / 2);
    let rises = (1..=routes.layers).map(|big| fixed(big) - fixed(big - 1)).fold(f64::NEG_INFINITY, f64::max);
    let router = routes.routers.iter().find(|router| router.name.starts_with("big50_small50"));
    let router = router.map_or(f64::NAN, |router| router.hard.mean);
    let gain = routes.by_budget.get(half).map(|budget| budget.gain_sd).unwrap_or_default();
    let others = gain.wrong.interval[1].max(gain.drawn.interval[1]);
    let control = routes.by_budget.get(half).map(|budget| budget.gain_over_control).unwrap_or_default();
    vec![
        Claim {
            paper: "the oracle is best at an interior number of big layers (6 of 12; figure 4b)",
            here: format!(
                "best at {best} of {}: {:.4} nats, all-big {:.4}",
                routes.layers,
                oracle(best),
                oracle(routes.layers)
            ),
            holds: (1..routes.layers).contains(&best),
        },
        Claim {
            paper: "an oracle with one big layer beats all-big (section 3.2.1)",
            here: format!(
                "oracle(1) less all-big {:+.4} [{:+.4}, {:+.4}]",
                one.mean, one.interval[0], one.interval[1]
            ),
            holds: one.interval[1] < 0.0,
        },
        Claim {
            paper: "fixed patterns gain from more big layers (figure 4b)",
            here: format!("largest rise of fixed(k) from one k to the next {rises:+.4}"),
            holds: rises <= 0.01,
        },
        Claim {
            paper: "a learned router stays near fixed patterns, far from the oracle (section 3.3)",
            here: format!(
                "at half the budget: router {router:.4}, fixed {:.4}, oracle {:.4}",
                fixed(half),
                oracle(half)
            ),
            holds: (router - fixed(half)).abs() < (router - oracle(half)).abs(),
        },
        Claim {
            paper: "(ours, the control the paper lacks) the oracle's gain is more than selection among many draws",
            here: format!(
                "gain at half the budget less the wrong-label gain {:+.4} [{:+.4}, {:+.4}]",
                control.mean, control.interval[0], control.interval[1]
            ),
            holds: control.interval[0] > 0.0,
        },
        Claim {
            paper: "(ours, the same in standard deviations of the patterns' losses) more than for wrong labels and for the model's own prediction",
            here: format!(
                "gain at half the budget {:.2}, for wrong labels {:.2}, for the model's own prediction {:.2}",
                gain.next.mean, gain.wrong.mean, gain.drawn.mean
            ),
            holds: gain.next.interval[0] > others,
        },
    ]
}
