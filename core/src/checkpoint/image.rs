//! Pictures for models that read images: decoding what may be anything, and the preprocessing that
//! `preprocessor_config.json` describes (CLIPImageProcessor of transformers, its PIL back end).

use std::borrow::Cow;
use std::io::Cursor;
use std::path::Path;

use candle_core::{Device, Tensor};
use image::imageops::{self, FilterType};
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use serde_json::Value;

use super::json::written;
use crate::error::{Error, Result};
use crate::files;
use crate::spec::VisionSpec;

/// Longest side of a picture.
const MAX_SIDE: u32 = 16_384;
/// Most memory that decoding may take, turning and converting included.
const MAX_ALLOC: u64 = 256 << 20;
/// Most pixels of a picture after resizing: what the config asks for is not trusted.
const MAX_RESIZED: u64 = 1 << 24;
/// Largest file.
const MAX_FILE: u64 = 64 << 20;

/// The bytes of a PNG or JPEG file.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let (bytes, more) = files::read_within(path, MAX_FILE).map_err(|error| Error::read(path, &error))?;
    if more { Err(over(path)) } else { Ok(bytes) }
}

/// Read a PNG or JPEG file.
///
/// # Errors
/// As [`decode_image`], and where it cannot be read.
pub fn read_image(path: &Path) -> Result<RgbImage> {
    decode_image(path, &read_bytes(path)?)
}

fn over(name: &Path) -> Error {
    Error::LargeImage { path: name.into(), cause: format!("is over {} MiB", MAX_FILE >> 20) }
}

/// Decode a PNG or JPEG, upright as its EXIF data says; `name` is for messages. What is transparent stands on white, as in
/// transformers 5.
pub fn decode_image(name: &Path, bytes: &[u8]) -> Result<RgbImage> {
    let (decoder, turned, _) = decoder(name, bytes)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| undecoded(name, &error))?;
    image.apply_orientation(turned);
    if !image.color().has_alpha() {
        return Ok(image.into_rgb8());
    }
    let clear = image.into_rgba8();
    let on_white = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    Ok(RgbImage::from_fn(clear.width(), clear.height(), |x, y| {
        let [red, green, blue, alpha] = clear.get_pixel(x, y).0;
        image::Rgb([red, green, blue].map(|value| on_white(value, alpha)))
    }))
}

/// Estimate of what [`decode_image`] takes beside the file's bytes, bytes.
///
/// # Errors
/// As [`decode_image`], of what the file's head tells.
pub fn decoding_bytes(name: &Path, bytes: &[u8]) -> Result<u64> {
    decoder(name, bytes).map(|(_, _, needs)| needs)
}

/// What decodes a picture, how it is turned, and what that takes.
fn decoder<'a>(name: &Path, bytes: &'a [u8]) -> Result<(impl ImageDecoder + 'a, Orientation, u64)> {
    if bytes.is_empty() {
        return Err(Error::image(name, "the file is empty"));
    }
    if bytes.len() as u64 > MAX_FILE {
        return Err(over(name));
    }
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| Error::image(name, error))?;
    if reader.format().is_none() {
        return Err(Error::image(name, "is neither PNG nor JPEG"));
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_ALLOC);
    reader.limits(limits);
    let is_jpeg = reader.format() == Some(ImageFormat::Jpeg);
    let mut decoder = reader.into_decoder().map_err(|error| undecoded(name, &error))?;
    let turned = decoder.orientation().map_err(|error| undecoded(name, &error))?;
    let needs = peak(decoder.dimensions(), decoder.color_type(), turned, is_jpeg);
    if needs > MAX_ALLOC {
        let (width, height) = decoder.dimensions();
        let cause = format!("its {width} x {height} pixels take {} MiB to decode ({})", needs >> 20, most());
        return Err(Error::LargeImage { path: name.into(), cause });
    }
    Ok((decoder, turned, needs))
}

/// The bounds, in words.
fn most() -> String {
    format!("at most {MAX_SIDE} pixels a side and {} MiB", MAX_ALLOC >> 20)
}

