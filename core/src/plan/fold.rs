//! A plan as what weights could do: factors and sums at sites, and rules about experts, each item on its own.

use std::ops::Range;

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
    pub sites: Vec<(Site, Stretch)>,
    /// To the choice of experts, by layer.
    pub experts: Vec<(usize, Choice)>,
}

/// x -> factor * x + sum for some values of a position's row at a site; the others stay.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stretch {
    /// Values of a row.
    width: usize,
    /// Which of them.
    range: Range<usize>,
    factor: f64,
    /// One for each of them; none where nothing is added.
    sums: Vec<f64>,
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
    /// All that stretches do one after the other.
    pub fn of<'a>(stretches: impl IntoIterator<Item = &'a Stretch>) -> Self {
        let mut all = Self { factors: Vec::new(), sums: Vec::new() };
        for stretch in stretches {
            all.factors.resize(stretch.width, 1.0);
            all.sums.resize(stretch.width, 0.0);
            let parts = all.factors.iter_mut().zip(&mut all.sums);
            let within = parts.skip(stretch.range.start).take(stretch.range.len());
            for (place, (factor, sum)) in within.enumerate() {
                *factor *= stretch.factor;
                *sum = *sum * stretch.factor + stretch.sums.get(place).copied().unwrap_or(0.0);
            }
        }
        all
    }

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
            changes.sites.push((site, stretch(site, edit, spec)?));
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
fn stretch(site: Site, edit: &Edit, spec: &Spec) -> Result<Stretch, String> {
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
    let times = |values: &Values, factor: f64| match values {
        Values::One(vector) => {
            let values = vector.flatten_all().and_then(|vector| vector.to_vec1::<f32>());
            let values = values.map_err(|error| error.to_string())?;
            let part = values.get(range.clone()).unwrap_or_default();
            Ok(part.iter().map(|&value| factor * f64::from(value)).collect())
        }
        Values::Rows(..) => Err("it puts in another row at each position".to_owned()),
    };
    let (factor, sums) = match &edit.op {
        Op::Zero => (1.0 - strength, Vec::new()),
        Op::Scale(factor) => (1.0 + strength * (f64::from(*factor) - 1.0), Vec::new()),
        Op::Put(values) => (1.0 - strength, times(values, strength)?),
        Op::Add { values, scale, keep_norm: false } => (1.0, times(values, strength * f64::from(*scale))?),
        Op::Add { keep_norm: true, .. } => return Err("it keeps the norm of what it is added to".into()),
        Op::Threshold(_) => return Err("a threshold looks at the values of the run".into()),
        Op::Noise { .. } => return Err("noise is another at each position".into()),
    };
    if !sums.iter().chain([&factor]).all(|value| value.is_finite()) {
        return Err("its values are no finite numbers".into());
    }
    Ok(Stretch { width, range, factor, sums })
}

fn everywhere(rows: &Rows) -> Result<(), String> {
    match rows {
        Rows::Positions(Positions::All, _) => Ok(()),
        _ => Err("it acts at some positions, weights act at all of them".into()),
    }
}
