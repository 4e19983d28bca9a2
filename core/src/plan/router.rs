//! A learned router sends each token to the lane it finds best, layer by layer (Duo-LLM, arXiv 2410.10846, section 2, stage
//! 3): the argmax of a linear map of what the FFN reads. Generated tokens are routed too.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::compile::Compiler;
use super::kind::Kind;
use crate::error::{Error, Result};
use crate::model::schedule::RouterMatrices;
use crate::spec::{Field, FieldKind, Lane, Positions};

/// Route by a learned router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Router {
    /// Its name: the lanes with their budgets in percent, `big50_small50`.
    pub name: String,
    /// A file of routers trained here; left out = the checkpoint's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

impl Router {
    /// Name of a layer's matrix in a file of routers.
    pub fn tensor(name: &str, layer: usize) -> String {
        RouterMatrices::tensor_name(name, layer)
    }
}

impl Kind for Router {
    const NAME: &'static str = "router";
    const RANK: u32 = 300;
    const HELP: &'static str = "Each token, generated ones too, through the lane that a learned router finds best; painted lanes lie \
        over it.";
    const NOTES: &'static str = "A router's file is checked by the router's name, \
        its layers and its width, not by the checkpoint that it was trained on. A learned router decides token by token from \
        what the FFN reads, where a map is not painted: a painted `big` is no paint.";
    const FIELDS: &'static [Field] = &[
        Field::new("name", FieldKind::Text, "the lanes with their budgets in percent"),
        Field::new(
            "file",
            FieldKind::File,
            "a file of routers trained here; left out = the checkpoint's own",
        ),
    ];

    fn example() -> Self {
        Self { name: "big50_small50".into(), file: None }
    }

    fn summary(&self) -> String {
        format!("route by {}", self.name)
    }

    fn positions(&self) -> Positions {
        Positions::All
    }

    fn files(&mut self) -> Vec<&mut PathBuf> {
        self.file.iter_mut().collect()
    }

    fn compile(&self, compiler: &mut Compiler<'_>, strength: f32) -> Result<()> {
        if compiler.schedule.router().is_some() {
            return Err(Error::Plan("one learned router at a time can route".into()));
        }
        let matrices = compiler.resolve.router(&self.name, self.file.as_deref())?;
        if matrices.lanes.contains(&Lane::Small) {
            compiler.needs_small()?;
        }
        compiler.schedule.set_router(matrices, strength);
        Ok(())
    }
}
