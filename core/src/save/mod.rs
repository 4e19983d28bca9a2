//! The model that a plan describes, as a Hugging Face folder: sublayers, heads, neurons and experts that are out, factors
//! and sums in the weights. What weights cannot do is refused before anything is written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use safetensors::Dtype;
use serde::Serialize;
use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, NumberFormat};
use crate::engine::Cancelled;
use crate::engine::names::{Named, resolve};
use crate::error::{Error, Result};
use crate::files::{There, write_atomic};
use crate::model::family;
use crate::model::layout::{Layout, Role, Slot, WeightPart, parameters, walk};
use crate::model::schedule::Choice;
use crate::plan::{Affine, Foldable, Plan, Stretch};
use crate::site::{Hook, Site};
use crate::spec::{Residual, Score, Spec};

mod config;
mod edits;
mod output;
mod page;
mod seat;
mod write;

use config::Left;
use edits::{Edits, Misfit};
use output::{ABOUT, Place};

/// What is to be saved.
pub struct Save<'a> {
    /// The changes.
    pub plan: &'a Plan,
    /// What they come to ([`crate::engine::Engine::foldable`]).
    pub items: &'a [Foldable],
    /// Number format; `None` = each tensor's own.
    pub dtype: Option<NumberFormat>,
    /// Where.
    pub out: &'a Path,
    /// What to do with a model that is there.
    pub there: There,
}

/// What was saved: sluice.json.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Saved {
    /// The checkpoint's name.
    pub source: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// The plan.
    pub plan: Plan,
    /// Of each item that is on, what became of it.
    pub written: Vec<String>,
    /// Blocks, before and now.
    pub blocks: [usize; 2],
    /// Parameters, tied ones counted once, before and now.
    pub parameters: [u64; 2],
    /// Bytes of the tensors.
    pub bytes: u64,
}

/// Save the model that a plan describes. `report` gets bytes done and bytes in all.
///
/// # Errors
/// One that names every item which weights cannot do; nothing is written then. What cannot be read or written,
/// and [`Error::Cancelled`]; the folder is as it was then.
pub fn save(
    checkpoint: &Checkpoint,
    ask: &Save<'_>,
    report: &mut dyn FnMut(u64, u64),
    cancelled: Cancelled,
) -> Result<Saved> {
    let place = Place::claim(ask.out, ask.there)?;
    let named = resolve(checkpoint)?;
    let items = ask.items;
    let model = Changed::new(checkpoint, &named, items)?;
    let mut config = model.config.clone();
    if let Some(dtype) = ask.dtype {
        config = config::with_dtype(&config, dtype.in_config());
    }
    let mut saved = Saved {
        source: checkpoint.name().into(),
        fingerprint: checkpoint.fingerprint()?,
        plan: ask.plan.clone(),
        written: items.iter().map(|item| format!("{}: {}", item.label, model.became(item))).collect(),
        blocks: [named.spec.n_layers(), model.left.blocks.len()],
        parameters: [&named.spec, &model.spec].map(|spec| parameters(spec, &named.layout)),
        bytes: 0,
    };
    let tensors = model.tensors(checkpoint, &named, ask.dtype)?;
    place.fill(|folder| {
        saved.bytes = write::write(folder, checkpoint, &tensors, report, cancelled)?;
        checkpoint.check_unchanged()?;
        for (name, bytes) in checkpoint.side_files()? {
            write_atomic(&folder.join(name), &bytes)?;
        }
        write_atomic(&folder.join("config.json"), &text(&config)?)?;
        write_atomic(&folder.join("README.md"), page::page(&saved, &named.spec, ask.dtype).as_bytes())?;
        write_atomic(&folder.join(ABOUT), &text(&json!(saved))?)
    })?;
    Ok(saved)
}

fn text(value: &Value) -> Result<Vec<u8>> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::Internal(error.to_string()))?;
    Ok((text + "\n").into_bytes())
}

/// A model with a plan's changes in its weights.
struct Changed {
    config: Value,
    spec: Spec,
    left: Left,
    edits: Edits,
}

