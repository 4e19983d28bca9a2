//! Sites by what a person writes: a name, a glob, a range of layers, a list of these; and what was meant by a name that
//! there is not.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::hint::{hint, layered};
use super::{Hook, Site};
use crate::error::{Error, Result};
use crate::spec::Spec;

/// One or more sites as a plan names them: `blocks.3.hook_mlp_out`, `blocks.*.hook_mlp_out`, `blocks.3..7.hook_mlp_out`
/// (half-open), `blocks.0,2,5..8.hook_mlp_out`, or a list.
#[derive(Clone, Debug, PartialEq)]
pub enum Sites {
    /// One site.
    One(Site),
    /// Every site that a glob or a range of layers matches.
    Pattern(String),
    /// Each of these; an empty list is no site.
    List(Vec<Self>),
}

impl Sites {
    /// The sites of a model, each once, in the order of the pass within each pattern. Fails where a name or pattern
    /// matches none.
    pub fn of(&self, spec: &Spec) -> Result<Vec<Site>> {
        match self {
            Self::One(site) => select(spec, &site.to_string()),
            Self::Pattern(pattern) => select(spec, pattern),
            Self::List(list) => {
                let mut sites = Vec::new();
                for named in list {
                    let new = named.of(spec)?;
                    sites.extend(new.into_iter().filter(|site| !sites.contains(site)).collect::<Vec<_>>());
                }
                Ok(sites)
            }
        }
    }

    /// The site, where it is one by name.
    pub fn one(&self) -> Option<Site> {
        if let Self::One(site) = self { Some(*site) } else { None }
    }
}

impl From<Site> for Sites {
    fn from(site: Site) -> Self {
        Self::One(site)
    }
}

impl fmt::Display for Sites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(site) => site.fmt(f),
            Self::Pattern(pattern) => f.write_str(pattern),
            Self::List(list) if list.is_empty() => f.write_str("no site"),
            Self::List(list) => f.write_str(&list.iter().map(Self::to_string).collect::<Vec<_>>().join(", ")),
        }
    }
}

impl FromStr for Sites {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        if !is_several(name) {
            return name.parse().map(Self::One);
        }
        let (layers, rest) = layered(name).unwrap_or(("0", name));
        let ranges = ranges(layers).ok_or_else(|| unknown(name, None))?;
        if let Some((first, end)) = ranges.iter().find(|(first, end)| first >= end) {
            return Err(empty(name, *first, *end));
        }
        let known = match layered(name) {
            Some(_) => Hook::ALL.into_iter().any(|hook| is_hook(rest, hook)),
            None => any_site().any(|site| is_site(name, site)),
        };
        if known { Ok(Self::Pattern(name.into())) } else { Err(unknown(name, None)) }
    }
}

impl From<Hook> for String {
    fn from(hook: Hook) -> Self {
        hook.name().into()
    }
}

impl TryFrom<String> for Hook {
    type Error = String;

    fn try_from(name: String) -> std::result::Result<Self, String> {
        Self::from_name(&name).ok_or_else(|| format!("there is no site {name:?} in a block"))
    }
}

impl Serialize for Sites {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::List(list) => list.serialize(serializer),
            _ => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Sites {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Sites;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a site, a glob, or a list of them")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Sites, E> {
                name.parse().map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Sites, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element::<String>()? {
                    names.push(name.parse().map_err(de::Error::custom)?);
                }
                Ok(Sites::List(names))
            }
        }
        deserializer.deserialize_any(Names)
    }
}

/// The sites of a model that a name, an alias, a glob or a range of layers matches, in the order of the pass. In globs `*`
/// stands for any characters (dots too), `?` for one.
pub(super) fn select(spec: &Spec, pattern: &str) -> Result<Vec<Site>> {
    let all = Site::all(spec);
    let found: Vec<Site> = match layered(pattern) {
        Some((layers, rest)) => {
            let ranges = ranges(layers).ok_or_else(|| unknown(pattern, Some(spec)))?;
            if let Some((first, end)) = ranges.iter().find(|(first, end)| first >= end) {
                return Err(empty(pattern, *first, *end));
            }
            let open = |(first, end): (usize, usize)| match end {
                usize::MAX => (first, spec.n_layers().max(first + 1)),
                end => (first, end),
            };
            let ranges: Vec<(usize, usize)> = ranges.into_iter().map(open).collect();
            if ranges.iter().any(|&(_, end)| end > spec.n_layers()) {
                let last = spec.n_layers().saturating_sub(1);
                let hint = format!(": this model has layers 0 to {last}");
                return Err(Error::Site { pattern: pattern.into(), hint });
            }
            let inside = |layer: usize| ranges.iter().any(|(first, end)| (*first..*end).contains(&layer));
            let named = |site: &Site| match *site {
                Site::Block { layer, hook } => inside(layer) && is_hook(rest, hook),
                _ => false,
            };
            all.into_iter().filter(named).collect()
        }
        None => {
            let found: Vec<Site> =
                all.iter().copied().filter(|site| glob(pattern, &site.to_string())).collect();
            match found.is_empty() {
                true => all.into_iter().filter(|&site| is_site(pattern, site)).collect(),
                false => found,
            }
        }
    };
    if found.is_empty() { Err(unknown(pattern, Some(spec))) } else { Ok(found) }
}

