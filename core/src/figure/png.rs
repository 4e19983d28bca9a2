//! A figure as pixels: its SVG, rasterised with two embedded fonts, so that it looks the same on every machine.

use std::sync::{Arc, OnceLock};

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder as _};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{Options, Tree};
use resvg::{tiny_skia, usvg};

use super::{Figure, Sheet, svg};
use crate::error::{Error, Result};

/// Longest side in pixels.
pub const LONGEST_SIDE: u32 = 16_384;
/// Most pixels, 512 MiB of memory.
const MOST_PIXELS: u64 = 1 << 27;

/// The figure as PNG, `scale` pixels per CSS pixel. Refuses scales that are not positive, and pictures with a side of
/// more than [`LONGEST_SIDE`] pixels.
pub fn to_png(figure: &Figure, sheet: impl Into<Sheet>, scale: f32) -> Result<Vec<u8>> {
    let sheet = sheet.into();
    rasterise(&tree(figure, sheet)?, sheet, scale).map_err(|cause| Error::write(file(figure), cause))
}

/// The figure as PNG of the sheet's pixels, or as many as are within the limits.
pub fn to_png_within(figure: &Figure, sheet: Sheet) -> Result<Vec<u8>> {
    let (tree, scale) = (tree(figure, sheet)?, sheet.scale());
    let (width, height) = (tree.size().width(), tree.size().height());
    // A little less, for rounding up to whole pixels.
    let side = (LONGEST_SIDE - 1) as f32 / width.max(height);
    let area = ((MOST_PIXELS as f32 * 0.99) / (width * height)).sqrt();
    rasterise(&tree, sheet, scale.min(side).min(area)).map_err(|cause| Error::write(file(figure), cause))
}

fn file(figure: &Figure) -> String {
    format!("{}.png", figure.stem())
}

fn tree(figure: &Figure, sheet: Sheet) -> Result<Tree> {
    let options = Options { font_family: "Ubuntu".into(), fontdb: fonts(), ..Options::default() };
    Tree::from_str(&svg::draw(figure, sheet, &figure.stem(), false), &options)
        .map_err(|error| Error::Internal(format!("the figure's SVG does not parse: {error}")))
}

/// The fonts, parsed once.
fn fonts() -> Arc<Database> {
    static FONTS: OnceLock<Arc<Database>> = OnceLock::new();
    let fonts = FONTS.get_or_init(|| {
        let mut fonts = Database::new();
        fonts.load_font_data(epaint_default_fonts::UBUNTU_LIGHT.to_vec());
        fonts.load_font_data(epaint_default_fonts::HACK_REGULAR.to_vec());
        fonts.set_sans_serif_family("Ubuntu");
        fonts.set_monospace_family("Hack");
        Arc::new(fonts)
    });
    Arc::clone(fonts)
}