/// Items that do not fit, each with its reason.
type Misfits = Vec<(String, String)>;

impl Changed {
    fn new(checkpoint: &Checkpoint, named: &Named, items: &[Foldable]) -> Result<Self> {
        let mut config = checkpoint.config().clone();
        let mut spec = named.spec.clone();
        if family::read(&config)?.spec.unembed.tied != spec.unembed.tied {
            // The files hold two tables, and so will these.
            config = config::with_tied(&config, spec.unembed.tied);
        }
        let mut weights = |slot: Slot| {
            let found = named.tensors.iter().find(|(_, decl)| decl.slot == slot);
            let (name, decl) = found.ok_or_else(|| Error::Internal(format!("no tensor for {slot:?}")))?;
            Ok(checkpoint.load_f32(name, &decl.shape)?.0)
        };
        let (mut edits, mut misfits, wanted) = fold(items, &spec, &named.layout, &mut weights)?;
        for role in wanted {
            if let Some((with, biased)) = biased(&config, &spec, role) {
                (config, spec) = (with, biased);
                (edits, misfits, _) = fold(items, &spec, &named.layout, &mut weights)?;
            }
        }
        let mut left = Left::all(&spec);
        cut_experts(items, &spec, &mut left, &mut misfits);
        refuse(misfits)?;
        left.blocks = blocks_left(items, &spec);
        let says = |left: &Left| {
            let shorter = config::shortened(&config, left, &spec);
            let read = family::read(&shorter).ok()?.spec;
            let wanted = Spec { eos: read.eos.clone(), ..left.of(&spec) };
            (read == wanted).then_some((shorter, wanted))
        };
        // Where blocks go by their numbers the config of fewer says something else: their outputs are zeros then.
        let whole = Left { blocks: Left::all(&spec).blocks, ..left.clone() };
        let (config, spec, left) = match (says(&left), says(&whole)) {
            (Some((config, spec)), _) => (config, spec, left),
            (None, Some((config, spec))) => (config, spec, whole),
            (None, None) => {
                let cause = "config.json of this family cannot say which experts are left";
                return Err(Error::Plan(cause.into()));
            }
        };
        Ok(Self { config, spec, left, edits })
    }

    /// What became of an item, in a few words.
    fn became(&self, item: &Foldable) -> String {
        let Ok(changes) = &item.changes else { return String::new() };
        let gone =
            |site: &Site| matches!(site, Site::Block { layer, .. } if !self.left.blocks.contains(layer));
        let (out, within): (Vec<Site>, Vec<Site>) =
            changes.sites.iter().map(|(site, _)| *site).partition(gone);
        let list = |sites: &[Site]| sites.iter().map(Site::to_string).collect::<Vec<_>>().join(", ");
        let mut parts = Vec::new();
        if !within.is_empty() {
            parts.push(format!("in the weights at {}", list(&within)));
        }
        if !out.is_empty() {
            parts.push(format!("left out with its block: {}", list(&out)));
        }
        if !changes.experts.is_empty() {
            parts.push("in the number of experts".into());
        }
        if parts.is_empty() { "changes nothing".into() } else { parts.join("; ") }
    }

