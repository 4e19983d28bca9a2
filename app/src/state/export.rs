//! How figures leave the program.

use serde::{Deserialize, Serialize};
use sluice_core::figure::{Format, Ground, Sheet};

/// What is written of a figure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExportChoice {
    /// Kinds of file, in the order of menus.
    pub formats: Vec<Format>,
    /// Colours, width and pixels.
    pub sheet: Sheet,
}

impl Default for ExportChoice {
    /// A page's width in print.
    fn default() -> Self {
        let formats = vec![Format::Svg, Format::Png, Format::Csv];
        Self { formats, sheet: Sheet { ground: Ground::Print, width: Some(170), dpi: 300 } }
    }
}

impl ExportChoice {
    /// `SVG, PNG and CSV`
    pub fn kinds(&self) -> String {
        let names: Vec<String> =
            self.formats.iter().map(|format| format.extension().to_uppercase()).collect();
        match names.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, before)) => format!("{} and {last}", before.join(", ")),
            None => "nothing".into(),
        }
    }
}
