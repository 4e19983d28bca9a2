//! How a figure lies in its file: what it is drawn on, how wide, how finely.

use serde::{Deserialize, Serialize};

use super::Ground;

/// CSS pixels of an inch and of a millimetre.
const INCH: f32 = 96.0;
const MM: f64 = 96.0 / 25.4;
/// Widths that can be asked for, mm: a narrow column to a poster.
pub const WIDTHS: std::ops::RangeInclusive<u16> = 40..=2000;
/// Pixels of an inch that can be asked for.
pub const DPI: std::ops::RangeInclusive<u16> = 48..=1200;

/// What a figure is drawn on and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sheet {
    /// Colours.
    pub ground: Ground,
    /// Width in mm, within [`WIDTHS`]; none = what the figure needs.
    pub width: Option<u16>,
    /// Pixels of an inch of a PNG, within [`DPI`].
    pub dpi: u16,
}

impl Default for Sheet {
    fn default() -> Self {
        Ground::default().into()
    }
}

impl From<Ground> for Sheet {
    /// As large as the figure needs, two pixels for one of the screen.
    fn from(ground: Ground) -> Self {
        Self { ground, width: None, dpi: 192 }
    }
}

impl Sheet {
    /// Pixels of a PNG for a CSS pixel.
    pub fn scale(self) -> f32 {
        f32::from(self.dpi.clamp(*DPI.start(), *DPI.end())) / INCH
    }

    /// Width in CSS pixels; endless where the figure takes what it needs.
    pub fn pixels(self) -> f64 {
        self.millimetres().map_or(f64::INFINITY, |mm| mm * MM)
    }

    /// Width in mm.
    pub fn millimetres(self) -> Option<f64> {
        self.width.map(|width| f64::from(width.clamp(*WIDTHS.start(), *WIDTHS.end())))
    }
}
