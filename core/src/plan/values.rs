//! From a source of a plan to the values that the pass puts in or adds: which shape they have, and which row goes where.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::compile::Compiler;
use super::source::{FromPosition, Row, Source};
use super::target::{row_shape, row_width};
use crate::error::{Error, Result};
use crate::model::schedule::{RowMap, Values};
use crate::site::{Shape, Site, Sites};
use crate::spec::{Positions, Spec};

/// What a source has.
enum Fetched {
    /// One position's value.
    Vector(Tensor),
    /// A row for each position, position axis as in the site's shape.
    Run(Tensor),
}

/// What is taken of a source, and where it goes.
pub(super) struct Taking<'a> {
    /// The source.
    pub source: &'a Source,
    /// Its site.
    pub from: Site,
    /// Where its values go.
    pub to: Site,
    /// At which positions.
    pub positions: &'a Positions,
    /// Its rows; `None` = those of the same positions, for the last position its last.
    pub rows: Option<&'a FromPosition>,
}

impl Compiler<'_> {
    /// The values of a source for a site. Fails where widths differ or a position is past the source's end.
    pub(super) fn values(&mut self, taking: &Taking<'_>) -> Result<Values> {
        let x = match self.fetch(taking)? {
            Fetched::Vector(vector) => {
                let rows = match taking.rows {
                    Some(FromPosition::One(row)) => vec![*row],
                    Some(FromPosition::Each(rows)) => rows.clone(),
                    None => Vec::new(),
                };
                rows.into_iter().try_for_each(|row| self.row(taking, row, 1).map(|_| ()))?;
                return Ok(Values::One(vector));
            }
            Fetched::Run(x) => x,
        };
        let square = taking.to.shape() == Shape::Square;
        let len = x.dim(usize::from(square))?;
        if square && len != self.prompt_len {
            return Err(Error::Plan(format!(
                "{} needs a source of as many tokens as the prompt: the source has {len}, the prompt {}",
                taking.to, self.prompt_len
            )));
        }
        let map = match taking.rows {
            None => self.own_rows(taking, len)?,
            Some(FromPosition::One(row)) => {
                let row = self.row(taking, *row, len)?;
                if !square {
                    return Ok(Values::One(x.get(row)?));
                }
                let prompt = (0..self.prompt_len).filter(|&p| taking.positions.contains(p, self.prompt_len));
                RowMap::Each(prompt.map(|position| (position, row)).collect())
            }
            Some(FromPosition::Each(rows)) => {
                let Positions::At(positions) = taking.positions else {
                    return Err(Error::Plan(
                        "a list as from_position needs a list of positions, {\"at\": [...]}".into(),
                    ));
                };
                if rows.len() != positions.len() {
                    return Err(Error::Plan(format!(
                        "from_position lists {}, positions {}: one for each",
                        rows.len(),
                        positions.len()
                    )));
                }
                let mut each = BTreeMap::new();
                for (&position, &row) in positions.iter().zip(rows) {
                    each.insert(position, self.row(taking, row, len)?);
                }
                RowMap::Each(each)
            }
        };
        Ok(Values::Rows(x, map))
    }

    /// The rows of the same positions; the prompt's last position has the source's last.
    fn own_rows(&self, taking: &Taking<'_>, len: usize) -> Result<RowMap> {
        let prompt = self.prompt_len;
        let past = match taking.positions {
            Positions::Last if len > 0 => {
                return Ok(RowMap::Shift { to: prompt.saturating_sub(1), from: len - 1 });
            }
            Positions::At(list) => list.iter().copied().filter(|&position| position >= len).min(),
            _ => (len < prompt).then_some(len),
        };
        match past {
            None => Ok(RowMap::Same),
            Some(position) => Err(Error::Plan(format!(
                "position {position} is past the source's end: the source has {len} {}, the prompt {prompt} tokens; \
                 from_position says which row goes in",
                taking.source.rows()
            ))),
        }
    }

    fn row(&self, taking: &Taking<'_>, row: Row, len: usize) -> Result<usize> {
        let number = row.number(len);
        if number < len {
            return Ok(number);
        }
        Err(Error::Plan(format!(
            "from_position {number} is past the source's end: the source has {len} {}, the prompt {} tokens",
            taking.source.rows(),
            self.prompt_len
        )))
    }

    fn fetch(&mut self, taking: &Taking<'_>) -> Result<Fetched> {
        let Taking { source, from, to, .. } = *taking;
        let (spec, width) = (self.spec, row_width(to, self.spec));
        match source {
            Source::Values(values) => {
                if values.len() != width {
                    return Err(wide(to, width, values.len(), "the vector"));
                }
                let vector = Tensor::from_slice(values, values.len(), &Device::Cpu)?;
                Ok(Fetched::Vector(vector.reshape(row_shape(to, spec))?))
            }
            Source::File { .. } => shaped(self.resolve.site(source, to)?, to, spec),
            Source::Base | Source::Tokens(_) | Source::Prompt(_) => {
                Sites::One(from).of(spec)?;
                let x = self.resolve.site(source, from)?;
                if from.shape() == Shape::Square || to.shape() == Shape::Square {
                    return match from.shape() == to.shape() {
                        true => Ok(Fetched::Run(x)),
                        false => Err(Error::Plan(format!("{from} and {to} have no vector in common"))),
                    };
                }
                let own = row_width(from, spec);
                if own != width {
                    return Err(wide(to, width, own, &from.to_string()));
                }
                Ok(Fetched::Run(rows_of(&x, x.dim(0)?, to, spec)?))
            }
        }
    }
}

fn wide(site: Site, want: usize, got: usize, what: &str) -> Error {
    Error::Plan(format!("{site} is {want} wide, {what} {got}"))
}

fn rows_of(x: &Tensor, rows: usize, site: Site, spec: &Spec) -> Result<Tensor> {
    let shape: Vec<usize> = std::iter::once(rows).chain(row_shape(site, spec)).collect();
    Ok(x.reshape(shape)?)
}

/// A tensor of a file as a site's: one value, or a row for each position. Leading axes of 1 do not matter.
fn shaped(x: Tensor, site: Site, spec: &Spec) -> Result<Fetched> {
    let leading = x.dims().iter().take(x.rank().saturating_sub(1)).take_while(|&&dim| dim == 1).count();
    let dims: Vec<usize> = x.dims().iter().skip(leading).copied().collect();
    if site.shape() == Shape::Square {
        let square = x.dims().get(x.rank().saturating_sub(3)..).map(<[usize]>::to_vec).unwrap_or_default();
        let fits = square.len() == 3 && square.first() == row_shape(site, spec).first();
        return match fits && square.iter().product::<usize>() == x.elem_count() {
            true => Ok(Fetched::Run(x.reshape(square)?)),
            false => Err(Error::Plan(format!("a source of shape {:?} does not fit {site}", x.dims()))),
        };
    }
    let (width, row) = (row_width(site, spec), row_shape(site, spec));
    let is_row = |dims: &[usize]| *dims == [width] || *dims == *row;
    if is_row(&dims) {
        return Ok(Fetched::Vector(x.reshape(row)?));
    }
    match dims.split_first() {
        Some((&rows, rest)) if is_row(rest) => Ok(Fetched::Run(rows_of(&x, rows, site, spec)?)),
        Some((&rows, rest)) => {
            let got = if rest.is_empty() { rows } else { rest.iter().product() };
            Err(wide(site, width, got, &format!("the tensor of shape {:?}", x.dims())))
        }
        None => Err(wide(site, width, x.elem_count(), "the tensor")),
    }
}
