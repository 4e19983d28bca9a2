//! Figures to files.

use std::path::{Path, PathBuf};

use super::{Figure, Ground, csv, png, svg};
use crate::error::{Error, Result};
use crate::files::{self, There};

/// Pixels per CSS pixel of exported PNGs, where the picture is small enough.
pub const PNG_SCALE: f32 = 2.0;

/// The kinds of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Pixels.
    Png,
    /// Vectors, with the numbers inside.
    Svg,
    /// Numbers.
    Csv,
}

impl Format {
    /// All formats, in the order of menus.
    pub const ALL: [Self; 3] = [Self::Png, Self::Svg, Self::Csv];

    /// File name extension without the dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Svg => "svg",
            Self::Csv => "csv",
        }
    }
}

/// The bytes of a figure's file. PNGs have [`PNG_SCALE`], or less where the picture would be too large.
pub fn bytes(figure: &Figure, format: Format, ground: Ground) -> Result<Vec<u8>> {
    match format {
        Format::Png => png::to_png_within(figure, ground, PNG_SCALE),
        Format::Svg => Ok(svg::to_svg(figure, ground).into_bytes()),
        Format::Csv => Ok(csv::to_csv(figure).into_bytes()),
    }
}

/// Write one file; a failed write leaves what was there before.
pub fn write(figure: &Figure, format: Format, ground: Ground, path: &Path, there: There) -> Result<()> {
    files::write(path, &bytes(figure, format, ground)?, there)
}

/// Write every format into a folder, which is made where it is missing. Returns the paths in the order of
/// [`Format::ALL`], named by [`Figure::name`].
pub fn write_all(figure: &Figure, ground: Ground, folder: &Path, there: There) -> Result<Vec<PathBuf>> {
    files::claim_folder(folder)?;
    let paths = Format::ALL.map(|format| folder.join(file_name(figure, format)));
    // All or none.
    paths.iter().try_for_each(|path| files::claim_file(path, there))?;
    for (path, format) in paths.iter().zip(Format::ALL) {
        write(figure, format, ground, path, there)?;
    }
    Ok(paths.into())
}

/// Write a figure in some formats into a folder, under its name or, where one of its files is there, under one with a number.
pub fn write_free(
    figure: &Figure,
    formats: &[Format],
    ground: Ground,
    folder: &Path,
) -> Result<Vec<PathBuf>> {
    files::claim_folder(folder)?;
    for number in 1.. {
        let own = |&format: &Format| {
            let path = folder.join(file_name(figure, format));
            if number == 1 { path } else { files::numbered(&path, number) }
        };
        let paths: Vec<PathBuf> = formats.iter().map(own).collect();
        if paths.iter().any(|path| path.symlink_metadata().is_ok()) {
            continue;
        }
        for (path, &format) in paths.iter().zip(formats) {
            write(figure, format, ground, path, There::Keep)?;
        }
        return Ok(paths);
    }
    Err(Error::write(folder, "no number is left"))
}

/// Name of a figure's file, such as `routing-map.svg`; never a path.
pub fn file_name(figure: &Figure, format: Format) -> String {
    format!("{}.{}", figure.stem(), format.extension())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::figure::samples;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn all_formats_of_every_sample() -> Outcome {
        let folder = tempfile::tempdir()?;
        for figure in samples::all() {
            let paths = write_all(&figure, Ground::Light, &folder.path().join("new"), There::Replace)?;
            assert_eq!(paths.len(), 3);
            image::open(&paths[0])?;
            assert!(fs::read_to_string(&paths[1])?.ends_with("</svg>\n"));
            assert!(fs::read_to_string(&paths[2])?.ends_with("\r\n"));
        }
        Ok(())
    }

    #[test]
    fn names_are_never_paths() {
        let named = |name: &str| Figure { name: name.into(), ..samples::signed() }.stem();
        assert_eq!(named("../../etc/passwd"), "etc-passwd");
        assert_eq!(named("Routing map\0"), "routing-map");
        assert_eq!(named("模型"), "figure");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() -> Outcome {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("file");
        fs::write(&file, "kept")?;
        let error = write_all(&samples::signed(), Ground::Light, &file.join("inside"), There::Replace)
            .err()
            .ok_or("an error")?;
        assert!(error.to_string().contains("inside"), "{error}");
        assert_eq!(fs::read_to_string(&file)?, "kept");
        Ok(())
    }

    #[test]
    #[ignore = "writes pictures to look at"]
    fn look() -> Outcome {
        let folder = std::env::temp_dir().join("sluice-figures");
        for figure in samples::all() {
            write_all(&figure, Ground::Light, &folder.join("light"), There::Replace)?;
            write_all(&figure, Ground::Dark, &folder.join("dark"), There::Replace)?;
        }
        Ok(())
    }
}
