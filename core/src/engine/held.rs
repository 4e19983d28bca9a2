//! The tensors of a checkpoint under the names that its family gives them: wrappers' prefixes come off, other spellings are
//! found, and what nobody asks for is told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Fault, Result};
use crate::model::layout::{Decl, Layout, Role, WeightPart};

/// Parts that wrappers put into names, anywhere: torch.compile, FSDP, activation checkpointing, DataParallel.
const WRAPPERS: [&str; 4] = ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module"];
/// Most parts of a prefix that all names have in common.
const MAX_PREFIX: usize = 8;
/// What writers of quantised numbers put in the place of a tensor's last part, or behind it.
const QUANTISED: [[&str; 2]; 4] = [
    [".weight", ".qweight"],
    [".weight", ".weight_packed"],
    [".weight", ".weight_quantized"],
    ["_proj", "_proj_blocks"],
];

/// Tensors by name.
pub(super) struct Held<'a> {
    checkpoint: &'a Checkpoint,
    layout: Layout,
    /// Names without what wrappers added, to names in the files; where these differ.
    bare: Option<BTreeMap<String, &'a str>>,
}

impl<'a> Held<'a> {
    /// The tensors of a checkpoint. Every checkpoint of its family has one of `anchors`: where it stands tells what prefix all
    /// names have in common.
    pub(super) fn new(checkpoint: &'a Checkpoint, layout: Layout, anchors: &[Decl]) -> Result<Self> {
        let mut held = Self { checkpoint, layout, bare: None };
        let wrapped = checkpoint.names().any(|name| name.split('.').any(is_wrapper));
        let is_found = |held: &Self| anchors.iter().any(|decl| held.name_of(decl).is_some());
        if !wrapped && is_found(&held) {
            return Ok(held);
        }
        let mut bare = BTreeMap::new();
        for name in checkpoint.names() {
            let own = name.split('.').filter(|part| !is_wrapper(part)).collect::<Vec<_>>().join(".");
            if let Some(other) = bare.insert(own, name) {
                let cause = format!("tensors \"{other}\" and \"{name}\" are one without what wrappers added");
                return Err(Error::faulty(checkpoint.place(name), Fault::Mismatch, cause));
            }
        }
        let common = common_prefix(&bare).to_owned();
        let cuts = common.match_indices('.').take(MAX_PREFIX).map(|(dot, _)| dot + 1);
        for cut in [0].into_iter().chain(cuts) {
            let behind = |own: &String| own.get(cut..).unwrap_or_default().to_owned();
            held.bare = Some(bare.iter().map(|(own, name)| (behind(own), *name)).collect());
            if is_found(&held) {
                return Ok(held);
            }
        }
        held.bare = wrapped.then_some(bare);
        Ok(held)
    }

    /// The same tensors under the names of another layout.
    pub(super) fn with(self, layout: Layout) -> Self {
        Self { layout, ..self }
    }

    /// Name in the files of a tensor, by its family's name.
    fn raw(&self, own: &str) -> Option<String> {
        match &self.bare {
            Some(bare) => bare.get(own).map(|name| (*name).to_owned()),
            None => self.checkpoint.info(own).map(|_| own.to_owned()),
        }
    }

    /// Every tensor: its family's name and the one in the files.
    fn names(&self) -> Box<dyn Iterator<Item = (&str, &'a str)> + '_> {
        match &self.bare {
            Some(bare) => Box::new(bare.iter().map(|(own, name)| (own.as_str(), *name))),
            None => Box::new(self.checkpoint.names().map(|name| (name, name))),
        }
    }

    /// Name in the files of a declared tensor. Checkpoints of the bare model leave out some or all of the prefix.
    pub(super) fn name_of(&self, decl: &Decl) -> Option<String> {
        let prefix = if decl.prefixed { self.layout.prefix } else { "" };
        shortened(prefix).find_map(|rest| {
            let own = format!("{rest}{}", decl.name);
            self.raw(&own).or_else(|| respelt(&self.layout, &own).find_map(|own| self.raw(&own)))
        })
    }

    /// The same of a tensor that must be there, of the declared shape and in numbers that can be read.
    pub(super) fn find(&self, decl: &Decl) -> Result<String> {
        let name = self.name_of(decl).ok_or_else(|| self.missing(decl))?;
        let Some(info) = self.checkpoint.info(&name) else { return Err(self.missing(decl)) };
        let refuse =
            |fault: Fault, cause: String| Err(Error::faulty(self.checkpoint.place(&name), fault, cause));
        if !info.is_float() {
            let cause =
                format!("tensor \"{name}\" has dtype {:?}; f32, f16, bf16 and f64 can be read", info.dtype);
            return refuse(Fault::Quantised, cause);
        }
        if info.shape != decl.shape {
            let (is, asked) = (&info.shape, &decl.shape);
            let cause = format!("tensor \"{name}\" has shape {is:?}, the config asks for {asked:?}");
            return refuse(Fault::Mismatch, cause);
        }
        Ok(name)
    }

    /// Why a tensor is not there.
    fn missing(&self, decl: &Decl) -> Error {
        let own = format!("{}{}", if decl.prefixed { self.layout.prefix } else { "" }, decl.name);
        let refuse = |fault: Fault, cause: String| Error::faulty(self.checkpoint.place(""), fault, cause);
        let quantised = |[end, other]: &[&str; 2]| {
            let name = format!("{}{other}", decl.name.strip_suffix(end)?);
            self.name_of(&Decl { name, ..decl.clone() })
        };
        if let Some(name) = QUANTISED.iter().find_map(quantised) {
            return refuse(Fault::Quantised, format!("has \"{name}\" in place of \"{own}\": quantised"));
        }
        if decl.slot.role == Role::Unembed && decl.slot.part == WeightPart::Weight {
            return refuse(Fault::NoHead, self.without_head(&own));
        }
        let first = self.names().next().map(|(_, name)| format!("; its first is \"{name}\""));
        refuse(Fault::Mismatch, format!("has no tensor \"{own}\"{}", first.unwrap_or_default()))
    }

    /// What is said of a model without the table that makes logits.
    fn without_head(&self, own: &str) -> String {
        let class = self.checkpoint.config().pointer("/architectures/0").and_then(Value::as_str);
        let class =
            class.map(|class| format!(" ({})", class.chars().take(100).collect::<String>().escape_debug()));
        let class = class.unwrap_or_default();
        format!(
            "is a model without a language head{class}: it has no tensor \"{own}\", and config.json does not tie it"
        )
    }

    /// The blocks that tensors are named after.
    pub(super) fn blocks(&self) -> BTreeSet<usize> {
        let forms = self.block_forms();
        self.names().filter_map(|(own, _)| block_of(&forms, own)).collect()
    }

    /// Tensors that are not `used` and do not follow from the config: name in the files, and block.
    pub(super) fn unread(&self, used: &BTreeSet<&str>) -> Vec<(&'a str, Option<usize>)> {
        let forms = self.block_forms();
        let is_buffer = |own: &str| {
            let mut fronts = self.layout.buffers.iter().filter_map(|end| own.strip_suffix(end));
            fronts.any(|front| front.is_empty() || front.ends_with('.'))
        };
        let unread = self.names().filter(|(own, name)| !used.contains(name) && !is_buffer(own));
        unread.map(|(own, name)| (name, block_of(&forms, own))).collect()
    }

    /// What may stand before the number of a block.
    fn block_forms(&self) -> Vec<String> {
        let plain = shortened(self.layout.prefix).map(|rest| format!("{rest}{}.", self.layout.block));
        plain
            .flat_map(|form| {
                [form.clone()].into_iter().chain(respelt(&self.layout, &form)).collect::<Vec<_>>()
            })
            .collect()
    }
}

fn is_wrapper(part: &str) -> bool {
    WRAPPERS.contains(&part)
}

/// A prefix, then without its first part, and so on to none.
fn shortened(prefix: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(prefix), |rest| rest.split_once('.').map(|(_, shorter)| shorter))
}

