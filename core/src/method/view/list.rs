//! The list of views, and what is asked of one whatever it shows.

use std::sync::Arc;

use super::activations::ActivationsAsk;
use super::answer_pair::AnswerPairAsk;
use super::attention::AttentionAsk;
use super::experts::ExpertsViewAsk;
use super::kind::{Shown, ViewKind};
use super::ladder::LadderAsk;
use super::lens::LensAsk;
use super::neuron::NeuronAsk;
use super::next::NextAsk;
use super::routing::RoutingAsk;
use super::runs::{Runs, Side};
use super::strip::StripAsk;
use crate::engine::{Cancelled, Engine};
use crate::error::Result;
use crate::figure::Figure;
use crate::method::{Ask, Method, read};

/// The views from their names and parameters: what a front end asks for, what it gets, and the questions that every view
/// answers.
macro_rules! views {
    ($($view:ident: $ask:ident),* $(,)?) => {
        /// A view with its parameters.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum View {
            $(#[doc = concat!("See [`", stringify!($ask), "`].")] $view($ask),)*
        }

        /// Data of a view.
        #[derive(Clone, Debug)]
        pub enum ViewData {
            $(#[doc = concat!("Of [`View::", stringify!($view), "`].")] $view(<$ask as ViewKind>::Data),)*
        }

        /// Every view as a method, in the order of this list.
        pub static VIEWS: &[&Method] = &[$($ask::METHOD),*];

        $(impl From<$ask> for View {
            fn from(ask: $ask) -> Self {
                Self::$view(ask)
            }
        })*

        impl View {
            /// The method that it is.
            pub fn method(&self) -> &'static Method {
                match self { $(Self::$view(_) => $ask::METHOD,)* }
            }

            /// Its parameters as JSON.
            pub fn ask(&self) -> String {
                match self { $(Self::$view(ask) => serde_json::to_string(ask).unwrap_or_default(),)* }
            }

            /// The view of a method with its parameters; none of a method that is no view, or of other parameters.
            pub fn of(method: &Method, ask: &Ask) -> Option<Self> {
                $(if method.id == $ask::METHOD.id {
                    return read::<$ask>(ask).ok().map(Self::$view);
                })*
                None
            }

            /// The same of the run under the plan, where it shows one run or the other.
            pub fn under_the_plan(&self) -> Self {
                let mut ask: Ask = serde_json::from_str(&self.ask()).unwrap_or_default();
                if let Some(side) = ask.get_mut("side") {
                    *side = serde_json::Value::from(Side::Plan.name());
                }
                Self::of(self.method(), &ask).unwrap_or_else(|| self.clone())
            }

            /// Compute it.
            ///
            /// # Errors
            /// Those of [`ViewKind::check`] and [`ViewKind::compute`].
            pub fn compute(&self, engine: &mut Engine, runs: &Runs, cancelled: Cancelled) -> Result<ViewData> {
                match self {
                    $(Self::$view(ask) => ask
                        .check(&engine.model.spec, runs.tokens.len())
                        .and_then(|()| ask.compute(engine, runs, cancelled))
                        .map(ViewData::$view),)*
                }
            }
        }

        impl ViewData {
            /// The data as a picture.
            pub fn figure(&self) -> &Arc<Figure> {
                match self { $(Self::$view(shown) => shown.figure(),)* }
            }
        }
    };
}

views! {
    Next: NextAsk,
    Strip: StripAsk,
    Activations: ActivationsAsk,
    Neuron: NeuronAsk,
    Attention: AttentionAsk,
    Lens: LensAsk,
    Experts: ExpertsViewAsk,
    Routing: RoutingAsk,
    Ladder: LadderAsk,
    AnswerPair: AnswerPairAsk,
}
