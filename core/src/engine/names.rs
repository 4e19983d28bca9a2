//! What a checkpoint holds: the architecture, and which of its tensors is which parameter. Reads headers only.

use std::path::{Path, PathBuf};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::model::layout::{Decl, Layout, Role, declare, parameters};
use crate::model::{Spec, family};

/// An architecture with the tensors that hold it.
pub(super) struct Named {
    pub(super) spec: Spec,
    pub(super) layout: Layout,
    /// Every declared tensor with its name in the checkpoint.
    pub(super) tensors: Vec<(String, Decl)>,
    /// What the person should know about them.
    pub(super) warnings: Vec<String>,
}

impl Named {
    /// Bytes of the weights as held.
    pub(super) fn bytes_resident(&self) -> u64 {
        parameters(&self.spec, &self.layout).saturating_mul(4)
    }

    /// Bytes of the largest tensor that holds many experts: it stands beside what it is taken apart into.
    pub(super) fn widest_stack(&self) -> u64 {
        let stacks = self.tensors.iter().filter(|(_, decl)| decl.shape.len() == 3);
        stacks.map(|(_, decl)| 4 * decl.len()).max().unwrap_or(0)
    }
}

/// Find every tensor that config.json asks for, of the shape that it says.
pub(super) fn resolve(checkpoint: &Checkpoint) -> Result<Named> {
    let family::Read { mut spec, layout, ignored } = family::read(checkpoint.config())?;
    let mut warnings = Vec::new();
    if !ignored.is_empty() {
        warnings.push(format!("config fields that nothing reads: {}", ignored.join(", ")));
    }
    match checkpoint.generation_config() {
        // Where it names ends of a text, they count instead of the config's (transformers' generate).
        Ok(Some(generation)) if generation.get("eos_token_id").is_some_and(|eos| !eos.is_null()) => {
            spec.eos = family::ids(&generation["eos_token_id"]);
        }
        Ok(_) => {}
        Err(error) => warnings.push(format!("{error}; texts end as config.json says")),
    }
    if spec.unembed.tied && tables_differ(checkpoint, &spec, &layout) {
        spec.unembed.tied = false;
        warnings.push(
            "config.json ties embedding and unembedding, the checkpoint holds two different ones".into(),
        );
    }
    let mut decls = declare(&spec, &layout);
    if spec.unembed.tied {
        // Some writers keep only the unembedding of a tied pair.
        let only = decls.iter_mut().find(|decl| decl.slot.role == Role::Embed);
        if let Some(embed) = only.filter(|embed| find(checkpoint, embed, &layout).is_err())
            && checkpoint.info(&unembed_name(&layout)).is_some()
        {
            (embed.name, embed.prefixed) = (unembed_name(&layout), false);
        }
    }
    let name = |decl: Decl| Ok((find(checkpoint, &decl, &layout)?, decl));
    let tensors = decls.into_iter().map(name).collect::<Result<_>>()?;
    Ok(Named { spec, layout, tensors, warnings })
}

fn unembed_name(layout: &Layout) -> String {
    format!("{}.weight", layout.unembed)
}

/// Whether the checkpoint holds an unembedding that is not the embedding; transformers then ties nothing.
fn tables_differ(checkpoint: &Checkpoint, spec: &Spec, layout: &Layout) -> bool {
    let decls = declare(spec, layout);
    let Some(embed) = decls.iter().find(|decl| decl.slot.role == Role::Embed) else { return false };
    let unembed = unembed_name(layout);
    match find(checkpoint, embed, layout) {
        Ok(name) => checkpoint.info(&unembed).is_some() && !checkpoint.same(&name, &unembed),
        Err(_) => false,
    }
}

/// Name of a declared tensor in the checkpoint. Checkpoints of the bare model leave out some or all of the prefix.
fn find(checkpoint: &Checkpoint, decl: &Decl, layout: &Layout) -> Result<String> {
    let prefix = if decl.prefixed { layout.prefix } else { "" };
    let mut rest = prefix;
    loop {
        let mut name = format!("{rest}{}", decl.name);
        if checkpoint.info(&name).is_none() {
            name = name.replacen(layout.respelt[0], layout.respelt[1], 1);
        }
        if let Some(info) = checkpoint.info(&name) {
            if info.shape == decl.shape {
                return Ok(name);
            }
            let cause =
                format!("tensor \"{name}\" has shape {:?}, the config asks for {:?}", info.shape, decl.shape);
            return Err(Error::checkpoint(place(checkpoint), cause));
        }
        let Some((_, shorter)) = rest.split_once('.') else { break };
        rest = shorter;
    }
    Err(Error::checkpoint(place(checkpoint), format!("has no tensor \"{prefix}{}\"", decl.name)))
}

fn place(checkpoint: &Checkpoint) -> PathBuf {
    checkpoint.folder().unwrap_or(Path::new("bundled")).to_owned()
}