fn rasterise(tree: &Tree, sheet: Sheet, scale: f32) -> Result<Vec<u8>, String> {
    if !(scale.is_finite() && scale > 0.0) {
        return Err(format!("a scale of {scale} has no picture; choose a positive one"));
    }
    let side = |length: f32| (f64::from(length) * f64::from(scale)).ceil().max(1.0) as u64;
    let (width, height) = (side(tree.size().width()), side(tree.size().height()));
    if width.max(height) > u64::from(LONGEST_SIDE) || width * height > MOST_PIXELS {
        return Err(format!(
            "{width} x {height} pixels are too many (at most {LONGEST_SIDE} a side and {MOST_PIXELS} together); choose a smaller scale, SVG or CSV"
        ));
    }
    let (width, height) = (width as u32, height as u32);
    let mut pixels = tiny_skia::Pixmap::new(width, height).ok_or("the picture has no size")?;
    // A picture whose size is no whole number of pixels ends within the last ones.
    let [r, g, b] = sheet.ground.palette().panel;
    pixels.fill(tiny_skia::Color::from_rgba8(r, g, b, 255));
    resvg::render(tree, usvg::Transform::from_scale(scale, scale), &mut pixels.as_mut());
    // The ground is opaque, so nothing is premultiplied and alpha says nothing.
    let rgb: Vec<u8> =
        pixels.data().chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
    drop(pixels);
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(&rgb, width, height, ExtendedColorType::Rgb8)
        .map_err(|error| error.to_string())?;
    Ok(png)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{Axis, Ground, Plot, samples};

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn pixels(figure: &Figure, scale: f32) -> Result<image::RgbImage, Box<dyn std::error::Error>> {
        Ok(image::load_from_memory(&to_png(figure, Ground::Light, scale)?)?.to_rgb8())
    }

    #[test]
    fn text_is_drawn() -> Outcome {
        let figure = samples::signed();
        let mut bare = figure.clone();
        let Plot::Map(map) = &mut bare.plot else { return Err("the sample is a map".into()) };
        // Blank labels of the same width: the same picture but for the letters.
        for axis in [&mut map.rows, &mut map.cols] {
            *axis = Axis::new(
                axis.name.clone(),
                axis.labels.iter().map(|label| "\u{a0}".repeat(label.chars().count())),
            );
        }
        let (with, without) = (pixels(&figure, 1.0)?, pixels(&bare, 1.0)?);
        assert_eq!(with.dimensions(), without.dimensions());
        let inked = with
            .pixels()
            .zip(without.pixels())
            .filter(|(a, b)| a != b && a.0.iter().all(|c| *c < 128))
            .count();
        assert!(inked > 100, "{inked} pixels");
        Ok(())
    }

    #[test]
    fn cells_have_the_colour_of_the_scale() -> Outcome {
        for figure in [samples::signed(), samples::large(80, 70)] {
            let picture = pixels(&figure, 1.0)?;
            let Plot::Map(map) = &figure.plot else { return Err("the sample is a map".into()) };
            for value in map.values.iter().step_by(map.values.len() / 20) {
                let colour = crate::figure::colour::rgb(&map.scale, *value, Ground::Light).ok_or("colour")?;
                assert!(picture.pixels().any(|pixel| pixel.0 == colour), "{} {value}", figure.name);
            }
        }
        Ok(())
    }

    #[test]
    fn scale_is_pixels_per_length() -> Outcome {
        let (one, two) = (pixels(&samples::table(), 1.0)?, pixels(&samples::table(), 2.0)?);
        assert_eq!((one.width() * 2, one.height() * 2), two.dimensions());
        Ok(())
    }

    #[test]
    fn bars_have_their_size_and_colours() -> Outcome {
        let (figure, picture) = (samples::bars(), pixels(&samples::bars(), 1.0)?);
        let bars = samples::rates();
        assert!(picture.width() >= 520 && picture.height() > 20 * bars.shape().0 as u32);
        let palette = Ground::Light.palette();
        for series in 0..bars.shape().1 {
            let colour = palette.series(series);
            assert!(picture.pixels().filter(|pixel| pixel.0 == colour).count() > 500, "{}", figure.name);
        }
        Ok(())
    }

    #[test]
    fn too_large_is_refused_with_the_numbers() {
        let figure = samples::signed();
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(to_png(&figure, Ground::Light, scale).is_err());
        }
        let error =
            to_png(&figure, Ground::Light, 100.0).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("16384"), "{error}");
    }

    #[test]
    fn within_the_limits_there_is_a_picture() -> Outcome {
        let figure = samples::large(9000, 2);
        assert!(to_png(&figure, Ground::Light, 4.0).is_err());
        let picture =
            image::load_from_memory(&to_png_within(&figure, Sheet { dpi: 384, ..Ground::Light.into() })?)?;
        assert!(picture.height() <= LONGEST_SIDE && picture.height() > LONGEST_SIDE - 8);
        Ok(())
    }

    #[test]
    fn strange_labels_are_drawn() -> Outcome {
        pixels(&samples::hostile(), 1.0)?;
        Ok(())
    }
}
