//! Ten thousand commands over two checkpoints, back to the start and forth to the end.

use std::collections::BTreeMap;

use sluice::command::Command;
use sluice_core::figure::csv;
use sluice_core::plan::edits::Preset;
use sluice_core::plan::{Lane, Part, Sublayer};
use sluice_core::rng;

use crate::support::{Window, bits, golden};

/// Commands, and points at which figures are compared.
const COMMANDS: u64 = 10_000;
const POINTS: u64 = 100;

struct Walk {
    window: Window,
    at: u64,
}

impl Walk {
    /// A number below `n`.
    fn draw(&mut self, n: usize) -> usize {
        self.at += 1;
        (rng::bits(17, 0, self.at) % n as u64) as usize
    }

    fn apply(&mut self, command: Command) {
        let ctx = self.window.harness.ctx.clone();
        self.window.harness.state_mut().as_mut().unwrap().apply(&ctx, command);
    }

    fn checkpoint(&self) -> String {
        self.window.state().card.as_ref().unwrap().name.clone()
    }

    /// One of what a person does.
    fn act(&mut self) {
        let layers = self.window.state().layers();
        let items = self.window.state().history.plan().items.len();
        let layer = self.draw(layers);
        match self.draw(100) {
            0 => {
                let other = if self.checkpoint() == "llama" {
                    Command::OpenBundled
                } else {
                    Command::Open(golden("llama"))
                };
                let before = self.checkpoint();
                self.apply(other);
                let changed = move |state: &sluice::state::State| {
                    state.card.as_ref().is_some_and(|card| card.name != before)
                };
                self.window.until("the other checkpoint", changed);
                self.window.settle();
            }
            1..=20 => self.apply(Command::Undo),
            21..=32 => self.apply(Command::Redo),
            33 => {
                let back = self.draw(30);
                let step = self.window.state().history.at().saturating_sub(back);
                self.apply(Command::Jump(step));
            }
            34..=54 => {
                let part = if self.draw(2) == 0 { Part::Attn } else { Part::Ffn };
                self.apply(Command::Toggle(Sublayer { layer, part }));
            }
            55..=74 => {
                let lane = Lane::ALL[self.draw(Lane::ALL.len())];
                let position = self.draw(4);
                self.apply(Command::Paint(layer, (position > 0).then_some(position), lane));
            }
            75..=78 => {
                let preset = [Preset::AllSmall, Preset::LateSmall, Preset::Coin][self.draw(3)];
                self.apply(Command::Fill(preset));
            }
            79 => self.apply(Command::Clear),
            80..=85 if items > 0 => {
                let index = self.draw(items);
                self.apply(Command::Remove(index));
            }
            86..=88 if items > 1 => {
                let (from, to) = (self.draw(items), self.draw(items));
                self.apply(Command::Move(from, to));
            }
            89..=96 => {
                let words = match self.window.state().ids_only() {
                    true => {
                        let ids: Vec<String> =
                            (0..4 + self.draw(5)).map(|_| self.draw(90).to_string()).collect();
                        ids.join(", ")
                    }
                    false => {
                        let names = ["Vosil", "Zavik", "Moren", "Taren", "Dunmere"];
                        format!("{} lives in {}.", names[self.draw(5)], names[self.draw(5)])
                    }
                };
                self.apply(Command::Write(words));
            }
            97 if !self.window.state().ids_only() => {
                let sample = self.draw(3);
                self.apply(Command::Sample(sample));
                self.window.settle();
            }
            98 => self.apply(Command::RemovePicture),
            _ => {}
        }
        // A gesture is a press of the pointer: without one each change is a step.
        self.window.harness.step();
    }

    /// What is on screen, bit for bit, once it is there.
    fn figures(&mut self) -> Vec<String> {
        self.window.settle();
        let state = self.window.state();
        let picture = state.image.as_ref().map(|shown| shown.picture.fingerprint());
        let mut all = vec![
            format!("{} {picture:?} {:?}", state.prompt, state.history.plan()),
            format!("{}", state.results.failure.is_some()),
        ];
        if state.results.failure.is_none() {
            all.push(format!("{:?}", bits(&self.window.next())));
            all.extend(sluice::panels::figures(state).iter().map(|figure| csv::to_csv(figure)));
        }
        all
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "ten thousand commands take minutes without optimisation")]
fn ten_thousand_commands_are_undone_and_done_again() {
    let mut walk = Walk { window: Window::bundled(), at: 0 };
    walk.apply(Command::Show("lens"));
    walk.window.settle();
    let mut points: BTreeMap<(String, usize), Vec<String>> = BTreeMap::new();
    for number in 0..COMMANDS {
        let (name, before) = (walk.checkpoint(), walk.window.state().history.at());
        walk.act();
        if walk.checkpoint() == name && walk.window.state().history.at() > before {
            // What was undone before may be another now; where it was only done again, it is looked at anew.
            points.retain(|(of, step), _| *of != name || *step <= before);
        }
        if number % (COMMANDS / (4 * POINTS)) == 0 {
            let key = (walk.checkpoint(), walk.window.state().history.at());
            let figures = walk.figures();
            points.insert(key, figures);
        }
    }
    // A hundred of those that are still steps, drawn evenly.
    let all = points.len();
    let mut number = 0;
    points.retain(|_, _| {
        number += 1;
        (number * POINTS as usize) / all > ((number - 1) * POINTS as usize) / all
    });
    let mut compared = 0;
    let mut lengths = Vec::new();
    for _ in 0..2 {
        let name = walk.checkpoint();
        let len = walk.window.state().history.all().len();
        lengths.push(len);
        while walk.window.state().history.at() + 1 < len {
            walk.apply(Command::Redo);
        }
        let end = walk.figures();
        let mut own: Vec<usize> =
            points.keys().filter(|(of, _)| *of == name).map(|(_, step)| *step).collect();
        own.reverse();
        for &step in &own {
            while walk.window.state().history.at() > step {
                walk.apply(Command::Undo);
            }
            assert_eq!(walk.figures(), points[&(name.clone(), step)], "{name}, back at step {step}");
            compared += 1;
        }
        while walk.window.state().history.at() > 0 {
            walk.apply(Command::Undo);
        }
        let start = walk.figures();
        own.reverse();
        for &step in &own {
            while walk.window.state().history.at() < step {
                walk.apply(Command::Redo);
            }
            assert_eq!(walk.figures(), points[&(name.clone(), step)], "{name}, again at step {step}");
            compared += 1;
        }
        while walk.window.state().history.at() + 1 < len {
            walk.apply(Command::Redo);
        }
        assert_eq!(walk.figures(), end, "{name}, at the end");
        walk.apply(Command::Jump(0));
        assert_eq!(walk.figures(), start, "{name}, at the start");
        let before = walk.checkpoint();
        walk.apply(if before == "llama" { Command::OpenBundled } else { Command::Open(golden("llama")) });
        walk.window.until("the other", |state| state.card.as_ref().is_some_and(|card| card.name != before));
        walk.window.settle();
    }
    println!("{compared} comparisons at {} points, histories of {lengths:?} steps", points.len());
    assert!(points.len() >= POINTS as usize - 5, "{}", points.len());
}
