//! AdamW (Loshchilov and Hutter 2019, algorithm 2) on named parameters, with a state that can be saved and read back.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use rayon::prelude::*;

use crate::error::{Error, Result};

const BETA: [f32; 2] = [0.9, 0.98];
const EPS: f32 = 1e-8;

/// A parameter with its moments.
struct Parameter {
    var: Var,
    mean: Vec<f32>,
    square: Vec<f32>,
    /// Matrices decay, norms do not.
    decays: bool,
}

/// The optimiser; parameters in the order of their names.
pub struct AdamW {
    parameters: BTreeMap<String, Parameter>,
    /// Updates done.
    pub step: u64,
    decay: f32,
}

impl AdamW {
    /// Fresh moments.
    pub fn new(vars: BTreeMap<String, Var>, decay: f32) -> Self {
        let parameter = |var: Var| {
            let len = var.elem_count();
            let decays = var.rank() > 1;
            Parameter { var, mean: vec![0.0; len], square: vec![0.0; len], decays }
        };
        let parameters = vars.into_iter().map(|(name, var)| (name, parameter(var))).collect();
        Self { parameters, step: 0, decay }
    }

    /// One update of the parameters whose names `trains`. Their gradients are the sums over `grads`, clipped to a norm of
    /// `clip`. Returns the norm before clipping. The bias correction counts every update, also of other parameters.
    pub fn update(
        &mut self,
        grads: &[GradStore],
        rate: f32,
        clip: f32,
        trains: impl Fn(&str) -> bool,
    ) -> Result<f32> {
        let mut flat = Vec::with_capacity(self.parameters.len());
        for (name, parameter) in self.parameters.iter().filter(|(name, _)| trains(name)) {
            let mut sum: Vec<f32> = Vec::new();
            for grad in grads.iter().filter_map(|grads| grads.get(parameter.var.as_tensor())) {
                let values: Vec<f32> = grad.flatten_all()?.to_vec1()?;
                if sum.is_empty() {
                    sum = values;
                } else {
                    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                }
            }
            if sum.is_empty() {
                return Err(Error::Internal(format!("no gradient of {name}")));
            }
            flat.push(sum);
        }
        let squares = flat.iter().flatten().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
        let norm = squares.sqrt() as f32;
        let factor = if norm > clip { clip / norm } else { 1.0 };
        self.step += 1;
        let power = |beta: f32| 1.0 - f64::from(beta).powi(self.step as i32);
        let [first, second] = BETA.map(|beta| power(beta) as f32);
        let decay = rate * self.decay;
        let trained = self.parameters.iter_mut().filter(|(name, _)| trains(name));
        for ((_, parameter), grad) in trained.zip(&flat) {
            let mut values: Vec<f32> = parameter.var.flatten_all()?.to_vec1()?;
            let shrink = if parameter.decays { 1.0 - decay } else { 1.0 };
            let moments = parameter.mean.par_iter_mut().zip(parameter.square.par_iter_mut());
            values.par_iter_mut().zip(grad).zip(moments).for_each(|((value, grad), (mean, square))| {
                let grad = grad * factor;
                *mean += (1.0 - BETA[0]) * (grad - *mean);
                *square += (1.0 - BETA[1]) * (grad * grad - *square);
                let step = (*mean / first) / ((*square / second).sqrt() + EPS);
                *value = *value * shrink - rate * step;
            });
            parameter.var.set(&Tensor::from_vec(values, parameter.var.shape(), &Device::Cpu)?)?;
        }
        Ok(norm)
    }

    /// Weights by name, of the parameters' shapes.
    pub fn weights(&self) -> BTreeMap<String, Tensor> {
        self.parameters.iter().map(|(name, p)| (name.clone(), p.var.as_tensor().clone())).collect()
    }

    /// Weights and moments by name, of the parameters' shapes, for [`AdamW::restore`].
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = BTreeMap::new();
        for (name, parameter) in &self.parameters {
            let shape = parameter.var.shape();
            let tensor = |values: &[f32]| Tensor::from_slice(values, shape, &Device::Cpu);
            state.insert(format!("weight.{name}"), parameter.var.as_tensor().clone());
            state.insert(format!("mean.{name}"), tensor(&parameter.mean)?);
            state.insert(format!("square.{name}"), tensor(&parameter.square)?);
        }
        Ok(state)
    }

    /// Take back a state; `read` gets a name and gives the tensor, of the parameter's shape.
    pub fn restore(&mut self, step: u64, mut read: impl FnMut(&str) -> Result<Tensor>) -> Result<()> {
        for (name, parameter) in &mut self.parameters {
            parameter.var.set(&read(&format!("weight.{name}"))?)?;
            parameter.mean = read(&format!("mean.{name}"))?.flatten_all()?.to_vec1()?;
            parameter.square = read(&format!("square.{name}"))?.flatten_all()?.to_vec1()?;
        }
        self.step = step;
        Ok(())
    }
}
