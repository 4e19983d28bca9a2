//! The list of kinds, and what is asked of an intervention whatever its kind.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::compile::Compiler;
use super::kind::{Fold, Kind};
use super::words;
use super::{
    ablate::Ablate, add::Add, corrupt::Corrupt, experts::Experts, iri::Iri, patch::Patch, route::Route,
    router::Router, scale::Scale, skip::Skip, threshold::Threshold,
};
use crate::error::{Error, Result};
use crate::spec::{Field, Positions};

/// A kind as data, for lists, documents and tests.
pub struct KindInfo {
    /// [`Kind::NAME`]
    pub name: &'static str,
    /// [`Kind::RANK`]
    pub rank: u32,
    /// [`Kind::HELP`]
    pub help: &'static str,
    /// [`Kind::NOTES`]
    pub notes: &'static str,
    /// [`Kind::FIELDS`]
    pub fields: &'static [Field],
    /// [`Kind::ALIASES`]
    pub aliases: &'static [&'static str],
    /// [`Kind::example`], then [`Kind::other_examples`].
    pub examples: fn() -> Vec<Change>,
}

impl KindInfo {
    const fn of<K: Kind>() -> Self
    where
        Change: From<K>,
    {
        Self {
            name: K::NAME,
            rank: K::RANK,
            help: K::HELP,
            notes: K::NOTES,
            fields: K::FIELDS,
            aliases: K::ALIASES,
            examples: || {
                let all = std::iter::once(K::example()).chain(K::other_examples());
                all.map(Change::from).collect()
            },
        }
    }
}

/// The kinds from their types: the enum of plan files, the list of kinds, and the questions that every kind answers.
macro_rules! changes {
    ($($kind:ident),* $(,)?) => {
        /// An intervention of one of the kinds.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        pub enum Change {
            $(#[doc = concat!("See [`", stringify!($kind), "`].")] $kind($kind),)*
        }

        /// Every kind, in the order of effects.
        pub static KINDS: &[KindInfo] = &[$(KindInfo::of::<$kind>()),*];

        $(impl From<$kind> for Change {
            fn from(change: $kind) -> Self {
                Self::$kind(change)
            }
        })*

        impl Change {
            /// Its name in plan files: [`Kind::NAME`].
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$kind(_) => $kind::NAME,)* }
            }

            /// Place in the order of effects: [`Kind::RANK`].
            pub fn rank(&self) -> u32 {
                match self { $(Self::$kind(_) => $kind::RANK,)* }
            }

            /// Its kind's parameters: [`Kind::FIELDS`].
            pub fn fields(&self) -> &'static [Field] {
                match self { $(Self::$kind(_) => $kind::FIELDS,)* }
            }

            /// The files that it names.
            pub fn files(&mut self) -> Vec<&mut PathBuf> {
                match self { $(Self::$kind(change) => change.files(),)* }
            }

            /// One line for the plan stack.
            pub fn summary(&self) -> String {
                match self { $(Self::$kind(change) => change.summary(),)* }
            }

            /// The positions that it changes.
            pub fn positions(&self) -> Positions {
                match self { $(Self::$kind(change) => change.positions(),)* }
            }

            /// What becomes of positions past the prompt, in a few words.
            pub fn past_the_prompt(&self) -> String {
                match self { $(Self::$kind(change) => change.past_the_prompt(),)* }
            }

            /// Whether it takes the FFN of a layer out at a position: [`Kind::takes_out_ffn`].
            pub fn takes_out_ffn(&self, layer: usize, position: usize, len: usize) -> bool {
                match self { $(Self::$kind(change) => change.takes_out_ffn(layer, position, len),)* }
            }

            /// Whether weights can do what it does: [`Kind::fold`].
            pub fn fold(&self) -> Fold {
                match self { $(Self::$kind(change) => change.fold(),)* }
            }

            /// Add what it does to the schedule.
            pub(super) fn compile(&self, compiler: &mut Compiler<'_>, strength: f32) -> Result<()> {
                match self { $(Self::$kind(change) => change.compile(compiler, strength),)* }
            }
        }
    };
}

