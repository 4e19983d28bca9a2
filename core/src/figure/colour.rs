//! Value to colour, the same on the screen and in the files. All colours are sRGB.

use serde::{Deserialize, Serialize};

use super::{Map, Scale};

/// An sRGB colour.
pub type Rgb = [u8; 3];

/// Fills of classes, by name; the same on both grounds.
pub mod fill {
    use super::Rgb;

    /// Small in its place.
    pub const TEAL: Rgb = [0x2F, 0xA3, 0x9A];
    /// Left out, others stay.
    pub const GREY: Rgb = [0x8A, 0x95, 0xA5];
}

/// What a figure is drawn on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ground {
    /// Near-black.
    Dark,
    /// White.
    #[default]
    Light,
    /// White with black text and lines that a printer keeps.
    Print,
}

impl Ground {
    /// All of them, in the order of menus.
    pub const ALL: [Self; 3] = [Self::Print, Self::Light, Self::Dark];

    /// Name in menus and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dark => "dark",
            Self::Light => "light",
            Self::Print => "print",
        }
    }
}

/// Colours by role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Palette {
    /// Behind everything.
    pub ground: Rgb,
    /// Behind a figure.
    pub panel: Rgb,
    /// Behind what stands out from the panel.
    pub raised: Rgb,
    /// Separators and frames.
    pub line: Rgb,
    /// Text.
    pub text: Rgb,
    /// Text that may be overlooked.
    pub quiet: Rgb,
    /// The one accent.
    pub accent: Rgb,
    /// Stripes over missing cells.
    pub hatch: Rgb,
    /// Anchors of the signed scale from its lower end to its upper end; the middle is 0, and differs from the ground.
    diverging: [Rgb; 5],
    /// Curves, in order.
    series: [Rgb; 7],
}

const DARK: Palette = Palette {
    ground: [0x0E, 0x11, 0x16],
    panel: [0x15, 0x1A, 0x21],
    raised: [0x1C, 0x22, 0x2B],
    line: [0x2A, 0x32, 0x3D],
    text: [0xD7, 0xDE, 0xE8],
    quiet: [0x8A, 0x95, 0xA5],
    accent: [0x6A, 0xA9, 0xFF],
    hatch: [0x5C, 0x67, 0x76],
    diverging: [
        [0xA6, 0xD2, 0xFF],
        [0x2E, 0x74, 0xC4],
        [0x23, 0x2A, 0x34],
        [0xBE, 0x66, 0x12],
        [0xFF, 0xC8, 0x8A],
    ],
    series: [
        [0x6A, 0xA9, 0xFF],
        [0xF0, 0xA0, 0x40],
        [0x35, 0xC4, 0xA0],
        [0xE5, 0x8B, 0xC0],
        [0xE6, 0xD2, 0x5A],
        [0xB0, 0xBC, 0xCC],
        [0xFF, 0x80, 0x66],
    ],
};

const LIGHT: Palette = Palette {
    ground: [0xF7, 0xF8, 0xFA],
    panel: [0xFF, 0xFF, 0xFF],
    raised: [0xEE, 0xF1, 0xF5],
    line: [0xD5, 0xDB, 0xE3],
    text: [0x1B, 0x22, 0x2C],
    quiet: [0x5B, 0x66, 0x75],
    accent: [0x1F, 0x6F, 0xEB],
    hatch: [0xA9, 0xB3, 0xC0],
    diverging: [
        [0x08, 0x3F, 0x8C],
        [0x6B, 0xA9, 0xE0],
        [0xE3, 0xE7, 0xEC],
        [0xF3, 0x9B, 0x4E],
        [0x9C, 0x40, 0x00],
    ],
    series: [
        [0x1F, 0x6F, 0xEB],
        [0xD5, 0x5E, 0x00],
        [0x00, 0x8A, 0x66],
        [0xB8, 0x4E, 0x8C],
        [0x8A, 0x6D, 0x00],
        [0x5B, 0x66, 0x75],
        [0xC0, 0x2F, 0x2F],
    ],
};