fn undecoded(name: &Path, error: &image::ImageError) -> Error {
    match error {
        image::ImageError::Limits(_) => {
            Error::LargeImage { path: name.into(), cause: format!("is too large to decode ({})", most()) }
        }
        error => Error::image(name, error.to_string().lines().next().unwrap_or_default()),
    }
}

/// The most memory that [`decode_image`] takes at a time, bytes: what is decoded stands beside what it is turned or converted
/// into.
fn peak((width, height): (u32, u32), colour: ColorType, turned: Orientation, is_jpeg: bool) -> u64 {
    let pixels = u64::from(width) * u64::from(height);
    let decoded = pixels.saturating_mul(u64::from(colour.bytes_per_pixel()));
    // A progressive JPEG keeps two bytes a sample until its last scan.
    let scans = if is_jpeg { decoded.saturating_mul(2) } else { 0 };
    let turns = match turned {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => decoded,
        _ => 0,
    };
    let converted = match colour {
        ColorType::Rgb8 => 0,
        // On white.
        ColorType::Rgba8 => pixels.saturating_mul(3),
        colour if colour.has_alpha() => pixels.saturating_mul(4),
        _ => pixels.saturating_mul(3),
    };
    decoded.saturating_add(scans.max(turns).max(converted))
}

/// How a picture becomes the tower's input.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocessor {
    /// Side of what the tower reads.
    side: u32,
    resize: Option<Resize>,
    filter: FilterType,
    crop: bool,
    /// Factor on 8-bit values.
    rescale: f32,
    mean: [f32; 3],
    std: [f32; 3],
}

/// Size before the crop, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resize {
    /// The other side keeps the ratio.
    Shortest(u32),
    /// Height and width.
    Exact(u32, u32),
}

/// CLIP's (Radford et al. 2021), which transformers takes where nothing is written.
const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

impl Preprocessor {
    /// From preprocessor_config.json; where there is none, CLIP's values at the tower's size.
    pub fn read(config: Option<&Value>, spec: &VisionSpec) -> Result<Self> {
        let bad = |field: &str, cause: String| {
            let value = config.and_then(|config| config.get(field)).map_or("missing".into(), written);
            Error::config(format!("preprocessor {field}"), value, cause)
        };
        let get = |field: &str| config.and_then(|config| config.get(field)).filter(|value| !value.is_null());
        let flag = |field: &str| match get(field) {
            None => Ok(true),
            Some(value) => value.as_bool().ok_or_else(|| bad(field, "is neither true nor false".into())),
        };
        let pixels = |value: &Value| value.as_u64().and_then(|x| u32::try_from(x).ok()).filter(|&x| x > 0);
        let size = |field: &str| -> Result<Resize> {
            let Some(value) = get(field) else { return Ok(Resize::Shortest(spec.image_size as u32)) };
            let side = |name: &str| value.get(name).and_then(pixels).filter(|&x| x <= MAX_SIDE);
            let found = match (side("height"), side("width")) {
                (Some(height), Some(width)) => Some(Resize::Exact(height, width)),
                _ => side("shortest_edge").or(pixels(value)).map(Resize::Shortest),
            };
            found.ok_or_else(|| bad(field, "is no size in pixels".into()))
        };
        let triple = |field: &str, default: [f32; 3]| -> Result<[f32; 3]> {
            let Some(value) = get(field) else { return Ok(default) };
            let numbers: Option<Vec<f32>> = value
                .as_array()
                .map(|list| list.iter().filter_map(Value::as_f64).map(|x| x as f32).collect());
            let three = numbers.and_then(|numbers| <[f32; 3]>::try_from(numbers).ok());
            three
                .filter(|three| three.iter().all(|x| x.is_finite()))
                .ok_or_else(|| bad(field, "is not three numbers".into()))
        };
        let filter = match get("resample").map_or(Some(3), Value::as_u64) {
            Some(3) => FilterType::CatmullRom,
            Some(2) => FilterType::Triangle,
            Some(0) => FilterType::Nearest,
            _ => return Err(bad("resample", "is neither 0 (nearest), 2 (bilinear) nor 3 (bicubic)".into())),
        };
        let side = spec.image_size as u32;
        let crop = flag("do_center_crop")?;
        let written = if crop { size("crop_size")? } else { Resize::Shortest(side) };
        if !matches!(written, Resize::Shortest(x) if x == side) && written != Resize::Exact(side, side) {
            return Err(bad("crop_size", format!("is not the tower's {side} pixels a side")));
        }
        let rescale = match get("rescale_factor") {
            _ if !flag("do_rescale")? => 1.0,
            None => 1.0 / 255.0,
            Some(value) => value
                .as_f64()
                .map(|x| x as f32)
                .ok_or_else(|| bad("rescale_factor", "is no number".into()))?,
        };
        let (mean, std) = match flag("do_normalize")? {
            true => (triple("image_mean", CLIP_MEAN)?, triple("image_std", CLIP_STD)?),
            false => ([0.0; 3], [1.0; 3]),
        };
        if std.contains(&0.0) {
            return Err(bad("image_std", "holds a 0".into()));
        }
        let resize = flag("do_resize")?.then(|| size("size")).transpose()?;
        Ok(Self { side, resize, filter, crop, rescale, mean, std })
    }

