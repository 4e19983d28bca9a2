//! The bundled checkpoint against transformers, which opens it as the all-big model (`tests/golden/bundled`, made by
//! `make_bundled.py`).

use candle_core::Tensor;
use sluice_core::checkpoint::{TensorFile, read_image};
use sluice_core::engine::{Opened, bundled, never, open};
use sluice_core::model::{Ask, Input, Logits, Schedule};

use crate::support::golden;

fn flat(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

fn worst(ours: &Tensor, theirs: &Tensor) -> f32 {
    assert_eq!(ours.elem_count(), theirs.elem_count());
    flat(ours).iter().zip(flat(theirs)).fold(0.0, |worst, (a, b)| worst.max((a - b).abs()))
}

#[test]
fn transformers_reads_it_as_the_all_big_model() {
    let Opened { engine, card } = open(&bundled().unwrap(), &mut |_, _| {}, &never).unwrap();
    assert_eq!(card.warnings, [""; 0]);
    assert!(card.bytes_file <= 12_000_000 && engine.model.spec.is_duo());
    let expected = TensorFile::open(&golden().join("bundled/expected.safetensors")).unwrap();
    let load = |name: &str| expected.load_f32(name).unwrap().0;
    let ids = |name: &str| flat(&load(name)).iter().map(|&id| id as u32).collect::<Vec<u32>>();
    let logits = |input: &Input| {
        let ask = Ask { logits: Logits::All, ..Ask::default() };
        engine.pass(input, &Schedule::none(), ask, &never).unwrap().0.logits.unwrap()
    };
    let story = ids("story.ids");
    assert_eq!(engine.encode("Once upon a time").unwrap(), story);
    let text = worst(&logits(&story.into()), &load("story.logits"));
    println!("text: logits within {text:.1e}");
    assert!(text < 1e-4, "{text:e}");
    let ids = ids("ids");
    let question: Vec<u32> = ids.iter().copied().filter(|&id| id != 1).collect();
    assert_eq!(engine.encode("Is there a red circle?").unwrap(), question);
    for (name, bound) in [("exact", 1e-4), ("large", f32::INFINITY)] {
        let picture = read_image(&golden().join(format!("bundled/{name}.png"))).unwrap();
        let rows = engine.look(&picture).unwrap();
        let seen = worst(&rows.rows, &load(&format!("{name}.rows")));
        let said =
            worst(&logits(&Input::with_image(ids.clone(), rows).unwrap()), &load(&format!("{name}.logits")));
        // A resized picture differs by its resampling; how far that carries is said, not bounded.
        println!("{name}: tower within {seen:.1e}, logits within {said:.1e}");
        assert!(seen < bound && said < bound, "{name}: {seen:e} {said:e}");
    }
}