/// Curves differ in lightness too, for what is copied in grey.
const PRINT: Palette = Palette {
    ground: [0xFF, 0xFF, 0xFF],
    panel: [0xFF, 0xFF, 0xFF],
    raised: [0xF0, 0xF0, 0xF0],
    line: [0xB4, 0xB4, 0xB4],
    text: [0x00, 0x00, 0x00],
    quiet: [0x3C, 0x3C, 0x3C],
    accent: [0x00, 0x50, 0xA0],
    hatch: [0x80, 0x80, 0x80],
    diverging: LIGHT.diverging,
    series: [
        [0x00, 0x50, 0xA0],
        [0xD5, 0x5E, 0x00],
        [0x00, 0x00, 0x00],
        [0x00, 0x9E, 0x73],
        [0xA0, 0x3C, 0x78],
        [0x78, 0x78, 0x78],
        [0x8A, 0x6D, 0x00],
    ],
};

/// Every 17th of the 256 entries of cividis (Nuñez, Anderton, Renslow 2018, doi 10.1371/journal.pone.0199239);
/// straight lines between them stay within 1 % of the table.
const CIVIDIS: [Rgb; 16] = [
    [0, 34, 78],
    [0, 46, 108],
    [30, 58, 111],
    [53, 69, 108],
    [71, 81, 108],
    [87, 93, 109],
    [102, 105, 112],
    [117, 117, 117],
    [132, 130, 121],
    [148, 142, 119],
    [165, 156, 116],
    [183, 169, 110],
    [200, 184, 102],
    [219, 199, 90],
    [238, 214, 73],
    [254, 232, 56],
];

/// Where magnitudes begin on cividis: below, they would be lost on the dark ground.
const LOWEST: f32 = 0.15;

impl Ground {
    /// The colours of this ground.
    pub const fn palette(self) -> &'static Palette {
        match self {
            Self::Dark => &DARK,
            Self::Light => &LIGHT,
            Self::Print => &PRINT,
        }
    }
}

impl Palette {
    /// Colour of the curve with this index; repeats after seven.
    pub fn series(&self, index: usize) -> Rgb {
        self.series[index % self.series.len()]
    }
}

/// Colour of a value. Values past the ends take the end's colour; `None` for NaN, for a value that is no class, and
/// for a class without a colour ([`Scale::misses`] tells the last from the others).
pub fn rgb(scale: &Scale, value: f32, ground: Ground) -> Option<Rgb> {
    if value.is_nan() {
        return None;
    }
    let palette = ground.palette();
    match scale {
        Scale::Sequential { min, max } => {
            Some(along(&CIVIDIS, LOWEST + (1.0 - LOWEST) * fraction(value, *min, *max)))
        }
        Scale::Diverging { max_abs } => Some(along(&palette.diverging, fraction(value, -max_abs, *max_abs))),
        Scale::Attention => Some(along(&[palette.diverging[2], palette.accent], fraction(value, 0.0, 1.0))),
        Scale::Root => rgb(&Scale::Attention, value.max(0.0).sqrt(), ground),
        Scale::Classes(_) => scale.class(value)?.rgb,
    }
}

/// Texture of a map, one pixel per cell: `rows * cols * 4` bytes, row-major RGBA without transparency. Missing cells
/// are striped along the diagonals of the map, empty ones finely so, and neither takes a colour of a scale.
pub fn rgba_image(map: &Map, ground: Ground) -> Vec<u8> {
    let palette = ground.palette();
    image(map, ground, |row, col, value| {
        let (missing, phase) = (map.scale.misses(value), row + col);
        let [r, g, b] = match (missing, phase % 3 == 0, phase % 4 == 0) {
            (true, true, _) => palette.hatch,
            (true, false, _) => palette.raised,
            (false, _, true) => palette.line,
            (false, _, false) => palette.panel,
        };
        [r, g, b, 255]
    })
}

