//! Parameters of a method, declared once: the struct, its JSON, defaults, ranges, units and help come from one [`params!`]
//! block; flags, controls and docs are made of its [`Field`]s.
//!
//! A macro of our own, because what is needed is a typed table that is known at compile time: schemars and facet describe a
//! type at run time and leave ranges, units and flags to be dug out of a schema, clap's derive knows the command line alone.

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::spec::{Field, FieldKind};

/// Parameters by name, as JSON: what windows, scripts and findings exchange.
pub type Ask = Map<String, Value>;

/// Parameters of a method as a type.
pub trait Params: Serialize + DeserializeOwned + Default {
    /// All of them, in the order shown.
    const FIELDS: &'static [Field];
}

/// A type that a parameter can have.
pub trait Parameter: Serialize {
    /// How it is written and chosen.
    const KIND: FieldKind;
}

macro_rules! kinds {
    ($($kind:ident: $($type:ty),+;)+) => {
        $($(impl Parameter for $type { const KIND: FieldKind = FieldKind::$kind; })+)+
    };
}

kinds! {
    Int: u8, u32, u64, usize;
    Float: f32, f64;
    Bool: bool;
    Text: String;
    Answer: crate::engine::Answer;
    File: PathBuf;
}

/// `None` is `null`: decided when the method starts; help says how.
impl<T: Parameter> Parameter for Option<T> {
    const KIND: FieldKind = T::KIND;
}

/// All parameters with the defaults filled in.
///
/// # Errors
/// A name that is no parameter, a value of another type, or one out of its range.
pub fn complete(fields: &[Field], ask: &Ask) -> Result<Ask> {
    if let Some(name) = ask.keys().find(|name| fields.iter().all(|field| field.name != name.as_str())) {
        let known: Vec<&str> = fields.iter().map(|field| field.name).collect();
        return Err(Error::Study(format!("{name} is no parameter here, those are: {}", known.join(", "))));
    }
    let mut all = Ask::new();
    for field in fields {
        let value = ask.get(field.name).cloned().unwrap_or_else(field.default);
        check(field, &value)?;
        all.insert(field.name.to_owned(), value);
    }
    Ok(all)
}

/// Parameters as their type.
///
/// # Errors
/// As [`complete`].
pub fn read<P: Params>(ask: &Ask) -> Result<P> {
    let all = complete(P::FIELDS, ask)?;
    serde_json::from_value(Value::Object(all)).map_err(|error| Error::Study(format!("parameters: {error}")))
}

fn check(field: &Field, value: &Value) -> Result<()> {
    let wrong = |want: &str| {
        let next_step = format!("give {} {}", field.name, field.wanted());
        Err(Error::asked(format!("{} = {value}: {want}", field.name), &next_step))
    };
    if value.is_null() {
        // What has no null fails when it is read.
        return Ok(());
    }
    match field.kind {
        FieldKind::Int if !value.is_u64() => return wrong("a whole number is needed"),
        FieldKind::Float if !value.is_number() => return wrong("a number is needed"),
        FieldKind::Bool if !value.is_boolean() => return wrong("true or false is needed"),
        FieldKind::Enum(names) if value.as_str().is_none_or(|name| !names.contains(&name)) => {
            return wrong(&format!("one of {} is needed", names.join(", ")));
        }
        FieldKind::Text | FieldKind::File if !value.is_string() => return wrong("a text is needed"),
        // A plain number is an id, as it was written before texts were.
        FieldKind::Answer if !(value.is_string() || value.is_u64()) => {
            return wrong("a text, or id: and a number, is needed");
        }
        FieldKind::Answer if value.as_str().is_some_and(|text| !is_answer(text)) => {
            return wrong("id: is followed by a token's number");
        }
        // A number here is a token's name, not an amount.
        FieldKind::Answer => return Ok(()),
        _ => {}
    }
    let Some(number) = value.as_f64() else { return Ok(()) };
    match (field.min, field.max) {
        (Some(min), Some(max)) if !(min..=max).contains(&number) => {
            wrong(&format!("it goes from {min} to {max}"))
        }
        (Some(min), None) if number < min => wrong(&format!("it is {min} or more")),
        _ => Ok(()),
    }
}