/// Why nothing is called so, for a model or in general.
pub(super) fn unknown(pattern: &str, spec: Option<&Spec>) -> Error {
    Error::Site { pattern: pattern.into(), hint: hint(pattern, spec) }
}

fn empty(pattern: &str, first: usize, end: usize) -> Error {
    let hint = format!(": {first}..{end} is no layer (ranges leave out their end)");
    Error::Site { pattern: pattern.into(), hint }
}

/// Whether a name is written as one of several sites: with a glob, or a range of layers.
pub(super) fn is_several(name: &str) -> bool {
    name.contains(['*', '?']) || layered(name).is_some_and(|(layers, _)| !is_number(layers))
}

fn is_number(layers: &str) -> bool {
    layers.bytes().all(|byte| byte.is_ascii_digit())
}

/// Half-open ranges of layers; an open end is `usize::MAX`.
fn ranges(layers: &str) -> Option<Vec<(usize, usize)>> {
    let bound = |text: &str, default: usize| match text {
        "" => Some(default),
        text => text.parse().ok(),
    };
    let range = |part: &str| match part.split_once("..") {
        Some((first, end)) => Some((bound(first, 0)?, bound(end, usize::MAX)?)),
        None => part.parse().ok().map(|layer: usize| (layer, layer.saturating_add(1))),
    };
    layers.split(',').map(range).collect()
}

/// Whether a name or glob after `blocks.N.` is this hook's, by one of its names.
fn is_hook(name: &str, hook: Hook) -> bool {
    glob(name, hook.name()) || Hook::from_name(name) == Some(hook)
}

/// Whether a name or glob is this site's, by one of its names.
fn is_site(name: &str, site: Site) -> bool {
    let alias = |alias: &str| match site {
        Site::Block { layer, .. } => glob(name, &format!("blocks.{layer}.{alias}")),
        _ => glob(name, alias),
    };
    glob(name, &site.to_string()) || site.aliases().iter().any(|name| alias(name))
}

/// Every site of two blocks, whatever the model.
fn any_site() -> impl Iterator<Item = Site> {
    let blocks = [0, 11].into_iter().flat_map(|layer| Hook::ALL.map(|hook| Site::block(layer, hook)));
    [Site::Embed, Site::PosEmbed, Site::FinalScale, Site::FinalNormalized].into_iter().chain(blocks)
}

/// `*` = any characters, `?` = one character.
fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == b'?' || Some(&c) == name.get(n) => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((star_p, star_n)) = star else { return false };
                star = Some((star_p, star_n + 1));
                (p, n) = (star_p + 1, star_n + 1);
            }
        }
    }
    pattern.get(p..).is_none_or(|rest| rest.iter().all(|&c| c == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        assert!(glob("*.hook_resid_post", "blocks.3.hook_resid_post"));
        assert!(glob("blocks.?.mlp.*", "blocks.3.mlp.hook_pre"));
        assert!(!glob("blocks.?.mlp.*", "blocks.13.mlp.hook_pre"));
        assert!(glob("*", ""));
        assert!(!glob("hook_embed", "hook_embed2"));
    }

    #[test]
    fn layers_are_numbers_and_half_open_ranges() {
        let parts = |name| layered(name).and_then(|(layers, rest)| Some((ranges(layers)?, rest)));
        assert_eq!(parts("blocks.3.attn.hook_z"), Some((vec![(3, 4)], "attn.hook_z")));
        assert_eq!(parts("blocks.3..7.attn.hook_z"), Some((vec![(3, 7)], "attn.hook_z")));
        assert_eq!(parts("blocks.3...attn.hook_z"), Some((vec![(3, usize::MAX)], "attn.hook_z")));
        assert_eq!(parts("blocks...7.hook_*"), Some((vec![(0, 7)], "hook_*")));
        assert_eq!(parts("blocks.1,4..6.hook_in"), Some((vec![(1, 2), (4, 6)], "hook_in")));
        for name in ["blocks.*.hook_in", "blocks.3", "hook_embed", "blocks..hook_in", "blocks.3,.hook_in"] {
            assert_eq!(parts(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_one_site_and_what_is_a_pattern() {
        let read = |name: &str| name.parse::<Sites>();
        let site = Site::block(3, Hook::Z);
        assert_eq!(read("blocks.3.attn.hook_z").unwrap().one(), Some(site));
        assert!(matches!(read("blocks.*.hook_out"), Ok(Sites::Pattern(_))), "an alias in a glob");
        assert!(matches!(read("*.hook_resid_post"), Ok(Sites::Pattern(_))));
        for name in ["blocks.*.hook_Z", "blocks.5..5.attn.hook_z", "blocks.7..3.attn.hook_z", "nothing*"] {
            assert!(read(name).is_err(), "{name}");
        }
    }
}