    /// Every tensor of the model, with what it is made of.
    fn tensors<'a>(
        &'a self,
        checkpoint: &Checkpoint,
        named: &'a Named,
        dtype: Option<NumberFormat>,
    ) -> Result<Vec<write::Tensor<'a>>> {
        let sources: BTreeMap<Slot, &str> =
            named.tensors.iter().map(|(name, decl)| (decl.slot, name.as_str())).collect();
        let stored = |slot: Slot| checkpoint.info(sources.get(&slot)?).map(|info| info.dtype);
        let mut tensors = Vec::new();
        walk(&self.spec, &named.layout, &mut |decl| {
            let (slot, kept) = self.old(decl.slot)?;
            let weight = Slot { part: WeightPart::Weight, ..slot };
            let own = stored(slot).or_else(|| stored(weight)).unwrap_or(Dtype::F32);
            let prefix = if decl.prefixed { named.layout.prefix } else { "" };
            tensors.push(write::Tensor {
                name: format!("{prefix}{}", decl.name),
                shape: decl.shape,
                dtype: dtype.map_or(own, NumberFormat::stored),
                source: sources.get(&slot).copied(),
                kept,
                edits: self.edits.of(slot),
            });
            Ok(())
        })?;
        Ok(tensors)
    }

    /// Where a tensor of the new model was in the old one, and which of its experts are kept.
    fn old(&self, new: Slot) -> Result<(Slot, Option<&[usize]>)> {
        let lost = || Error::Internal(format!("no tensor for {new:?}"));
        let Some(layer) = new.layer.filter(|_| !matches!(new.role, Role::Vision(_))) else {
            return Ok((new, None));
        };
        let layer = *self.left.blocks.get(layer).ok_or_else(lost)?;
        let kept = self.left.experts.get(&layer).map(Vec::as_slice);
        let old = |expert: usize| match kept {
            Some(kept) => kept.get(expert).copied().ok_or_else(lost),
            None => Ok(expert),
        };
        let role = match new.role {
            Role::ExpertGate(expert) => Role::ExpertGate(old(expert)?),
            Role::ExpertUp(expert) => Role::ExpertUp(old(expert)?),
            Role::ExpertDown(expert) => Role::ExpertDown(old(expert)?),
            role => role,
        };
        let by_expert = matches!(
            role,
            Role::ExpertRouter | Role::ExpertCorrection | Role::ExpertsGateUp | Role::ExpertsDown
        );
        Ok((Slot { layer: Some(layer), role, ..new }, kept.filter(|_| by_expert)))
    }
}

/// Fold every item into the weights; those that do not fit, and the roles that want a bias.
fn fold(
    items: &[Foldable],
    spec: &Spec,
    layout: &Layout,
    weights: edits::Read<'_>,
) -> Result<(Edits, Misfits, BTreeSet<Role>)> {
    let (mut edits, mut misfits, mut wanted) = (Edits::default(), Vec::new(), BTreeSet::new());
    for item in items {
        if let Err(reason) = &item.changes {
            misfits.push((item.label.clone(), reason.clone()));
        }
    }
    for (site, changes) in by_site(items) {
        // Together, since a later one also changes what an earlier one adds.
        let all = Affine::of(changes.iter().map(|(_, change)| *change));
        if edits.take(site, &all, (spec, layout), &mut *weights)?.is_ok() {
            continue;
        }
        for (item, change) in changes {
            let alone = Edits::default().take(site, &Affine::of([change]), (spec, layout), &mut *weights)?;
            let reason = match alone {
                Ok(()) => continue,
                Err(Misfit::Never(reason)) => reason.to_owned(),
                Err(Misfit::NoBias(role)) => {
                    wanted.insert(role);
                    "what is added needs a bias, and the weights here have none in this family".to_owned()
                }
            };
            misfits.push((item.label.clone(), format!("{site}: {reason}")));
        }
    }
    Ok((edits, misfits, wanted))
}

/// The changes of each site in the order of effects, sites in that of the pass.
fn by_site(items: &[Foldable]) -> BTreeMap<Site, Vec<(&Foldable, &Stretch)>> {
    let mut all: BTreeMap<Site, Vec<(&Foldable, &Stretch)>> = BTreeMap::new();
    for item in items {
        for (site, change) in item.changes.iter().flat_map(|changes| &changes.sites) {
            all.entry(*site).or_default().push((item, change));
        }
    }
    all
}

/// The config with the biases of a role, in a family that has a field for them, and its architecture.
fn biased(config: &Value, spec: &Spec, role: Role) -> Option<(Value, Spec)> {
    let with = config::with(config, config::bias_field(role)?);
    let read = family::read(&with).ok()?.spec;
    let read = Spec { eos: spec.eos.clone(), ..read };
    (read != *spec && config::unbiased(&read) == config::unbiased(spec)).then_some((with, read))
}

