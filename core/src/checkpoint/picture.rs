//! A picture on its way to a model that reads images: decoded once, then shared.

use std::hash::{Hash, Hasher};
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use image::{ImageFormat, RgbImage};

use super::image::read_bytes;
use super::{decode_image, fingerprint};
use crate::error::Result;
use crate::files;

/// Decoded pixels with a name. Equal where size and pixels are, by fingerprint: comparing costs nothing.
#[derive(Clone)]
pub struct Picture {
    name: Arc<str>,
    pixels: Arc<RgbImage>,
    fingerprint: u64,
    sha256: Option<Arc<str>>,
}

impl Picture {
    /// Pixels with the name that figures and messages say. Reads every pixel.
    pub fn new(name: &str, pixels: RgbImage) -> Self {
        let size = u64::from(pixels.width()) << 32 | u64::from(pixels.height());
        let fingerprint = fingerprint::absorb(size, pixels.as_raw());
        Self { name: name.into(), pixels: Arc::new(pixels), fingerprint, sha256: None }
    }

    /// A PNG or JPEG file, named after it.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        Self::of(&name, path, &read_bytes(path)?)
    }

    /// The bytes of a PNG or JPEG file.
    pub fn decode(name: &str, bytes: &[u8]) -> Result<Self> {
        Self::of(name, Path::new(name), bytes)
    }

    fn of(name: &str, path: &Path, bytes: &[u8]) -> Result<Self> {
        let sha256 = Some(files::sha256_of(bytes).into());
        Ok(Self { sha256, ..Self::new(name, decode_image(path, bytes)?) })
    }

    /// The same under another name, as if from a file of another SHA-256: one that was kept as PNG is what it was.
    pub fn named(self, name: &str, sha256: Option<&str>) -> Self {
        Self { name: name.into(), sha256: sha256.map(Arc::from), ..self }
    }

    /// Its pixels as a PNG file, which reads back the same.
    ///
    /// # Errors
    /// [`Error::Image`](crate::Error::Image) where they cannot be encoded.
    pub fn png(&self) -> Result<Vec<u8>> {
        let mut bytes = Cursor::new(Vec::new());
        let encoded = self.pixels.write_to(&mut bytes, ImageFormat::Png);
        encoded.map_err(|error| crate::Error::image(self.name(), error))?;
        Ok(bytes.into_inner())
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pixels.
    pub fn pixels(&self) -> &RgbImage {
        &self.pixels
    }

    /// SHA-256 of its file, hexadecimal; none of a picture that comes from no file.
    pub fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    /// Over size and pixels; tells pictures apart.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

impl PartialEq for Picture {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Picture {}

impl Hash for Picture {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

/// Without the pixels.
impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (width, height) = self.pixels.dimensions();
        write!(f, "{} ({width} x {height}, {:016x})", self.name, self.fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_told_apart_by_what_they_show() {
        let picture = |name: &str, width: u32, value: u8| {
            Picture::new(name, RgbImage::from_pixel(width, 8 / width, image::Rgb([value; 3])))
        };
        assert_eq!(picture("one", 4, 7), picture("other", 4, 7));
        assert_ne!(picture("one", 4, 7), picture("one", 4, 8));
        assert_ne!(picture("one", 4, 7), picture("one", 2, 7));
    }
}
