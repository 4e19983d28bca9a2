//! Figures to files.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::text::dashed;
use super::{Figure, Sheet, csv, json, png, svg};
use crate::error::{Error, Result};
use crate::files::{self, There};

/// The kinds of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Vectors, with the numbers inside.
    Svg,
    /// Pixels.
    Png,
    /// Numbers.
    Csv,
    /// Numbers with their names and where they come from.
    Json,
}

impl Format {
    /// All formats, in the order of menus.
    pub const ALL: [Self; 4] = [Self::Svg, Self::Png, Self::Csv, Self::Json];
    /// Those that a study and a report write; a study's numbers are in its findings too.
    pub const OF_A_STUDY: [Self; 3] = [Self::Png, Self::Svg, Self::Csv];

    /// File name extension without the dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Svg => "svg",
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }
}

/// The bytes of a figure's file. A PNG has the pixels of its sheet, or fewer where the picture would be too large.
pub fn bytes(figure: &Figure, format: Format, sheet: impl Into<Sheet>) -> Result<Vec<u8>> {
    match format {
        Format::Png => png::to_png_within(figure, sheet.into()),
        Format::Svg => Ok(svg::to_svg(figure, sheet).into_bytes()),
        Format::Csv => Ok(csv::to_csv(figure).into_bytes()),
        Format::Json => Ok(json::to_json(figure).into_bytes()),
    }
}

/// Write one file; a failed write leaves what was there before.
fn write(figure: &Figure, format: Format, sheet: Sheet, path: &Path, there: There) -> Result<()> {
    files::write(path, &bytes(figure, format, sheet)?, there)
}

/// Write what a study writes of a figure into a folder, which is made where it is missing. Returns the paths in the order of
/// [`Format::OF_A_STUDY`], named by [`Figure::name`].
pub fn write_all(
    figure: &Figure,
    sheet: impl Into<Sheet>,
    folder: &Path,
    there: There,
) -> Result<Vec<PathBuf>> {
    files::claim_folder(folder)?;
    let sheet = sheet.into();
    let paths = Format::OF_A_STUDY.map(|format| folder.join(file_name(figure, format)));
    // All or none.
    paths.iter().try_for_each(|path| files::claim_file(path, there))?;
    for (path, format) in paths.iter().zip(Format::OF_A_STUDY) {
        write(figure, format, sheet, path, there)?;
    }
    Ok(paths.into())
}

/// Write a figure in some formats into a folder of many checkpoints' and prompts' figures, under [`apart`] or, where one of its
/// files is there, under that with a number.
pub fn write_free(figure: &Figure, formats: &[Format], sheet: Sheet, folder: &Path) -> Result<Vec<PathBuf>> {
    files::claim_folder(folder)?;
    let stem = apart(figure);
    for number in 1.. {
        let own = |format: &Format| {
            let path = folder.join(format!("{stem}.{}", format.extension()));
            if number == 1 { path } else { files::numbered(&path, number) }
        };
        let paths: Vec<PathBuf> = formats.iter().map(own).collect();
        if paths.iter().any(|path| files::stands(path)) {
            continue;
        }
        for (path, &format) in paths.iter().zip(formats) {
            write(figure, format, sheet, path, There::Keep)?;
        }
        return Ok(paths);
    }
    Err(Error::write(folder, "no number is left"))
}

/// A name that tells a figure from those of other checkpoints, prompts and plans: `bundled-people-call-taren-lens-1f0c9a2b`. The
/// number is of all that the figure holds.
pub fn apart(figure: &Figure) -> String {
    let hash = files::sha256_of(json::to_json(figure).as_bytes());
    format!("{}-{}", begins(figure), hash.get(..8).unwrap_or_default())
}

/// [`apart`] without its number, which takes a look at every value.
pub fn begins(figure: &Figure) -> String {
    /// Letters of a checkpoint's name and of a prompt.
    const LONGEST: usize = 24;
    let of = &figure.provenance;
    let parts = [dashed(&of.checkpoint, LONGEST), dashed(&of.prompt, LONGEST), figure.stem()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

/// Name of a figure's file, such as `routing-map.svg`; never a path.
pub fn file_name(figure: &Figure, format: Format) -> String {
    format!("{}.{}", figure.stem(), format.extension())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::figure::{Ground, samples};

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
    fn names_tell_checkpoint_prompt_and_content_apart() -> Outcome {
        let figure = samples::signed();
        let name = apart(&figure);
        assert!(name.starts_with("sample-checkpoint-the-tower-of-pisa-"), "{name}");
        let mut other = figure.clone();
        other.provenance.plan = "no plan".into();
        assert_ne!(apart(&other), name);
        let folder = tempfile::tempdir()?;
        let twice = || write_free(&figure, &Format::ALL, Ground::Print.into(), folder.path());
        let names = |paths: Vec<PathBuf>| -> Vec<String> {
            paths.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect()
        };
        assert_eq!(names(twice()?)[0], format!("{name}.svg"));
        assert_eq!(names(twice()?)[3], format!("{name}-2.json"));
        assert_eq!(fs::read_dir(folder.path())?.count(), 8);
        Ok(())
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
            for ground in Ground::ALL {
                write_all(&figure, ground, &folder.join(ground.name()), There::Replace)?;
            }
            let column = Sheet { ground: Ground::Print, width: Some(80), dpi: 300 };
            write_all(&figure, column, &folder.join("column"), There::Replace)?;
        }
        Ok(())
    }
}