    /// The tower's input, `[1, 3, side, side]`.
    pub fn pixels(&self, image: &RgbImage) -> Result<Tensor> {
        let seen = self.view(image)?;
        let mut values = Vec::with_capacity(seen.as_raw().len());
        for (channel, (mean, std)) in self.mean.iter().zip(self.std).enumerate() {
            let channel = seen.as_raw().iter().skip(channel).step_by(3);
            values.extend(channel.map(|&value| (f32::from(value) * self.rescale - mean) / std));
        }
        let side = self.side as usize;
        Ok(Tensor::from_vec(values, (1, 3, side, side), &Device::Cpu)?)
    }

    /// What the tower sees of a picture, `side` pixels square: resized and cropped. At the tower's own size nothing is
    /// resampled.
    pub fn view(&self, image: &RgbImage) -> Result<RgbImage> {
        let (width, height) = image.dimensions();
        let (to_width, to_height) = match self.resize {
            None => (width, height),
            Some(Resize::Exact(to_height, to_width)) => (to_width, to_height),
            Some(Resize::Shortest(side)) => {
                let long = |long: u32, short: u32| {
                    let long = u64::from(side) * u64::from(long) / u64::from(short.max(1));
                    u32::try_from(long).unwrap_or(u32::MAX)
                };
                if width <= height { (side, long(height, width)) } else { (long(width, height), side) }
            }
        };
        // Resampling goes by way of the old width and the new height.
        if u64::from(width.max(to_width)) * u64::from(to_height) > MAX_RESIZED {
            let cause =
                format!("a picture of {width} x {height} becomes {to_width} x {to_height}: too large");
            return Err(Error::LargeImage { path: "picture".into(), cause });
        }
        let resized = match (to_width, to_height) == (width, height) {
            true => Cow::Borrowed(image),
            false => Cow::Owned(imageops::resize(image, to_width, to_height, self.filter)),
        };
        if !self.crop && resized.dimensions() != (self.side, self.side) {
            let (width, height) = resized.dimensions();
            let cause = format!("the image is {width} x {height}, the tower reads {0} x {0}", self.side);
            return Err(Error::LargeImage { path: "picture".into(), cause });
        }
        // A picture smaller than the crop stands in its middle on black.
        let start = |len: u32| (i64::from(len) - i64::from(self.side)).div_euclid(2);
        let (left, top) = (start(resized.width()), start(resized.height()));
        Ok(RgbImage::from_fn(self.side, self.side, |x, y| {
            let place = |at: u32, start: i64| u32::try_from(i64::from(at) + start).ok();
            let pixel = place(x, left).zip(place(y, top)).and_then(|(x, y)| resized.get_pixel_checked(x, y));
            pixel.copied().unwrap_or(image::Rgb([0; 3]))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(bytes: &[u8]) -> String {
        decode_image(Path::new("picture"), bytes).unwrap_err().to_string()
    }

    /// A PNG of a size and of 8-bit RGB up to where the picture begins.
    fn header(width: u32, height: u32) -> Vec<u8> {
        header_of(width, height, 8, 2)
    }

    fn header_of(width: u32, height: u32, depth: u8, colour: u8) -> Vec<u8> {
        let mut chunk = b"IHDR".to_vec();
        chunk.extend(width.to_be_bytes());
        chunk.extend(height.to_be_bytes());
        chunk.extend([depth, colour, 0, 0, 0]);
        let mut crc = u32::MAX;
        for byte in &chunk {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
            }
        }
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
        bytes.extend(chunk);
        bytes.extend((!crc).to_be_bytes());
        bytes.extend(b"\0\0\0\x04IDAT");
        bytes
    }

    fn png(image: &RgbImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        assert!(fails(b"").contains("empty"));
        assert!(fails(b"not a picture at all").contains("neither PNG nor JPEG"));
        assert!(fails(b"\xff\xd8\xff\xe0 and then nothing").contains("picture"));
        let whole = png(&RgbImage::new(40, 30));
        assert!(decode_image(Path::new("picture"), &whole).is_ok());
        assert!(decode_image(Path::new("picture"), &whole[..whole.len() / 2]).is_err());
    }

    #[test]
    fn huge_pictures_are_refused_before_they_are_decoded() {
        assert!(fails(&header(20_000, 20_000)).contains("too large"));
        assert!(fails(&header(16_000, 16_000)).contains("16000 x 16000 pixels take 732 MiB"));
        // Grey, which becomes RGB; grey with alpha in 16 bits, which becomes RGBA first; alpha, which goes on white.
        for (side, depth, colour, mib) in [
            (16_384, 8, 0, 1024),
            (16_384, 1, 0, 1024),
            (6_000, 16, 4, 274),
            (6_400, 8, 6, 273),
            (5_000, 16, 6, 286),
        ] {
            let cause = fails(&header_of(side, side, depth, colour));
            assert!(cause.contains(&format!("take {mib} MiB")), "{depth} {colour}: {cause}");
        }
        // Those within the limit are found to end early.
        for (side, depth, colour) in
            [(8_000, 8, 0), (5_700, 16, 4), (6_100, 8, 6), (4_700, 16, 6), (9_400, 8, 2)]
        {
            let cause = fails(&header_of(side, side, depth, colour));
            assert!(!cause.contains("MiB"), "{depth} {colour}: {cause}");
        }
    }

    /// A JPEG stands on its side by its EXIF data, and a progressive one keeps all its samples.
    #[test]
    fn what_is_turned_counts_twice() {
        let of = |turned, is_jpeg| peak((8_000, 8_000), ColorType::Rgb8, turned, is_jpeg) >> 20;
        assert_eq!((of(Orientation::NoTransforms, false), of(Orientation::Rotate180, false)), (183, 183));
        assert_eq!((of(Orientation::Rotate90, false), of(Orientation::NoTransforms, true)), (366, 549));
        assert_eq!(peak((u32::MAX, u32::MAX), ColorType::Rgba32F, Orientation::Rotate90, true), u64::MAX);
    }

    /// Values that transformers 5.24 gives.
    #[test]
    fn what_is_transparent_stands_on_white() {
        for (alpha, expected) in [
            (0, [255, 255, 255]),
            (64, [194, 196, 199]),
            (128, [132, 137, 142]),
            (200, [63, 71, 79]),
            (255, [10, 20, 30]),
        ] {
            let image = image::RgbaImage::from_pixel(2, 2, image::Rgba([10, 20, 30, alpha]));
            let mut bytes = Cursor::new(Vec::new());
            image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
            let read = decode_image(Path::new("picture"), &bytes.into_inner()).unwrap();
            assert_eq!(read.get_pixel(1, 1).0, expected, "{alpha}");
        }
    }
}
