//! Views: methods that are quick enough to follow every change of prompt and plan. A view is one file beside this one, a line
//! in the list of `list.rs` and one in [`METHODS`](super::METHODS): the window computes it on each toggle, the command line
//! runs it as any other method.

mod activations;
mod answer_pair;
mod attention;
mod experts;
mod figures;
mod kind;
mod ladder;
mod lens;
mod list;
mod neuron;
mod next;
mod routing;
mod run;
mod runs;
mod strip;

pub use activations::{ACTIVATIONS, Activations, ActivationsAsk, FfnSite};
pub use answer_pair::{ANSWER_PAIR, AnswerPair, AnswerPairAsk};
pub use attention::{ATTENTION, AttentionAsk, AttentionPattern};
pub use experts::{EXPERTS_VIEW, ExpertShow, ExpertsView, ExpertsViewAsk};
pub use kind::{Shown, ViewKind};
pub use ladder::{LadderAsk, SUBLAYERS, SublayerLadder};
pub use lens::{LENS, LensAsk, LogitLens};
pub use list::{VIEWS, View, ViewData};
pub use neuron::{NEURON, Neuron, NeuronAsk};
pub use next::{NEXT_TOKENS, NextAsk, NextRow, NextTokens};
pub use routing::{ROUTING_MAP, RoutingAsk, RoutingMap};
pub use run::ViewRun;
pub use runs::{Runs, Side};
pub use strip::{Strip, StripAsk, TOKENS};

pub(crate) use routing::lane_classes;
