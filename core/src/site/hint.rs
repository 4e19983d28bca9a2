//! What was meant by a name that no site has.

use strsim::levenshtein;

use super::{Hook, Site};
use crate::spec::Spec;

/// Names of what lies outside blocks.
const OUTSIDE: [&str; 4] =
    ["hook_embed", "hook_pos_embed", "ln_final.hook_scale", "ln_final.hook_normalized"];

/// What to add to "no site matches NAME": how many layers there are, that this model has no such site, or the nearest name.
/// Empty where nothing is near.
pub(super) fn hint(name: &str, spec: Option<&Spec>) -> String {
    let written = name.trim().to_lowercase();
    let meant = |name: String| format!(": did you mean {name}");
    // Without a model this is asked by whoever parses.
    if let Some(spec) = spec
        && let Ok(site) = name.parse::<Site>()
        && !Site::all(spec).contains(&site)
    {
        return format!(": this model has no {site}");
    }
    let hooks = hooks(spec);
    let Some((prefix, rest)) = in_blocks(&written) else {
        let outside = OUTSIDE.into_iter().map(|name| (name, String::from(name)));
        let layer = first_number(&written).filter(|&layer| spec.is_none_or(|spec| layer < spec.n_layers()));
        let blocks = hooks.iter().map(|&hook| (hook, format!("blocks.{}.{hook}", layer.unwrap_or(0))));
        // A number in the name says that a block is meant.
        let all: Vec<(&str, String)> =
            if layer.is_some() { blocks.collect() } else { outside.chain(blocks).collect() };
        let key = if layer.is_some() { after_number(&written) } else { &written };
        return nearest(key, all.iter().map(|(key, _)| *key))
            .and_then(|index| all.get(index))
            .map_or_else(String::new, |(_, name)| meant(name.clone()));
    };
    if spec.is_some() && Hook::ALL.iter().any(|hook| hook.name() == rest) && !hooks.contains(&rest) {
        return format!(": this model has no {rest}");
    }
    let near = nearest(rest, hooks.iter().copied()).and_then(|index| hooks.get(index));
    near.map_or_else(String::new, |hook| meant(format!("{prefix}{hook}")))
}

/// Names of the hooks that a block of the model has.
fn hooks(spec: Option<&Spec>) -> Vec<&'static str> {
    let exists = |hook: &Hook| spec.is_none_or(|spec| spec.layers.iter().any(|layer| hook.exists(layer)));
    Hook::ALL.into_iter().filter(exists).map(Hook::name).collect()
}

/// `blocks.LAYERS.rest` as its layers and the rest, where the layers are numbers or ranges.
pub(super) fn layered(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix("blocks.")?;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ',')).unwrap_or(rest.len());
    let (layers, hook) = rest.split_at_checked(end)?;
    let layers = layers.strip_suffix('.').filter(|layers| !layers.is_empty())?;
    Some((layers, hook))
}

/// `blocks.LAYERS.` and what follows, where the layers are numbers, ranges or globs.
fn in_blocks(name: &str) -> Option<(&str, &str)> {
    if let Some((_, rest)) = layered(name) {
        return name.split_at_checked(name.len() - rest.len());
    }
    let rest = name.strip_prefix("blocks.")?;
    let (layers, rest) = rest.split_once('.')?;
    let globbed = !layers.is_empty() && layers.bytes().all(|byte| matches!(byte, b'*' | b'?'));
    globbed.then(|| name.split_at_checked(name.len() - rest.len())).flatten()
}

fn first_number(name: &str) -> Option<usize> {
    let digits = name.split(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty())?;
    digits.parse().ok()
}

/// What stands behind the first number and its separator.
fn after_number(name: &str) -> &str {
    let start = name.find(|c: char| c.is_ascii_digit()).unwrap_or(0);
    let rest = name.get(start..).unwrap_or_default();
    rest.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches(['.', '_', '/', '-'])
}

/// Index of the nearest name, where one is near; the first of equals.
fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<usize> {
    let far = 1 + plain(written).chars().count() / 4;
    let near = names.enumerate().map(|(index, name)| (distance(written, name), index)).min()?;
    (near.0 <= far && !written.is_empty()).then_some(near.1)
}

/// Letters that differ, with or without the folder that a hook stands in.
fn distance(written: &str, name: &str) -> usize {
    let last = |text: &str| plain(text.rsplit('.').next().unwrap_or_default());
    let whole = levenshtein(&plain(written), &plain(name));
    whole.min(1 + levenshtein(&last(written), &last(name)))
}

/// Without what all names have in common.
fn plain(name: &str) -> String {
    name.replace("hook_", "").replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant() {
        for (written, meant) in [
            ("blocks.9.attn.hook_Z", "blocks.9.attn.hook_z"),
            ("blocks.0.hook_z", "blocks.0.attn.hook_z"),
            ("blocks.0.attn.z", "blocks.0.attn.hook_z"),
            ("blocks.*.attn.hook_Z", "blocks.*.attn.hook_z"),
            ("blocks.3..7.hook_residpost", "blocks.3..7.hook_resid_post"),
            ("Blocks.2.MLP.hook_post", "blocks.2.mlp.hook_post"),
            ("block.4.hook_resid_post", "blocks.4.hook_resid_post"),
            ("blocks_4_hook_mlp_out", "blocks.4.hook_mlp_out"),
            ("blocks.1.mlp.out", "blocks.1.hook_mlp_out"),
            ("hook_embd", "hook_embed"),
            ("ln_final.hook_normalised", "ln_final.hook_normalized"),
            ("hook_resid_mid", "blocks.0.hook_resid_mid"),
        ] {
            assert_eq!(hint(written, None), format!(": did you mean {meant}"), "{written}");
        }
        for written in ["", "blocks.0.", "weights", "blocks.0.attn.hook_everything", "7"] {
            assert_eq!(hint(written, None), "", "{written}");
        }
    }
}