/// Refuse what does not fit, all of it at once.
fn refuse(misfits: Misfits) -> Result<()> {
    let mut items: Vec<String> =
        misfits.into_iter().map(|(item, reason)| format!("{item}: {reason}")).collect();
    items.dedup();
    match items.len() {
        0 => Ok(()),
        count => {
            let cause = format!("weights cannot do {count} of the plan's changes: {}", items.join("; "));
            Err(Error::asked(cause, "switch these items off, or run the plan instead; nothing was written"))
        }
    }
}

/// The blocks that still do something; at least one.
fn blocks_left(items: &[Foldable], spec: &Spec) -> Vec<usize> {
    let composed =
        |changes: Vec<(&Foldable, &Stretch)>| Affine::of(changes.into_iter().map(|(_, change)| change));
    let at: BTreeMap<Site, Affine> =
        by_site(items).into_iter().map(|(site, changes)| (site, composed(changes))).collect();
    let zero = |site: Site| at.get(&site).is_some_and(Affine::is_zero);
    let adds = |site: Site| at.get(&site).is_some_and(Affine::adds);
    let idle = |layer: usize| {
        let norms = spec.layers.get(layer).is_none_or(|block| block.residual == Residual::PostNorm);
        let block = |hook: Hook| Site::block(layer, hook);
        let stream = [block(Hook::ResidMid), block(Hook::ResidPost), Site::block(layer + 1, Hook::ResidPre)];
        !norms && zero(block(Hook::AttnOut)) && zero(block(Hook::MlpOut)) && !stream.into_iter().any(adds)
    };
    let left: Vec<usize> = (0..spec.n_layers()).filter(|&layer| !idle(layer)).collect();
    if left.is_empty() { vec![0] } else { left }
}

/// Take the experts out that the plan knocks out, and set how many a token goes through; a config has one number for all
/// blocks.
fn cut_experts(items: &[Foldable], spec: &Spec, left: &mut Left, misfits: &mut Misfits) {
    let of = |item: &Foldable| item.changes.as_ref().is_ok_and(|changes| !changes.experts.is_empty());
    let mut rules: BTreeMap<usize, Vec<&Choice>> = BTreeMap::new();
    for (layer, choice) in
        items.iter().filter_map(|item| item.changes.as_ref().ok()).flat_map(|own| &own.experts)
    {
        rules.entry(*layer).or_default().push(choice);
    }
    if rules.is_empty() {
        return;
    }
    let (mut counts, mut ks, mut reason) = (BTreeSet::new(), BTreeSet::new(), None);
    for (layer, experts) in
        spec.layers.iter().enumerate().filter_map(|(at, block)| Some((at, block.experts?)))
    {
        let own = rules.get(&layer).map(Vec::as_slice).unwrap_or_default();
        let out: BTreeSet<usize> = own.iter().flat_map(|rule| rule.knock_out.iter().copied()).collect();
        let kept: Vec<usize> = (0..experts.count).filter(|expert| !out.contains(expert)).collect();
        let k = own.iter().filter_map(|rule| rule.k).next_back().unwrap_or(experts.top_k);
        let changed = !out.is_empty() || k != experts.top_k;
        if !out.is_empty() && experts.score == Score::Softmax && !experts.renormalise {
            reason = Some("gate weights are shares among all experts here, also of those that are out");
        }
        if changed && experts.groups != (1, 1) {
            reason = Some("experts are chosen by groups of one size here");
        }
        counts.insert(kept.len());
        ks.insert(k);
        if !out.is_empty() {
            left.experts.insert(layer, kept);
        }
        if k != experts.top_k {
            left.top_k = Some(k);
        }
    }
    if counts.len() > 1 || ks.len() > 1 {
        reason = reason.or(Some("blocks would keep different numbers, and config.json has one for all"));
    }
    if let Some(reason) = reason {
        misfits
            .extend(items.iter().filter(|item| of(item)).map(|item| (item.label.clone(), reason.to_owned())));
    }
}