changes! { Route, Router, Experts, Threshold, Skip, Corrupt, Patch, Ablate, Scale, Add, Iri }

impl Change {
    /// As a plan file has it, with `kind` and every default.
    ///
    /// # Errors
    /// A value that JSON cannot hold.
    pub fn to_value(&self) -> Result<Value> {
        // By way of text, in which 0.1f32 is 0.1.
        let value = serde_json::to_string(self).and_then(|text| serde_json::from_str(&text));
        value.map_err(|error| Error::Plan(error.to_string()))
    }

    /// The same intervention with other values of some parameters.
    ///
    /// # Errors
    /// A value that is none for its parameter.
    pub fn with(&self, values: &[(&Field, Value)]) -> Result<Self> {
        let mut written = self.to_value()?;
        for (field, value) in values {
            let missing = || Error::Plan(format!("this intervention has no {}", field.name));
            *written.pointer_mut(&field.pointer()).ok_or_else(missing)? = value.clone();
        }
        serde_json::from_value(written).map_err(|error| Error::Plan(words::plain(&error)))
    }
}

/// Take a parameter out of what is written; `None` where it is not there.
pub(super) fn remove(written: &mut Value, field: &Field) -> Option<Value> {
    let pointer = field.pointer();
    let (parent, name) = pointer.rsplit_once('/')?;
    written.pointer_mut(parent)?.as_object_mut()?.remove(name)
}

/// The kinds' names in the order in which they apply; those of one place in the order are joined by "and".
pub fn order() -> String {
    let places = KINDS.chunk_by(|a, b| a.rank == b.rank);
    let names = |kinds: &[KindInfo]| kinds.iter().map(|kind| kind.name).collect::<Vec<_>>().join(" and ");
    places.map(names).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_the_order_of_effects_and_names_are_those_of_plan_files() {
        assert!(KINDS.is_sorted_by_key(|kind| kind.rank));
        for kind in KINDS {
            for change in (kind.examples)() {
                assert_eq!(change.to_value().unwrap()["kind"], kind.name);
                assert_eq!(change.rank(), kind.rank);
            }
        }
    }

    /// Take each field out of an example: what is read then is what the list says stands for it.
    #[test]
    fn fields_are_those_of_plan_files_with_their_defaults() {
        for kind in KINDS {
            for change in (kind.examples)() {
                let whole = change.to_value().unwrap();
                for field in kind.fields {
                    let mut written = whole.clone();
                    let had = remove(&mut written, field).is_some();
                    let outer = field.name.split('.').next().unwrap();
                    if field.name != outer && whole.get(outer).is_none() {
                        // Not in this form of the kind.
                        continue;
                    }
                    let default = (field.default)();
                    match serde_json::from_value::<Change>(written) {
                        Ok(read) => {
                            let read = read.to_value().unwrap();
                            let read = field.of(&read).cloned().unwrap_or_default();
                            assert_eq!(read, default, "{}.{}", kind.name, field.name);
                        }
                        Err(error) => assert!(had && default.is_null(), "{}: {error}", field.name),
                    }
                }
                // And there are no others.
                let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
                for name in names(&whole).into_iter().filter(|name| name != "kind") {
                    let known = |field: &Field| field.name.split('.').next() == Some(&name);
                    assert!(kind.fields.iter().any(known), "{}.{name}", kind.name);
                }
            }
        }
    }

    #[test]
    fn parameters_are_changed_by_their_names() {
        let field = |name: &str, fields: &'static [Field]| fields.iter().find(|f| f.name == name).unwrap();
        let lambda = field("attn.lambda", Iri::FIELDS);
        let change: Change = Iri::new(vec![0.5, 0.1], vec![0.2, 0.3]).into();
        let changed = change.with(&[(lambda, 0.7.into())]).unwrap().to_value().unwrap();
        assert_eq!(lambda.of(&changed), Some(&0.7.into()));
        assert_eq!(changed["attn"]["targets"], Value::Null);
        assert!(change.with(&[(lambda, "much".into())]).is_err());
        assert!(change.with(&[(field("factor", Scale::FIELDS), 1.into())]).is_err());
    }
}
