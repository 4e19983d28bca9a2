//! A plan as what weights could do: factors and sums at sites, and rules about experts, each item on its own.

use super::compile::{Compiler, Resolve};
use super::kind::Fold;
use super::target::row_width;
use super::{Item, Plan};
use crate::error::Result;
use crate::model::Schedule;
use crate::model::schedule::{Choice, Edit, Op, Rows, Values};
use crate::site::{Shape, Site};
use crate::spec::{Positions, Spec};

/// An item of a plan that is on, and what it comes to in weights.
#[derive(Clone, Debug)]
pub struct Foldable {
    /// `plan.items[0] (take out FFN 1)`
    pub label: String,
    /// Its changes in the order of effects; else why weights cannot do what it does.
    pub(crate) changes: Result<Changes, String>,
}

/// What one item does at every position.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    /// At sites.
    pub sites: Vec<(Site, Affine)>,
    /// To the choice of experts, by layer.
    pub experts: Vec<(usize, Choice)>,
}

/// x -> factor * x + sum, for each value of a position's row at a site.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Affine {
    /// As wide as a row.
    pub factors: Vec<f64>,
    /// As wide as a row.
    pub sums: Vec<f64>,
}

impl Affine {
    /// Whether values are multiplied.
    pub fn multiplies(&self) -> bool {
        self.factors.iter().any(|&factor| factor != 1.0)
    }

    /// Whether something is added.
    pub fn adds(&self) -> bool {
        self.sums.iter().any(|&sum| sum != 0.0)
    }

    /// Whether nothing is left of any value.
    pub fn is_zero(&self) -> bool {
        self.factors.iter().chain(&self.sums).all(|&value| value == 0.0)
    }

    /// As much of what is changed as a strength leaves, of the values in `range`.
    fn new(width: usize, range: std::ops::Range<usize>, factor: f64, sum: impl Fn(usize) -> f64) -> Self {
        let within = |at: usize| range.contains(&at);
        Self {
            factors: (0..width).map(|at| if within(at) { factor } else { 1.0 }).collect(),
            sums: (0..width).map(|at| if within(at) { sum(at) } else { 0.0 }).collect(),
        }
    }
}

impl Plan {
    /// Every item that is on, in the order of effects, as what weights could do.
    pub(crate) fn foldable(
        &self,
        spec: &Spec,
        prompt_len: usize,
        resolve: &mut dyn Resolve,
    ) -> Vec<Foldable> {
        let numbered = self.numbered();
        let one = |(index, item): (usize, &Item)| Foldable {
            label: format!("plan.items[{index}] ({})", item.summary()),
            changes: self.changes(item, spec, prompt_len, resolve),
        };
        numbered.into_iter().map(one).collect()
    }

    fn changes(
        &self,
        item: &Item,
        spec: &Spec,
        prompt_len: usize,
        resolve: &mut dyn Resolve,
    ) -> Result<Changes, String> {
        if let Fold::Never(reason) = item.change.fold() {
            return Err(reason.into());
        }
        let (surrogate, schedule) = (self.surrogate(), Schedule::default());
        let mut compiler = Compiler { spec, prompt_len, surrogate, resolve, schedule, label: None };
        let compiled =
            item.change.compile(&mut compiler, item.strength).and_then(|()| compiler.check_choices());
        compiled.map_err(|error| error.to_string())?;
        let schedule = compiler.schedule;
        let mut changes = Changes::default();
        for (site, edit) in schedule.all_edits() {
            changes.sites.push((site, affine(site, edit, spec)?));
        }
        for (layer, choices) in schedule.all_choices() {
            for choice in choices {
                everywhere(&choice.rows)?;
                if choice.strength != 1.0 || !choice.force.is_empty() {
                    return Err("a router cannot be made to choose, or to choose in part".into());
                }
                changes.experts.push((layer, choice.clone()));
            }
        }
        Ok(changes)
    }
}

/// An edit of a site, where it is a factor or a sum at every position.
fn affine(site: Site, edit: &Edit, spec: &Spec) -> Result<Affine, String> {
    everywhere(&edit.rows)?;
    let width = row_width(site, spec);
    let strength = f64::from(edit.strength);
    let range = match edit.unit {
        None => 0..width,
        Some(unit) => {
            let of_head = matches!(site.shape(), Shape::Heads | Shape::KvHeads);
            let layer = if let Site::Block { layer, .. } = site { spec.layers.get(layer) } else { None };
            let values = layer.filter(|_| of_head).map_or(1, |layer| layer.attn.d_head);
            unit * values..(unit + 1) * values
        }
    };
    let one = |values: &Values| match values {
        Values::One(vector) => {
            let values = vector.flatten_all().and_then(|vector| vector.to_vec1::<f32>());
            values.map_err(|error| error.to_string())
        }
        Values::Rows(..) => Err("it puts in another row at each position".to_owned()),
    };
    let at = |values: &[f32], place: usize| values.get(place).copied().map_or(0.0, f64::from);
    Ok(match &edit.op {
        Op::Zero => Affine::new(width, range, 1.0 - strength, |_| 0.0),
        Op::Scale(factor) => Affine::new(width, range, 1.0 + strength * (f64::from(*factor) - 1.0), |_| 0.0),
        Op::Put(values) => {
            let values = one(values)?;
            Affine::new(width, range, 1.0 - strength, |place| strength * at(&values, place))
        }
        Op::Add { values, scale, keep_norm: false } => {
            let (values, scale) = (one(values)?, f64::from(*scale));
            Affine::new(width, range, 1.0, |place| strength * scale * at(&values, place))
        }
        Op::Add { keep_norm: true, .. } => return Err("it keeps the norm of what it is added to".into()),
        Op::Threshold(_) => return Err("a threshold looks at the values of the run".into()),
        Op::Noise { .. } => return Err("noise is another at each position".into()),
    })
}

fn everywhere(rows: &Rows) -> Result<(), String> {
    match rows {
        Rows::Positions(Positions::All, _) => Ok(()),
        _ => Err("it acts at some positions, weights act at all of them".into()),
    }
}
