//! What the panels let a person choose.

use std::path::PathBuf;

use sluice_core::plan::{Iri, Lane};
use sluice_core::site::Hook;
use sluice_core::worker::*;

use super::Marks;

/// What colours the token strip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChipColour {
    /// Nothing.
    #[default]
    Plain,
    /// -ln p(token) in the unmodified model.
    Surprisal,
    /// -ln p(token) under the plan: the loss, live.
    Loss,
    /// KL(base || plan) after the token.
    Kl,
    /// Difficulty (Duo-LLM, 3.2.2): its loss with every FFN in the oracle's cheapest lane.
    Difficulty,
    /// Relative difficulty: what the oracle saves of that.
    Gap,
}

impl ChipColour {
    /// In the order shown.
    pub const ALL: [Self; 6] =
        [Self::Plain, Self::Surprisal, Self::Loss, Self::Kl, Self::Difficulty, Self::Gap];

    /// In the list.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "none",
            Self::Surprisal => "surprisal",
            Self::Loss => "loss, plan",
            Self::Kl => "KL",
            Self::Difficulty => "cheapest lane",
            Self::Gap => "oracle saves",
        }
    }
}

/// Settings of the inject control.
#[derive(Clone, Debug, PartialEq)]
pub struct Injection {
    /// Where the vector is added.
    pub to_layer: usize,
    /// Site of the target: `ResidPost`, `AttnOut` or `MlpOut`.
    pub to_hook: Hook,
    /// Target position; none = the last and every later one.
    pub to_position: Option<usize>,
    /// Where the vector is taken from.
    pub from_layer: usize,
    /// Site of the source.
    pub from_hook: Hook,
    /// Source position; none = the source's last.
    pub from_position: Option<usize>,
    /// Another prompt that the vector is taken from; empty = this one.
    pub from_prompt: String,
    /// Factor.
    pub scale: f32,
    /// Rescale the sum to the norm it had.
    pub keep_norm: bool,
}

impl Default for Injection {
    fn default() -> Self {
        Self {
            to_layer: 0,
            to_hook: Hook::ResidPost,
            to_position: None,
            from_layer: 0,
            from_hook: Hook::ResidPost,
            from_position: None,
            from_prompt: String::new(),
            scale: 1.0,
            keep_norm: false,
        }
    }
}

/// What the routing panel lets a person choose about the oracle.
#[derive(Clone, Copy, Debug, Default)]
pub struct OracleChoice {
    /// The cheaper lanes beside the big one.
    pub cheap: Cheap,
    /// Only routes with so many big layers.
    pub budget: Option<usize>,
    /// How the routes are gone through.
    pub search: Search,
    /// Which of its figures is shown; none = the plan's map.
    pub shown: Option<usize>,
}

/// What the expert panel lets a person choose.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExpertChoice {
    /// The block.
    pub layer: usize,
    /// What is shown of it.
    pub show: ExpertShow,
    /// What a click does.
    pub change: ExpertChange,
    /// For every token, else for the one that is clicked.
    pub everywhere: bool,
}

/// What a click on an expert does; a second click takes it back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpertChange {
    /// It cannot be chosen.
    #[default]
    KnockOut,
    /// It is always chosen.
    Force,
}

impl ExpertChange {
    /// In the order shown.
    pub const ALL: [Self; 2] = [Self::KnockOut, Self::Force];

    /// Button text.
    pub fn name(self) -> &'static str {
        match self {
            Self::KnockOut => "knocks it out",
            Self::Force => "forces it",
        }
    }
}

/// What a touch of the brush paints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Brush {
    /// The cell.
    #[default]
    Cell,
    /// Its whole layer.
    Layer,
    /// Its whole token.
    Token,
}

impl Brush {
    /// In the order shown.
    pub const ALL: [Self; 3] = [Self::Cell, Self::Layer, Self::Token];

    /// Button text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cell => "cells",
            Self::Layer => "layers",
            Self::Token => "tokens",
        }
    }
}

