//! What the panels let a person choose.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_core::method::view::Side;
use sluice_core::worker::Answer;

/// What colours the token strip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// What is chosen: what several panels share, and each panel's own.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Choices {
    /// Layer of the activation and attention panels.
    pub layer: usize,
    /// Which run is shown.
    pub side: Side,
    /// Layer and index of the neuron in the inspector.
    pub neuron: Option<(usize, usize)>,
    /// Prompt position in the inspector.
    pub position: Option<usize>,
    /// What colours the token strip.
    pub colour: ChipColour,
    /// The token that methods follow and the next-token table lists.
    pub answer: Answer,
    /// Whether parts of a picture have a chip each; none = where they are few.
    pub unfold: Option<bool>,
    /// By panel, as JSON: a panel declares its own beside it.
    panels: BTreeMap<String, Value>,
}

/// What is chosen in one panel.
pub trait PanelChoice: Serialize + DeserializeOwned + Default {
    /// The panel's id.
    const PANEL: &'static str;
}

impl Choices {
    /// What is chosen in a panel; as at first where nothing was.
    pub fn of<T: PanelChoice>(&self) -> T {
        self.panels.get(T::PANEL).and_then(|own| T::deserialize(own).ok()).unwrap_or_default()
    }

    /// Choose in a panel.
    pub fn set<T: PanelChoice>(&mut self, choice: T) {
        // A choice is made of names and numbers: JSON holds it.
        if let Ok(choice) = serde_json::to_value(choice) {
            self.panels.insert(T::PANEL.to_owned(), choice);
        }
    }
}
