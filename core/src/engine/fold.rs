//! Plans on their way into weights.

use std::path::Path;
use std::sync::Arc;

use candle_core::Tensor;

use super::{Cancelled, Engine, Resolver};
use crate::error::{Error, Result};
use crate::model::schedule::RouterMatrices;
use crate::model::{Ffn, Input};
use crate::plan::{Foldable, Plan, Resolve, Source, Surrogate};
use crate::site::Site;

impl Engine {
    /// Every item of a plan that is on, as what weights could do. `prompt` is whose run a mean or a patch of the plan reads.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn foldable(
        &mut self,
        plan: &Plan,
        prompt: Option<&Input>,
        cancelled: Cancelled,
    ) -> Result<Vec<Foldable>> {
        let spec = Arc::clone(&self.model.spec);
        let none = Input::from([0].as_slice());
        let tokens = prompt.unwrap_or(&none);
        let resolver = Resolver { engine: self, tokens, cancelled };
        let items = plan.foldable(&spec, tokens.len(), &mut Folder { resolver, prompt: prompt.is_some() });
        if cancelled() { Err(Error::Cancelled) } else { Ok(items) }
    }
}

/// A resolver that may have no prompt.
struct Folder<'a> {
    resolver: Resolver<'a>,
    prompt: bool,
}

impl Resolve for Folder<'_> {
    fn picture(&self) -> Vec<usize> {
        self.resolver.picture()
    }

    fn site(&mut self, source: &Source, site: Site) -> Result<Tensor> {
        if *source == Source::Base && !self.prompt {
            return Err(Error::Plan("it reads the unmodified run of a prompt, and none is given".into()));
        }
        self.resolver.site(source, site)
    }

    fn small(&mut self, surrogate: &Surrogate) -> Result<Arc<[Ffn]>> {
        self.resolver.small(surrogate)
    }

    fn router(&mut self, name: &str, file: Option<&Path>) -> Result<Arc<RouterMatrices>> {
        self.resolver.router(name, file)
    }
}
