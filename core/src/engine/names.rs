//! What a checkpoint holds: the architecture, and which of its tensors is which parameter. Reads headers only.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::held::{Held, ranges, summary};
use crate::checkpoint::{Checkpoint, written};
use crate::error::{Error, Fault, Result};
use crate::model::layout::{
    Decl, EachExpert, Layout, Role, Slot, WeightPart, count, embedding, unembedding, walk,
};
use crate::model::{Spec, family};

/// An architecture with the tensors that hold it.
pub(crate) struct Named {
    pub(crate) spec: Spec,
    pub(crate) layout: Layout,
    /// Every declared tensor with its name in the checkpoint.
    pub(crate) tensors: Vec<(String, Decl)>,
    /// Tensors of the checkpoint that nothing reads.
    pub(super) unread: Vec<String>,
    /// What the person should know about them.
    pub(super) warnings: Vec<String>,
}

/// What to say of a file's begin and ends of a text that are no tokens: they are left out.
fn no_tokens(file: &str, settings: &Value) -> Vec<String> {
    let is_token = |id: &Value| id.is_null() || id.as_u64().is_some_and(|id| u32::try_from(id).is_ok());
    let fields =
        ["bos_token_id", "eos_token_id"].into_iter().filter_map(|name| Some((name, settings.get(name)?)));
    let odd = fields.filter(|(_, value)| match value.as_array() {
        Some(list) => !list.iter().all(is_token),
        None => !is_token(value),
    });
    odd.map(|(name, value)| format!("{file}: {name} = {} is no token id and left out", written(value)))
        .collect()
}

/// Find every tensor that config.json asks for, of the shape that it says.
pub(crate) fn resolve(checkpoint: &Checkpoint) -> Result<Named> {
    let family::Read { mut spec, mut layout, ignored } = family::read(checkpoint.config())?;
    let mut warnings = checkpoint.warnings().to_vec();
    if !ignored.is_empty() {
        warnings.push(ignored_fields(&ignored));
    }
    warnings.extend(no_tokens("config.json", checkpoint.config()));
    match checkpoint.generation_config() {
        // Where it names ends of a text, they count instead of the config's (transformers' generate).
        Ok(Some(generation)) => {
            warnings.extend(no_tokens("generation_config.json", &generation));
            if let Some(eos) = generation.get("eos_token_id").filter(|eos| !eos.is_null()) {
                spec.eos = family::ids(eos);
            }
        }
        Ok(None) => {}
        Err(error) => warnings.push(format!("{error}; texts end as config.json says")),
    }
    if let Some(error) = unmerged(checkpoint) {
        return Err(error);
    }
    let [embed, unembed] = [embedding(&spec, &layout), unembedding(&spec, &layout)];
    let held = Held::new(checkpoint, layout, &[embed.clone(), unembed.clone()])?;
    layout = with_joined_experts(&held, &spec, layout);
    let held = held.with(layout);
    let blocks = held.blocks();
    if !blocks.is_empty() && !(0..spec.n_layers()).all(|layer| blocks.contains(&layer)) {
        let cause = format!("has blocks {}, config.json says {} layers", ranges(&blocks), spec.n_layers());
        return Err(Error::faulty(place(checkpoint), Fault::Mismatch, cause));
    }
    let tables = [&embed, &unembed].map(|decl| held.name_of(decl));
    if let [Some(embed), Some(unembed)] = &tables
        && spec.unembed.tied
        && !checkpoint.same(embed, unembed)?
    {
        // Transformers then ties nothing.
        spec.unembed.tied = false;
        warnings.push(
            "config.json ties embedding and unembedding, the checkpoint holds two different ones".into(),
        );
    }
    // Some writers keep only the unembedding of a tied pair.
    let of_unembedding = spec.unembed.tied && matches!(tables, [None, Some(_)]);
    let mut tensors: Vec<(String, Decl)> = Vec::new();
    // Each is looked up as it is declared: a config that asks for more than the files hold ends here at the first.
    walk(&spec, &layout, &mut |mut decl| {
        if of_unembedding && decl.slot.role == Role::Embed {
            (decl.name, decl.prefixed) = (unembed.name.clone(), unembed.prefixed);
        }
        tensors.push((held.find(&decl)?, decl));
        Ok(())
    })
    .map_err(|error| with_counts(error, checkpoint, &spec, &layout))?;
    let names = tensors.iter().map(|(name, _)| name);
    // A tied table that is there twice was compared.
    let used: BTreeSet<&str> = names.chain(tables.iter().flatten()).map(String::as_str).collect();
    let unread = held.unread(&used);
    let (within, beyond): (Vec<_>, Vec<_>) =
        unread.iter().copied().partition(|(_, block)| block.is_none_or(|block| block < spec.n_layers()));
    if !beyond.is_empty() {
        let (blocks, layers) = (ranges(&blocks), spec.n_layers());
        warnings.push(format!(
            "the files hold blocks {blocks}, config.json says {layers} layers: the last ones are not read"
        ));
    }
    if !within.is_empty() {
        let names: Vec<&str> = within.into_iter().map(|(name, _)| name).collect();
        warnings.push(format!("tensors that nothing reads: {}", summary(&names)));
    }
    let mut unread: Vec<String> = unread.into_iter().map(|(name, _)| name.to_owned()).collect();
    unread.sort();
    Ok(Named { spec, layout, tensors, unread, warnings })
}

