//! `sluice study oracle`

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use sluice_core::engine::{Engine, never};
use sluice_core::model::Input as Tokens;
use sluice_core::plan::{Lane, Plan};
use sluice_core::study::{BeamRun, GreedyRun, every_route};
use sluice_core::{Error, Result};

use super::super::{Input, Ready, out};
use super::{every_five_seconds, write};

#[derive(Args)]
pub struct Oracle {
    #[command(flatten)]
    input: Input,
    /// What the FFN of a layer can be; left out = big or small, or with experts big or skipped
    #[arg(long, value_enum)]
    lanes: Option<Lanes>,
    /// How the routes are gone through
    #[arg(long, value_enum, default_value = "every")]
    search: Search,
    /// Only routes with so many big layers, of the greedy search
    #[arg(long)]
    big: Option<usize>,
    /// Routes that a beam keeps from round to round
    #[arg(long, default_value_t = 8)]
    beam: usize,
    /// Routes that a beam runs at most
    #[arg(long, default_value_t = 4096)]
    most: usize,
    /// Folder for findings.json
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Search {
    /// Every route; the whole sequence takes the scored one
    Every,
    /// Token after token takes its best route and keeps it
    Greedy,
    /// Change good routes in one layer at a time: for models too deep to try every route
    Beam,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Lanes {
    /// Big or small: 2^L routes
    Small,
    /// Big or skipped: 2^L
    Skip,
    /// Big, small or skipped: 3^L
    Both,
}

impl Lanes {
    /// What was asked for, or what the checkpoint has.
    pub fn or_default(asked: Option<Self>, engine: &Engine) -> &'static [Lane] {
        let default = if engine.model.spec.has_experts() { Self::Skip } else { Self::Small };
        asked.unwrap_or(default).lanes()
    }

    /// The big one last.
    fn lanes(self) -> &'static [Lane] {
        match self {
            Self::Small => &[Lane::Small, Lane::Big],
            Self::Skip => &[Lane::SkipFfn, Lane::Big],
            Self::Both => &[Lane::SkipFfn, Lane::Small, Lane::Big],
        }
    }
}

impl Oracle {
    pub fn run(&self) -> Result<()> {
        let Ready { mut engine, tokens, plan } = self.input.open()?;
        let lanes = Lanes::or_default(self.lanes, &engine);
        if self.big.is_some() && self.search != Search::Greedy {
            return Err(Error::Study(
                "--big goes with --search greedy; the others list every budget or none".into(),
            ));
        }
        match self.search {
            Search::Every => {}
            Search::Greedy => return self.greedy(&mut engine, &plan, &tokens, lanes),
            Search::Beam => return self.beam(&mut engine, &plan, &tokens, lanes),
        }
        let (mut say, begin) = (every_five_seconds(), Instant::now());
        let mut progress = |[done, all]: [usize; 2]| {
            let left = begin.elapsed().as_secs_f64() / done.max(1) as f64 * (all - done.min(all)) as f64;
            say(&format!("{done} of {all} routes, {left:.0} s to go"));
        };
        let found = every_route(&mut engine, &plan, &tokens, lanes, &mut progress, &never)?;
        if let Some(small) = &found.small {
            out(&format!("small: {small}\n"));
        }
        out("big layers   oracle   fixed    mean     wrong-label oracle\n");
        for budget in &found.by_budget {
            out(&format!(
                "{:>10}   {:.4}   {:.4}   {:.4}   {:.4}   best fixed {}\n",
                budget.big,
                budget.oracle.mean,
                budget.fixed,
                budget.mean,
                budget.wrong_label[0],
                budget.fixed_pattern
            ));
        }
        for router in &found.routers {
            out(&format!("router {:<24} {:.2} big layers   {:.4}\n", router.name, router.big, router.loss));
        }
        out(&format!(
            "all big {:.4}, oracle over all {} routes {:.4} nats per token ({})\n{:.3} s, 1/{:.1} of the layer FLOPs of \
             full passes\n",
            found.all_big.mean,
            found.patterns,
            found.oracle.mean,
            found.reading,
            found.seconds,
            found.flops_layers_full as f64 / found.flops_layers as f64,
        ));
        write(&self.out, &found)
    }

    fn greedy(&self, engine: &mut Engine, plan: &Plan, tokens: &Tokens, lanes: &[Lane]) -> Result<()> {
        let mut run = GreedyRun::new(engine, plan, tokens, lanes, self.big, &never)?;
        let mut say = every_five_seconds();
        while !run.is_done() {
            run.step(engine)?;
            let (done, all) = run.progress();
            say(&format!("{done} of {all} tokens"));
        }
        let found = run.findings();
        out(&format!(
            "{:.4} nats per token, {:.2} big layers each ({})\n",
            found.loss, found.big, found.reading
        ));
        write(&self.out, &found)
    }

    fn beam(&self, engine: &mut Engine, plan: &Plan, tokens: &Tokens, lanes: &[Lane]) -> Result<()> {
        let mut run = BeamRun::new(engine, plan, tokens, lanes, (self.beam, self.most), &never)?;
        let mut say = every_five_seconds();
        while !run.is_done() {
            run.step(engine, &never)?;
            let (done, all) = run.progress();
            say(&format!("{done} routes of at most {all}"));
        }
        let found = run.findings();
        out(&format!(
            "{:.4} nats per token over {} routes that were tried: an upper bound of the oracle's loss\n",
            found.oracle, found.tried
        ));
        write(&self.out, &found)
    }
}