/// What the routing panel lets a person choose about a router to be trained.
#[derive(Clone, Debug)]
pub struct RouterChoice {
    /// The controls are on screen.
    pub open: bool,
    /// Its curve is shown instead of a map.
    pub shown: bool,
    /// Shares of the big and the small FFNs in percent; the rest is skipped.
    pub percent: [u8; 2],
    /// Updates.
    pub steps: u64,
    /// Text file; none = the checkpoint's own text.
    pub text: Option<PathBuf>,
}

impl Default for RouterChoice {
    fn default() -> Self {
        Self { open: false, shown: false, percent: [50, 50], steps: 200, text: None }
    }
}

/// Cheaper lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cheap {
    /// The small FFN.
    #[default]
    Small,
    /// None.
    Skip,
    /// Either.
    Both,
}

impl Cheap {
    /// In the order shown.
    pub const ALL: [Self; 3] = [Self::Small, Self::Skip, Self::Both];

    /// Button text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "big or small",
            Self::Skip => "big or skip",
            Self::Both => "big, small or skip",
        }
    }

    /// The lanes, the big one last.
    pub fn lanes(self) -> Vec<Lane> {
        match self {
            Self::Small => vec![Lane::Small, Lane::Big],
            Self::Skip => vec![Lane::SkipFfn, Lane::Big],
            Self::Both => vec![Lane::SkipFfn, Lane::Small, Lane::Big],
        }
    }
}

/// What the panels let a person choose.
#[derive(Debug)]
pub struct Choices {
    /// Layer of the activation and attention panels.
    pub layer: usize,
    /// FFN site of the activation panel.
    pub hook: Hook,
    /// Attention head; none = mean.
    pub head: Option<usize>,
    /// Which run is shown.
    pub side: Side,
    /// Order neurons by magnitude.
    pub sort: bool,
    /// Neurons shown; none = all.
    pub rows: Option<usize>,
    /// Layer and index of the neuron in the inspector.
    pub neuron: Option<(usize, usize)>,
    /// Prompt position in the inspector.
    pub position: Option<usize>,
    /// Lane that the brush paints.
    pub lane: Lane,
    /// What a touch of the brush paints.
    pub brush: Brush,
    /// Percent of big cells of the random preset.
    pub chance: u8,
    /// What a router is trained for.
    pub router: RouterChoice,
    /// Big layers of the presets with a budget.
    pub big: usize,
    /// What the expert panel shows and does.
    pub experts: ExpertChoice,
    /// What the oracle is asked for, and what of its findings is shown.
    pub oracle: OracleChoice,
    /// What colours the token strip.
    pub colour: ChipColour,
    /// The token that trace and injection follow.
    pub answer: Answer,
    /// Whether parts of a picture have a chip each; none = where they are few.
    pub unfold: Option<bool>,
    /// Positions the trace corrupts.
    pub corrupt: Vec<usize>,
    /// What FCCT corrupts and takes for the object.
    pub marks: Marks,
    /// Settings of the next IRI item; its rates are of the newest grid.
    pub iri: Iri,
    /// Noise of trace and FCCT in standard deviations.
    pub sigma: f32,
    /// What the trace restores.
    pub component: Component,
    /// The inject control.
    pub injection: Injection,
    /// Sampling temperature.
    pub temperature: f32,
    /// Seed of the sampler.
    pub seed: u64,
    /// Length of continuations.
    pub max_new_tokens: usize,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            layer: 0,
            hook: Hook::MlpPost,
            head: None,
            side: Side::Plan,
            sort: true,
            rows: Some(64),
            neuron: None,
            position: None,
            lane: Lane::Small,
            brush: Brush::Cell,
            chance: 50,
            router: RouterChoice::default(),
            big: 4,
            experts: ExpertChoice::default(),
            oracle: OracleChoice::default(),
            colour: ChipColour::Plain,
            answer: Answer::Top,
            unfold: None,
            corrupt: Vec::new(),
            marks: Marks::default(),
            iri: Iri::new(Vec::new(), Vec::new()),
            sigma: 3.0,
            component: Component::Residual,
            injection: Injection::default(),
            temperature: 0.0,
            seed: 0,
            max_new_tokens: 48,
        }
    }
}