/// Whether a text is no id that lacks its number.
fn is_answer(text: &str) -> bool {
    text.strip_prefix("id:").is_none_or(|id| id.parse::<u32>().is_ok())
}

/// The one value of a list, where it has one.
pub(crate) const fn first(values: &[f64]) -> Option<f64> {
    match values {
        [value, ..] => Some(*value),
        [] => None,
    }
}

/// Declare the parameters of a method:
/// `/// help` `name: Type = default, in min..=max, unit "σ";`, where range and unit may be left out.
macro_rules! params {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(
                #[doc = $help:literal]
                $field:ident: $type:ty = $default:expr
                    $(, in $min:literal..=$max:literal)? $(, from $least:literal)? $(, unit $unit:literal)?;
            )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $(#[doc = $help] pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $crate::method::Params for $name {
            const FIELDS: &'static [$crate::spec::Field] = &[$($crate::spec::Field {
                name: stringify!($field),
                kind: <$type as $crate::method::Parameter>::KIND,
                min: $crate::method::params::first(&[$($min as f64,)? $($least as f64,)?]),
                max: $crate::method::params::first(&[$($max as f64,)?]),
                unit: concat!($($unit)?),
                help: $help.trim_ascii_start(),
                default: || ::serde_json::to_value($name::default().$field).unwrap_or_default(),
            },)*];
        }
    };
}

/// Declare a parameter that is one of a few names: `/// help` `Variant = "name",`; the first is the default.
macro_rules! choices {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $(#[doc = $help:literal] $variant:ident = $text:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ::serde::Serialize, ::serde::Deserialize)]
        pub enum $name {
            $(#[doc = $help] #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// All of them, in the order shown.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Name in JSON and flags.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::ALL[0]
            }
        }

        impl $crate::method::Parameter for $name {
            const KIND: $crate::spec::FieldKind = $crate::spec::FieldKind::Enum(&[$($text,)+]);
        }
    };
}

pub(crate) use {choices, params};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    choices! {
        /// Of a test.
        pub enum Which {
            /// One
            One = "one",
            /// Two
            Two = "two",
        }
    }

    params! {
        /// Of a test.
        pub struct Sample {
            /// Noise
            sigma: f32 = 3.0, in 0.0..=10.0, unit "σ";
            /// Layers
            window: usize = 1, from 1;
            /// Which
            which: Which = Which::One;
            /// Token
            count: Option<u64> = None;
        }
    }

    fn ask(value: Value) -> Ask {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn one_declaration_gives_defaults_ranges_and_names() {
        let all = complete(Sample::FIELDS, &ask(json!({"which": "two"}))).unwrap();
        assert_eq!(Value::Object(all), json!({"sigma": 3.0, "window": 1, "which": "two", "count": null}));
        let read: Sample = read(&ask(json!({"count": 7}))).unwrap();
        assert_eq!(read, Sample { count: Some(7), ..Sample::default() });
        assert_eq!((read.which.name(), Which::Two.name()), ("one", "two"));
        let sigma = &Sample::FIELDS[0];
        assert_eq!((sigma.min, sigma.max, sigma.unit, sigma.help), (Some(0.0), Some(10.0), "σ", "Noise"));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (value, needle) in [
            (json!({"sigma": 11.0}), "from 0 to 10"),
            (json!({"window": 0}), "1 or more"),
            (json!({"window": 1.5}), "whole number"),
            (json!({"which": "three"}), "one, two"),
            (json!({"sgima": 1.0}), "sgima is no parameter"),
            (json!({"sigma": null}), "parameters"),
        ] {
            let error = read::<Sample>(&ask(value)).unwrap_err().to_string();
            assert!(error.contains(needle), "{error}");
        }
    }
}