/// A name as other writers spell it.
fn respelt(layout: &Layout, own: &str) -> impl Iterator<Item = String> {
    let spellings = layout.respelt.iter().filter(|[from, _]| own.contains(from));
    spellings.map(|[from, to]| own.replacen(from, to, 1))
}

/// The block that a name belongs to.
fn block_of(forms: &[String], own: &str) -> Option<usize> {
    forms.iter().find_map(|form| own.strip_prefix(form.as_str())?.split('.').next()?.parse().ok())
}

/// What all names begin with.
fn common_prefix<'a>(names: &'a BTreeMap<String, &str>) -> &'a str {
    let (Some((first, _)), Some((last, _))) = (names.first_key_value(), names.last_key_value()) else {
        return "";
    };
    let same = first.char_indices().zip(last.chars()).take_while(|((_, a), b)| a == b);
    let end = same.last().map_or(0, |((at, c), _)| at + c.len_utf8());
    first.get(..end).unwrap_or_default()
}

/// Numbers as `0 to 9, 11 and 13 to 23`.
pub(super) fn ranges(numbers: &BTreeSet<usize>) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let one = |(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first} to {last}"),
    };
    match runs.split_last() {
        Some((last, [])) => one(last),
        Some((last, before)) => {
            format!("{} and {}", before.iter().map(one).collect::<Vec<_>>().join(", "), one(last))
        }
        None => "none".into(),
    }
}

/// Names for a message, those that differ in numbers as one.
pub(super) fn summary(names: &[&str]) -> String {
    const LISTED: usize = 6;
    let part = |part: &str| if part.parse::<usize>().is_ok() { "N".to_owned() } else { part.to_owned() };
    let pattern = |name: &&str| name.split('.').map(part).collect::<Vec<_>>().join(".");
    let mut counts: BTreeMap<String, (usize, &str)> = BTreeMap::new();
    for name in names {
        counts.entry(pattern(name)).or_insert((0, name)).0 += 1;
    }
    let one = |(pattern, (count, name)): (&String, &(usize, &str))| match count {
        1 => (*name).to_owned(),
        count => format!("{pattern} ({count})"),
    };
    let rest = counts.len().saturating_sub(LISTED);
    let listed = counts.iter().take(LISTED).map(one).collect::<Vec<_>>().join(", ");
    if rest == 0 { listed } else { format!("{listed} and {rest} more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_ranges() {
        let told = |numbers: &[usize]| ranges(&numbers.iter().copied().collect());
        assert_eq!(told(&[0, 1, 2, 4, 6, 7]), "0 to 2, 4 and 6 to 7");
        assert_eq!((told(&[3]), told(&[]), told(&[0, 2])), ("3".into(), "none".into(), "0 and 2".into()));
    }

    #[test]
    fn names_that_differ_in_numbers_are_one() {
        assert_eq!(summary(&["h.0.x", "h.1.x", "v_head.2.weight"]), "h.N.x (2), v_head.2.weight");
        let many: Vec<String> = (b'a'..b'k').map(|letter| char::from(letter).to_string()).collect();
        assert_eq!(
            summary(&many.iter().map(String::as_str).collect::<Vec<_>>()),
            "a, b, c, d, e, f and 4 more"
        );
    }
}
