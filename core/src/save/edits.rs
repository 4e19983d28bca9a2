//! What becomes of single tensors: factors, sums and choices along their axes, in the order of the pass.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;

use super::seat::{Weights, given_by_experts, seat};
use crate::error::Result;
use crate::model::layout::{Layout, Role, Slot, WeightPart};
use crate::plan::Affine;
use crate::site::Site;
use crate::spec::Spec;

/// What happens to a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Edit {
    /// Values are multiplied by the factor of their place along an axis; of a stack, those of one matrix or of all.
    Times { axis: usize, factors: Arc<[f64]>, of: Option<usize> },
    /// The number of their place along an axis is added.
    Plus { axis: usize, sums: Arc<[f64]> },
}

/// What happens to every tensor that changes.
#[derive(Default)]
pub(super) struct Edits {
    by_slot: BTreeMap<Slot, Vec<Edit>>,
}

/// Why a change has no place in the weights.
pub(super) enum Misfit {
    /// It never has.
    Never(&'static str),
    /// A bias would be its place, and the weights of this role have none here.
    NoBias(Role),
}

/// Reads a weight of the checkpoint, in the shape of its file.
pub(super) type Read<'a> = &'a mut dyn FnMut(Slot) -> Result<Tensor>;

impl Edits {
    /// What happens to a tensor, first things first.
    pub(super) fn of(&self, slot: Slot) -> &[Edit] {
        self.by_slot.get(&slot).map(Vec::as_slice).unwrap_or_default()
    }

    fn push(&mut self, slot: Slot, edit: Edit) {
        self.by_slot.entry(slot).or_default().push(edit);
    }