/// Like [`rgba_image`], with missing and empty cells transparent, for whoever marks them.
pub fn transparent_image(map: &Map, ground: Ground) -> Vec<u8> {
    image(map, ground, |_, _, _| [0; 4])
}

fn image(map: &Map, ground: Ground, colourless: impl Fn(usize, usize, f32) -> [u8; 4]) -> Vec<u8> {
    let (rows, cols) = map.shape();
    let cell = |row, col| {
        let value = map.value(row, col);
        match rgb(&map.scale, value, ground) {
            Some([r, g, b]) => [r, g, b, 255],
            None => colourless(row, col, value),
        }
    };
    (0..rows)
        .flat_map(|row| (0..cols).map(move |col| (row, col)))
        .flat_map(|(row, col)| cell(row, col))
        .collect()
}

/// Near-black or white, whichever stands out more from the colour behind it (contrast ratio of WCAG 2).
pub fn ink(behind: Rgb) -> Rgb {
    let [dark, light] = [DARK.ground, [255; 3]];
    if contrast(dark, behind) >= contrast(light, behind) { dark } else { light }
}

/// Contrast of two colours, from 1 to 21 (WCAG 2.2).
pub fn contrast(a: Rgb, b: Rgb) -> f32 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

/// Relative luminance of WCAG 2, 0 to 1.
pub fn luminance(colour: Rgb) -> f32 {
    let [r, g, b] = colour.map(|byte| {
        let part = f32::from(byte) / 255.0;
        if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

/// `#rrggbb`.
pub fn hex([r, g, b]: Rgb) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Where a value lies between both ends, 0 to 1; a scale without extent answers by side.
fn fraction(value: f32, min: f32, max: f32) -> f32 {
    if value <= min && value < max {
        0.0
    } else if value >= max && value > min {
        1.0
    } else if max > min {
        // In f64 the distance between the ends of f32 cannot overflow.
        ((f64::from(value) - f64::from(min)) / (f64::from(max) - f64::from(min))) as f32
    } else {
        0.5
    }
}

/// Colour at `t` (0 to 1) of evenly spaced anchors.
fn along(anchors: &[Rgb], t: f32) -> Rgb {
    let steps = anchors.len() - 1;
    let place = t.clamp(0.0, 1.0) * steps as f32;
    let low = (place as usize).min(steps.saturating_sub(1));
    let part = place - low as f32;
    let (from, to) = (anchors[low], anchors[(low + 1).min(steps)]);
    std::array::from_fn(|i| {
        (f32::from(from[i]) + part * (f32::from(to[i]) - f32::from(from[i]))).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::samples;

    const BOTH: [Ground; 2] = [Ground::Dark, Ground::Light];

    #[test]
    fn ends_of_each_scale() {
        let sequential = Scale::Sequential { min: -1.0, max: 3.0 };
        for ground in BOTH {
            let lowest = Some(along(&CIVIDIS, LOWEST));
            assert_eq!(rgb(&sequential, -1.0, ground), lowest);
            assert_eq!(rgb(&sequential, f32::NEG_INFINITY, ground), lowest);
            assert_eq!(rgb(&sequential, f32::INFINITY, ground), Some([254, 232, 56]));
            assert_eq!(rgb(&sequential, f32::NAN, ground), None);
            let diverging = Scale::Diverging { max_abs: 2.0 };
            let [r, _, b] = rgb(&diverging, -1.0, ground).unwrap_or_default();
            assert!(b > r, "negative is blue");
            let [r, _, b] = rgb(&diverging, 1.0, ground).unwrap_or_default();
            assert!(r > b, "positive is orange");
        }
        for ground in BOTH {
            let [zero, least] = [Scale::Diverging { max_abs: 2.0 }, Scale::Sequential { min: 0.0, max: 1.0 }]
                .map(|scale| rgb(&scale, 0.0, ground).map(luminance).unwrap_or_default());
            let (bare, panel) = (luminance(ground.palette().ground), luminance(ground.palette().panel));
            for value in [zero, least] {
                assert!((value - bare).abs() > 0.01 && (value - panel).abs() > 0.01, "{ground:?}: {value}");
            }
        }
        assert_eq!(rgb(&Scale::Attention, 1.0, Ground::Light), Some(LIGHT.accent));
        assert_eq!(rgb(&Scale::Root, 0.25, Ground::Light), rgb(&Scale::Attention, 0.5, Ground::Light));
    }

    #[test]
    fn cividis_never_gets_darker() {
        let scale = Scale::Sequential { min: 0.0, max: 1.0 };
        let steps: Vec<f32> =
            (0..=200).filter_map(|i| rgb(&scale, i as f32 / 200.0, Ground::Light)).map(luminance).collect();
        assert_eq!(steps.len(), 201);
        assert!(steps.windows(2).all(|pair| pair[0] <= pair[1] + 0.003));
        // Entry 128 of the published table.
        let middle = along(&CIVIDIS, 128.0 / 255.0);
        assert!(middle.iter().zip([125_u8, 124, 120]).all(|(a, b)| a.abs_diff(b) <= 2), "{middle:?}");
    }

    #[test]
    fn a_scale_without_extent_has_a_colour() {
        for scale in [Scale::Sequential { min: 2.0, max: 2.0 }, Scale::Diverging { max_abs: 0.0 }] {
            for value in [-1.0, 0.0, 2.0, 5.0] {
                assert!(rgb(&scale, value, Ground::Light).is_some());
            }
        }
        let wide = Scale::Sequential { min: f32::MIN, max: f32::MAX };
        assert_eq!(rgb(&wide, 0.0, Ground::Light), Some(along(&CIVIDIS, LOWEST + (1.0 - LOWEST) * 0.5)));
    }

    #[test]
    fn only_indices_are_classes() {
        let scale = samples::routes();
        assert_eq!(rgb(&scale, 1.0, Ground::Light), Some(fill::TEAL));
        for value in [-1.0, 0.5, 99.0, f32::INFINITY] {
            assert!(rgb(&scale, value, Ground::Light).is_none() && scale.misses(value));
        }
        assert!(rgb(&scale, 2.0, Ground::Light).is_none() && !scale.misses(2.0), "empty is not missing");
    }

    #[test]
    fn missing_cells_are_striped_in_colours_of_no_scale() {
        let map = samples::missing(6, 6);
        for ground in BOTH {
            let image = rgba_image(&map, ground);
            assert_eq!(image.len(), 6 * 6 * 4);
            let palette = ground.palette();
            let striped = [palette.hatch, palette.raised];
            assert!(
                image
                    .chunks(4)
                    .all(|pixel| striped.iter().any(|colour| pixel[..3] == *colour) && pixel[3] == 255)
            );
            assert!(striped.iter().all(|colour| image.chunks(4).any(|pixel| pixel[..3] == *colour)));
        }
    }

    #[test]
    fn ink_is_legible_on_every_colour_of_every_scale() {
        for ground in BOTH {
            for (scale, low) in [
                (Scale::Sequential { min: -1.0, max: 1.0 }, -1.0),
                (Scale::Diverging { max_abs: 1.0 }, -1.0),
                (Scale::Attention, 0.0),
                (Scale::Root, 0.0),
            ] {
                for step in 0..=50 {
                    let value = low + (1.0 - low) * step as f32 / 50.0;
                    let behind = rgb(&scale, value, ground).unwrap_or_default();
                    let (a, b) = (luminance(ink(behind)), luminance(behind));
                    assert!((a.max(b) + 0.05) / (a.min(b) + 0.05) >= 4.0, "{behind:?}");
                }
            }
        }
    }
}
