//! A search through pictures of the test split for those that the samples of the window show: questions that the bundled
//! checkpoint answers wrongly and that an injection (IRI) by rates that follow the right answer repairs, and traces that are not flat.
//!
//! `cargo test --release -p sluice-core --test all -- --ignored repairs --nocapture`

use sluice_core::engine::{Answer, Engine, Opened, bundled, never, open};
use sluice_core::figure::Plot;
use sluice_core::method::fcct::{FcctAsk, FcctFound, FcctRun};
use sluice_core::method::{self, Case, Picks};
use sluice_core::metric;
use sluice_core::model::Input;
use sluice_core::plan::{Change, Plan};
use sluice_core::world::paint::paint;
use sluice_core::world::scene::Exam;
use sluice_core::world::talk::is_there;
use sluice_core::world::{Split, World};

/// Pictures that are looked at.
const PICTURES: u64 = 3000;
/// Draws of noise, as the window has them.
const DRAWS: usize = 10;

fn input(engine: &Engine, exam: &Exam) -> Input {
    let rows = engine.look(&paint(&exam.scene).image).unwrap();
    engine.about(rows, &engine.encode(&is_there(exam.asked)).unwrap()).unwrap()
}

/// P of yes and of no after a prompt.
fn verdict(engine: &mut Engine, tokens: &Input, plan: &Plan) -> [f32; 2] {
    let base = engine.base(tokens, &never).unwrap();
    let schedule = engine.schedule(plan, tokens, &never).unwrap();
    let run = engine.run_after(&base, schedule, &never).unwrap();
    let logits = engine.row_logits(&run, tokens.len() - 1).unwrap();
    [" Yes", " No"].map(|word| metric::probability(&logits, *engine.encode(word).unwrap().last().unwrap()))
}

fn grid(engine: &mut Engine, tokens: &Input, answer: Answer) -> FcctFound {
    let mut case = Case::new(engine, tokens.clone());
    case.picks = Picks::new();
    let ask = FcctAsk { answer, seeds: DRAWS, ..FcctAsk::default() };
    let mut run = FcctRun::new(case, ask).unwrap();
    method::finish(&mut run, engine, &never).unwrap();
    run.findings()
}

/// The largest rate of each component's figure.
fn largest(found: &FcctFound) -> Vec<f32> {
    let most = |plot: &Plot| match plot {
        Plot::Map(map) => map.values.iter().copied().filter(|x| x.is_finite()).fold(f32::MIN, f32::max),
        _ => f32::NAN,
    };
    found.figures.iter().map(|figure| most(&figure.plot)).collect()
}

#[test]
#[ignore = "a search of minutes, which prints what it finds"]
fn pictures_that_an_injection_repairs() {
    let Opened { mut engine, .. } = open(&bundled().unwrap(), &mut |_, _| {}, &never).unwrap();
    let engine = &mut engine;
    let scenes = World::new(1).scenes;
    let (mut wrong, mut repaired) = (0, 0);
    for index in 0..PICTURES {
        let [missing, _] = scenes.broken(Split::Test, index);
        let tokens = input(engine, &missing);
        let [yes, no] = verdict(engine, &tokens, &Plan::default());
        if yes <= no {
            continue;
        }
        wrong += 1;
        let iri = grid(engine, &tokens, Answer::Text(" No".into())).iri();
        if iri.attn.recovery.iter().chain(&iri.ffn.recovery).any(|rate| !rate.is_finite()) {
            continue;
        }
        let plan = Plan { items: vec![Change::Iri(iri).into()], ..Plan::default() };
        let [after_yes, after_no] = verdict(engine, &tokens, &plan);
        if after_no > after_yes {
            repaired += 1;
            let question = is_there(missing.asked);
            println!(
                "{index} {question}: yes {yes:.4} no {no:.4}; injected: yes {after_yes:.4} no {after_no:.4}"
            );
        }
    }
    println!("{wrong} of {PICTURES} answered wrongly; {repaired} of them repaired");
    for index in 0..60 {
        let exam = scenes.present(Split::Test, index);
        let tokens = input(engine, &exam);
        let found = grid(engine, &tokens, Answer::Top);
        println!(
            "present {index} {}: clean {:.4} corrupted {:.4}, largest rates {:.3?}",
            is_there(exam.asked),
            found.clean.prob,
            found.corrupted.prob,
            largest(&found)
        );
    }
}