    /// A change of a site, behind all that were taken before.
    ///
    /// # Errors
    /// Where a weight cannot be read; inside, why it does not fit.
    pub(super) fn take(
        &mut self,
        site: Site,
        change: &Affine,
        (spec, layout): (&Spec, &Layout),
        read: Read<'_>,
    ) -> Result<std::result::Result<(), Misfit>> {
        let (multiplies, adds) = (change.multiplies(), change.adds());
        let seat = match seat(site, spec, layout) {
            Ok(seat) => seat,
            Err(reason) => return Ok(Err(Misfit::Never(reason))),
        };
        if let (Some(reason), true) = (seat.no_factor, multiplies) {
            return Ok(Err(Misfit::Never(reason)));
        }
        let slot = |role: Role, part: WeightPart| Slot { layer: seat.layer, role, part };
        let outputs = usize::from(layout.transposed);
        match seat.weights {
            Weights::Outputs { role, bias: false, .. } | Weights::Inputs { role, bias: false, .. }
                if adds =>
            {
                return Ok(Err(Misfit::NoBias(role)));
            }
            Weights::Outputs { role, rows, of, bias } => {
                let spread = |values: &[f64], rest: f64| {
                    let mut spread = vec![rest; of];
                    for (&row, &value) in rows.iter().zip(values) {
                        if let Some(place) = spread.get_mut(row) {
                            *place = value;
                        }
                    }
                    spread
                };
                let factors: Arc<[f64]> = spread(&change.factors, 1.0).into();
                let sums = spread(&change.sums, 0.0).into();
                if multiplies {
                    let factors = Arc::clone(&factors);
                    self.push(
                        slot(role, WeightPart::Weight),
                        Edit::Times { axis: outputs, factors, of: None },
                    );
                }
                if bias {
                    self.shift(slot(role, WeightPart::Bias), (multiplies, factors), (adds, sums));
                }
            }
            Weights::Inputs { role, outputs: width, .. } => {
                let weight = slot(role, WeightPart::Weight);
                if adds {
                    let sums = times(&read(weight)?, &change.sums, width, layout.transposed)?.into();
                    self.push(slot(role, WeightPart::Bias), Edit::Plus { axis: 0, sums });
                }
                if multiplies {
                    let factors = change.factors.as_slice().into();
                    self.push(weight, Edit::Times { axis: 1 - outputs, factors, of: None });
                }
            }
            Weights::Normed { norm, .. } if !norm.weight && multiplies => {
                return Ok(Err(Misfit::Never("its norm has no weight")));
            }
            Weights::Normed { norm, .. } | Weights::Normalised { norm, .. } if !norm.bias && adds => {
                return Ok(Err(Misfit::Never("its norm has no bias")));
            }
            Weights::Normed { role, norm } => {
                if multiplies {
                    self.scale_norm(slot(role, WeightPart::Weight), norm.offset_one, &change.factors);
                }
                if norm.bias {
                    let (factors, sums) = (change.factors.as_slice().into(), change.sums.as_slice().into());
                    self.shift(slot(role, WeightPart::Bias), (multiplies, factors), (adds, sums));
                }
            }
            Weights::Normalised { norm, .. } if !norm.weight => {
                return Ok(Err(Misfit::Never("its norm has no weight")));
            }
            Weights::Normalised { role, norm } => {
                let weight = slot(role, WeightPart::Weight);
                if adds {
                    let offset = f64::from(u8::from(norm.offset_one));
                    let weights: Vec<f32> = read(weight)?.to_vec1()?;
                    let sums = weights.iter().zip(&change.sums);
                    let sums = sums.map(|(&weight, sum)| (f64::from(weight) + offset) * sum).collect();
                    self.push(slot(role, WeightPart::Bias), Edit::Plus { axis: 0, sums });
                }
                if multiplies {
                    self.scale_norm(weight, norm.offset_one, &change.factors);
                }
            }
            Weights::Table { role, scale } => {
                let table = slot(role, WeightPart::Weight);
                let factors = change.factors.as_slice().into();
                let sums = change.sums.iter().map(|sum| sum / scale).collect();
                if multiplies {
                    self.push(table, Edit::Times { axis: 1, factors, of: None });
                }
                if adds {
                    self.push(table, Edit::Plus { axis: 1, sums });
                }
            }
            Weights::AllExperts { .. } | Weights::EachExpert if adds => {
                return Ok(Err(Misfit::Never("shares of experts have no sum of their own")));
            }
            Weights::AllExperts { shared } => {
                // One for all of them: there may be thousands.
                let factors: Arc<[f64]> = change.factors.as_slice().into();
                for (place, axis) in places(spec, layout, seat.layer) {
                    self.push(place, Edit::Times { axis, factors: Arc::clone(&factors), of: None });
                }
                if shared {
                    let down = slot(Role::SharedDown, WeightPart::Weight);
                    self.push(down, Edit::Times { axis: outputs, factors: Arc::clone(&factors), of: None });
                }
            }
            Weights::EachExpert => {
                for (expert, &factor) in
                    change.factors.iter().enumerate().filter(|(_, factor)| **factor != 1.0)
                {
                    for (place, axis) in places(spec, layout, seat.layer) {
                        let of = match place.role {
                            Role::ExpertDown(own) if own != expert => continue,
                            Role::ExpertDown(_) => None,
                            _ => Some(expert),
                        };
                        let factors = vec![factor; spec.d_model].into();
                        self.push(place, Edit::Times { axis, factors, of });
                    }
                }
            }
        }
        Ok(Ok(()))
    }

    /// A bias that is multiplied, then added to.
    fn shift(
        &mut self,
        bias: Slot,
        (multiplies, factors): (bool, Arc<[f64]>),
        (adds, sums): (bool, Arc<[f64]>),
    ) {
        if multiplies {
            self.push(bias, Edit::Times { axis: 0, factors, of: None });
        }
        if adds {
            self.push(bias, Edit::Plus { axis: 0, sums });
        }
    }

