//! Views of what a plan changes, against the two runs' own.

use sluice_core::engine::never;
use sluice_core::figure::{Figure, Plot, Provenance, Scale};
use sluice_core::method::view::{ActivationsAsk, AttentionAsk, LensAsk, Runs, Side, ViewKind};
use sluice_core::model::Input;
use sluice_core::plan::{Change, Item, Part, Plan, Positions, Skip, Sublayer};

use crate::iri::random;

fn map(figure: &Figure) -> (Vec<f32>, Vec<String>, Scale) {
    let Plot::Map(map) = &figure.plot else { panic!("not a map") };
    let texts = map.text.as_ref().map_or_else(Vec::new, |texts| texts.to_vec());
    (map.values.to_vec(), texts, map.scale.clone())
}

#[test]
fn a_change_is_the_plan_less_the_model() {
    let mut engine = random("llama", "num_hidden_layers");
    let sublayer = Sublayer { layer: 1, part: Part::Ffn };
    let skip = Change::Skip(Skip { sublayer, positions: Positions::All });
    let plan = Plan { items: vec![Item::from(skip)], ..Plan::default() };
    let tokens: Input = vec![3, 14, 15, 92, 65, 35].into();
    let base = engine.base(&tokens, &never).unwrap();
    let runs = Runs::under(&mut engine, base, plan, Provenance::default(), &never).unwrap();
    let mut of = |side: Side| {
        let attention = AttentionAsk { layer: 3, head: Some(1), side, root: false };
        let attention = attention.compute(&mut engine, &runs, &never).unwrap().figure;
        let neurons = ActivationsAsk { layer: 3, side, sort: false, top: None, ..ActivationsAsk::default() };
        let neurons = neurons.compute(&mut engine, &runs, &never).unwrap().figure;
        let lens = LensAsk { side }.compute(&mut engine, &runs, &never).unwrap();
        ([map(&attention), map(&neurons)], map(&lens.figure), lens.top)
    };
    let (plan, base, change) = (of(Side::Plan), of(Side::Base), of(Side::Change));
    for ((plan, base), change) in plan.0.iter().zip(&base.0).zip(&change.0) {
        let want: Vec<f32> = plan.0.iter().zip(&base.0).map(|(plan, base)| plan - base).collect();
        assert_eq!(want, change.0);
        assert!(want.iter().any(|x| *x != 0.0) && matches!(change.2, Scale::Diverging { .. }));
    }
    // Where both have one token on top, its probabilities differ by the change; else the model's falls.
    let tops = plan.2.iter().flatten().zip(base.2.iter().flatten());
    let mut kept = 0;
    for (cell, (now, was)) in tops.enumerate() {
        let (got, text) = (change.1.0[cell], &change.1.1[cell]);
        if now == was {
            assert_eq!(got, plan.1.0[cell] - base.1.0[cell]);
            assert_eq!(*text, plan.1.1[cell]);
            kept += 1;
        } else {
            assert!(got < plan.1.0[cell] - base.1.0[cell], "less likely than the token that is on top now");
            assert_eq!(*text, format!("{}→{}", base.1.1[cell], plan.1.1[cell]));
        }
    }
    assert!(kept > 5 && change.1.0[..6].iter().all(|x| *x == 0.0), "nothing before layer 1 changes");
}

#[test]
fn without_a_plan_nothing_changes() {
    let mut engine = random("gpt2", "n_layer");
    let tokens: Input = vec![3, 14, 15, 92, 65, 35].into();
    let base = engine.base(&tokens, &never).unwrap();
    let runs = Runs::under(&mut engine, base, Plan::default(), Provenance::default(), &never).unwrap();
    let lens = LensAsk { side: Side::Change }.compute(&mut engine, &runs, &never).unwrap();
    assert!(map(&lens.figure).0.iter().all(|x| *x == 0.0));
}
