//! Parameters as data: what a control of the window, a flag of the command line and a line of the documentation are made
//! from.

/// Parameter of a method or of an intervention kind, as data.
pub struct Field {
    /// Name in JSON and on the command line.
    pub name: &'static str,
    /// Type.
    pub kind: FieldKind,
    /// Least value.
    pub min: Option<f64>,
    /// Greatest value.
    pub max: Option<f64>,
    /// Unit; empty where it has none.
    pub unit: &'static str,
    /// One line: what it does.
    pub help: &'static str,
    /// Value where it is left out; `null` where it has to be given.
    pub default: fn() -> serde_json::Value,
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
    /// Path of a file.
    File,
    /// Name of a site.
    Site,
    /// Positions of the prompt.
    Positions,
    /// JSON of another shape.
    Other,
}