    /// The weight of a norm, multiplied; one that is stored as an offset from 1 is `factor * (1 + stored) - 1`.
    fn scale_norm(&mut self, weight: Slot, offset_one: bool, factors: &[f64]) {
        self.push(weight, Edit::Times { axis: 0, factors: factors.into(), of: None });
        if offset_one {
            let sums = factors.iter().map(|factor| factor - 1.0).collect();
            self.push(weight, Edit::Plus { axis: 0, sums });
        }
    }
}

/// The tensors that what experts give comes out of, weights and biases, each with the axis of its outputs.
fn places(spec: &Spec, layout: &Layout, layer: Option<usize>) -> Vec<(Slot, usize)> {
    let block = layer.and_then(|layer| spec.layers.get(layer));
    let count = block.and_then(|block| block.experts).map_or(0, |experts| experts.count);
    let bias = block.is_some_and(|block| block.ffn.out_bias);
    let given = given_by_experts(layout, count, bias).into_iter();
    given.map(|(role, part, axis)| (Slot { layer, role, part }, axis)).collect()
}

/// A weight times a vector of its inputs, `width` outputs.
fn times(weight: &Tensor, vector: &[f64], width: usize, transposed: bool) -> Result<Vec<f64>> {
    let rows: Vec<Vec<f32>> = weight.to_vec2()?;
    let mut outputs = vec![0.0; width];
    let inputs =
        |row: &[f32]| -> f64 { row.iter().zip(vector).map(|(&weight, x)| f64::from(weight) * x).sum() };
    if !transposed {
        outputs.iter_mut().zip(&rows).for_each(|(output, row)| *output = inputs(row));
        return Ok(outputs);
    }
    for (row, x) in rows.iter().zip(vector) {
        outputs.iter_mut().zip(row).for_each(|(output, &weight)| *output += f64::from(weight) * x);
    }
    Ok(outputs)
}

/// The values of a tensor `[shape]` after its edits, rounded once.
pub(super) fn edited(mut values: Vec<f32>, shape: &[usize], edits: &[Edit]) -> Vec<f32> {
    let matrix: usize = shape.iter().skip(1).product::<usize>().max(1);
    // Of each edit's axis: values of a step along it, and steps.
    let along = |edit: &Edit| {
        let (Edit::Times { axis, .. } | Edit::Plus { axis, .. }) = *edit;
        (shape.iter().skip(axis + 1).product::<usize>().max(1), shape.get(axis).copied().unwrap_or(1).max(1))
    };
    let along: Vec<(usize, usize)> = edits.iter().map(along).collect();
    if edits.is_empty() {
        return values;
    }
    for (at, value) in values.iter_mut().enumerate() {
        let after = |x: f64, (edit, (inner, side)): (&Edit, &(usize, usize))| {
            let place = at / inner % side;
            match edit {
                Edit::Times { of: Some(of), .. } if at / matrix != *of => x,
                Edit::Times { factors, .. } => match factors.get(place).copied().unwrap_or(1.0) {
                    // Whatever it was.
                    0.0 => 0.0,
                    factor => x * factor,
                },
                Edit::Plus { sums, .. } => x + sums.get(place).copied().unwrap_or(0.0),
            }
        };
        *value = edits.iter().zip(&along).fold(f64::from(*value), after) as f32;
    }
    values
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn values_are_edited_along_their_axis() {
        let values = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let times = |axis, factors: &[f64], of| Edit::Times { axis, factors: factors.into(), of };
        let shape = [2, 3];
        assert_eq!(
            edited(values.clone(), &shape, &[times(0, &[1.0, 2.0], None)]),
            [1., 2., 3., 8., 10., 12.]
        );
        assert_eq!(
            edited(values.clone(), &shape, &[times(1, &[1.0, 0.0, 3.0], None)]),
            [1., 0., 9., 4., 0., 18.]
        );
        let plus = Edit::Plus { axis: 1, sums: [1.0, 0.0, -1.0].into() };
        assert_eq!(
            edited(values.clone(), &shape, &[times(0, &[0.0, 1.0], None), plus]),
            [1., 0., -1., 5., 5., 5.]
        );
        // Of a stack of two matrices [1, 3] the second.
        let stack = [2, 1, 3];
        assert_eq!(edited(values, &stack, &[times(2, &[0.0; 3], Some(1))]), [1., 2., 3., 0., 0., 0.]);
        assert_eq!(edited(vec![f32::NAN, -1.0], &[2], &[times(0, &[0.0, 0.0], None)]), [0.0, 0.0]);
    }

    #[test]
    fn a_weight_times_a_vector_in_both_orders() {
        let weight = Tensor::new(&[[1f32, 2.0, 3.0], [4.0, 5.0, 6.0]], &Device::Cpu).unwrap();
        assert_eq!(times(&weight, &[1.0, 0.0, 2.0], 2, false).unwrap(), [7.0, 16.0]);
        assert_eq!(times(&weight, &[1.0, 2.0], 3, true).unwrap(), [9.0, 12.0, 15.0]);
    }
}
