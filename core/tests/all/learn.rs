//! An open model some of whose matrices can be trained.

use std::sync::Arc;

use candle_core::{Tensor, Var};
use sluice_core::engine::{Engine, never};
use sluice_core::learn::{Fit, Rate, Trainable};
use sluice_core::model::weights::Matrix;
use sluice_core::model::{Ask, Logits, Model, Schedule, fused};

use crate::support::{golden, open};

const TOKENS: [u32; 9] = [1, 7, 11, 12, 5, 3, 9, 2, 4];

/// Mean surprisal of the tokens but the first, nats.
fn loss(model: &Arc<Model>) -> Tensor {
    let engine = Engine::new(Arc::clone(model), None);
    let ask = Ask { logits: Logits::All, ..Ask::default() };
    let input = TOKENS.as_slice().into();
    let logits = engine.pass(&input, &Schedule::none(), ask, &never).unwrap().0.logits.unwrap();
    let logits = logits.narrow(0, 0, TOKENS.len() - 1).unwrap();
    fused::surprisal(&logits, &TOKENS[1..]).unwrap().mean_all().unwrap()
}

fn value(model: &Arc<Model>) -> f64 {
    f64::from(loss(model).to_scalar::<f32>().unwrap())
}

fn norm(x: &Tensor) -> f64 {
    f64::from(x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()).sqrt()
}

fn shift(var: &Var, by: &Tensor, scale: f64) {
    var.set(&(var.as_tensor() + (by * scale).unwrap()).unwrap()).unwrap();
}

#[test]
fn gradients_of_attention_and_ffn_are_central_differences() {
    for (family, names) in [
        ("llama", ["blocks.0.attn.W_Q", "blocks.0.attn.W_V", "blocks.1.mlp.W_gate", "blocks.0.mlp.W_out"]),
        ("gpt2", ["blocks.0.attn.W_K", "blocks.1.attn.W_O", "blocks.0.mlp.W_in", "blocks.1.mlp.W_out"]),
        (
            "mixtral",
            ["blocks.0.attn.W_Q", "blocks.1.attn.W_K", "blocks.0.mlp.experts.0.W_in", "blocks.1.attn.W_O"],
        ),
    ] {
        let base = open(&golden().join(family)).model;
        let trainable = Trainable::new(&base, &names).unwrap();
        let plain = value(&base);
        assert!((value(&trainable.model) - plain).abs() < 1e-5 * plain.abs(), "{family}");
        let grads = loss(&trainable.model).backward().unwrap();
        for name in names {
            let var = &trainable.vars[name];
            let grad = grads.get(var.as_tensor()).unwrap_or_else(|| panic!("{family} {name}"));
            // Along the gradient the loss rises by the gradient's norm.
            let slope = norm(grad);
            assert!(slope > 0.0, "{family} {name}");
            // Small beside the curvature, large beside the last bits of the loss.
            let (along, step) = ((grad / slope).unwrap(), 2e-3 / slope);
            let before = var.as_tensor().copy().unwrap();
            shift(var, &along, step);
            let up = value(&trainable.model);
            shift(var, &along, -2.0 * step);
            let down = value(&trainable.model);
            var.set(&before).unwrap();
            let difference = (up - down) / (2.0 * step);
            assert!(
                (difference - slope).abs() < 5e-3 * slope,
                "{family} {name}: {difference} against {slope}"
            );
        }
    }
}

#[test]
fn a_fit_lowers_the_loss_and_leaves_the_open_model_alone() {
    let base = open(&golden().join("llama")).model;
    let names = ["blocks.0.mlp.W_in", "blocks.1.attn.W_V"];
    let trainable = Trainable::new(&base, &names).unwrap();
    let before = value(&base);
    let rate = Rate { top: 1e-2, warm_up: 2, steps: 8, floor: 0.0 };
    let mut fit = Fit::new(trainable.vars.clone(), 0.0, rate, 1.0);
    while !fit.is_done() {
        fit.update(&loss(&trainable.model)).unwrap();
    }
    let after = value(&trainable.model);
    assert!(after < before, "{after} against {before}");
    assert_eq!(value(&base), before);
    let packed = Arc::new(trainable.packed().unwrap());
    assert!((value(&packed) - after).abs() < 1e-5 * after.abs());
    // What is not trained is one matrix, not two.
    let (Matrix::Packed(one), Matrix::Packed(other)) =
        (&base.weights.layers[0].query.matrix, &trainable.model.weights.layers[0].query.matrix)
    else {
        panic!("matrices of an open model are packed")
    };
    assert!(Arc::ptr_eq(one, other));
}

#[test]
fn names_that_a_model_lacks_are_refused() {
    let dense = open(&golden().join("gpt2")).model;
    for name in ["blocks.9.attn.W_Q", "blocks.0.mlp.W_gate", "blocks.0.mlp.experts.0.W_in", "W_U", ""] {
        let error = Trainable::new(&dense, &[name]).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains(name)), "{name}");
    }
}