/// A mismatch with what the config asks for and what the files hold, where that is far more.
fn with_counts(error: Error, checkpoint: &Checkpoint, spec: &Spec, layout: &Layout) -> Error {
    let (asked, held) = (count(spec, layout).tensors, checkpoint.names().count() as u64);
    match error {
        Error::Checkpoint { path, cause, fault: Fault::Mismatch } if asked > held.saturating_mul(2) => {
            let cause = format!("{cause}; config.json asks for {asked} tensors, the files hold {held}");
            Error::faulty(path, Fault::Mismatch, cause)
        }
        error => error,
    }
}

/// The refusal of weights with an adapter between them: without it they are another model, and with it whole weights are
/// not what they say.
fn unmerged(checkpoint: &Checkpoint) -> Option<Error> {
    let is_adapter =
        |name: &&str| name.split('.').any(|part| part.starts_with("lora_") || part == "base_layer");
    // What names the adapter tells more than the layer that it wraps.
    let mut names: Vec<&str> = checkpoint.names().filter(is_adapter).collect();
    names.sort_by_key(|name| !name.contains("lora_"));
    let name = names.first()?;
    let kind = if name.contains("lora_") { "a LoRA adapter" } else { "an adapter" };
    let cause = format!("holds {kind} that is not merged: \"{name}\"");
    Some(Error::faulty(checkpoint.place(name), Fault::Adapter, cause))
}

/// What is said of fields that change nothing.
pub(super) fn ignored_fields(names: &[String]) -> String {
    format!("config fields that nothing reads: {}", names.join(", "))
}

/// The layout, with all experts of a block in two tensors where the files have them so.
fn with_joined_experts(held: &Held, spec: &Spec, mut layout: Layout) -> Layout {
    let sparse = spec.layers.iter().position(|layer| layer.experts.is_some());
    if let (Some(layer), EachExpert::Single(..)) = (sparse, layout.experts.each) {
        let [name, _] = layout.experts.joined;
        let name = format!("{}.{layer}.{name}", layout.block);
        let slot = Slot { layer: Some(layer), role: Role::ExpertsGateUp, part: WeightPart::Weight };
        if held.name_of(&Decl { slot, name, prefixed: true, shape: Vec::new() }).is_some() {
            layout.experts.each = EachExpert::Joined(layout.experts.joined);
        }
    }
    layout
}

fn place(checkpoint: &Checkpoint) -> PathBuf {
    checkpoint.folder().unwrap_or(Path::new("bundled")).to_owned()
}
