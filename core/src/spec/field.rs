//! Parameters as data: what a control of the window, a flag of the command line and a line of the documentation are made
//! from.

use serde_json::Value;

/// Parameter of a method or of an intervention kind, as data.
pub struct Field {
    /// Name in JSON and on the command line; `outer.inner` for one inside an object.
    pub name: &'static str,
    /// Type.
    pub kind: FieldKind,
    /// Least value that a control offers.
    pub min: Option<f64>,
    /// Greatest value that a control offers.
    pub max: Option<f64>,
    /// Unit; empty where it has none.
    pub unit: &'static str,
    /// One line: what it does.
    pub help: &'static str,
    /// Value where it is left out; `null` where nothing stands for it.
    pub default: fn() -> Value,
}

/// Type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Whole number.
    Int,
    /// Number.
    Float,
    /// Switch.
    Bool,
    /// One of these names.
    Enum(&'static [&'static str]),
    /// Text.
    Text,
    /// Token that is followed: a text, or `id:` and a number.
    Answer,
    /// Path of a file.
    File,
    /// Name of a site.
    Site,
    /// Positions of a sequence.
    Positions,
    /// JSON of another shape, which the help describes.
    Other,
}

impl FieldKind {
    /// In documents.
    pub fn name(self) -> String {
        match self {
            Self::Int => "whole number".into(),
            Self::Float => "number".into(),
            Self::Bool => "true or false".into(),
            Self::Enum(names) => {
                names.iter().map(|name| format!("`\"{name}\"`")).collect::<Vec<_>>().join(" or ")
            }
            Self::Text => "text".into(),
            Self::Answer => "token".into(),
            Self::File => "path".into(),
            Self::Site => "site".into(),
            Self::Positions => "positions".into(),
            Self::Other => "JSON".into(),
        }
    }
}

impl Field {
    /// A parameter without range, unit and default.
    pub const fn new(name: &'static str, kind: FieldKind, help: &'static str) -> Self {
        Self { name, kind, min: None, max: None, unit: "", help, default: || Value::Null }
    }

    /// The same with a range.
    pub const fn range(self, min: f64, max: f64) -> Self {
        Self { min: Some(min), max: Some(max), ..self }
    }

    /// The same with a unit.
    pub const fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// The same with a default.
    pub const fn or(self, default: fn() -> Value) -> Self {
        Self { default, ..self }
    }

    /// What a person may give it, for a next step: `a whole number from 1 on`.
    pub fn wanted(&self) -> String {
        let range = match (self.kind, self.min, self.max) {
            (FieldKind::Int | FieldKind::Float, Some(min), Some(max)) => format!(" from {min} to {max}"),
            (FieldKind::Int | FieldKind::Float, Some(min), None) => format!(" from {min} on"),
            (FieldKind::Int, None, _) => " from 0 on".into(),
            _ => String::new(),
        };
        match self.kind {
            FieldKind::Int => format!("a whole number{range}"),
            FieldKind::Float => format!("a number{range}"),
            FieldKind::Bool => "true or false".into(),
            FieldKind::Enum(names) => format!("one of {}", names.join(", ")),
            FieldKind::Answer => "a text, or id: and a token's number such as id:26".into(),
            FieldKind::Text | FieldKind::File => "a text".into(),
            FieldKind::Site => "the name of a site".into(),
            FieldKind::Positions | FieldKind::Other => format!("another value: {}", self.help),
        }
    }

    /// Its value in JSON; `None` where it is left out.
    pub fn of<'a>(&self, written: &'a Value) -> Option<&'a Value> {
        written.pointer(&self.pointer())
    }

    /// Its place in JSON, as a pointer (RFC 6901).
    pub fn pointer(&self) -> String {
        format!("/{}", self.name.replace('.', "/"))
    }
}
