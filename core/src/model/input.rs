//! What a pass reads.

use std::ops::Deref;
use std::sync::Arc;

use candle_core::Tensor;

use crate::error::{Error, Result};

/// Token ids, and what stands in the rows of its image tokens.
#[derive(Clone, Debug, Default)]
pub struct Input {
    ids: Arc<[u32]>,
    image: Option<Arc<ImageRows>>,
}

/// An image as the language model reads it.
#[derive(Debug)]
pub struct ImageRows {
    /// `[image tokens, d]`, in the order of the prompt's image tokens.
    pub rows: Tensor,
    /// Id of the tokens that they stand for.
    pub token: u32,
}

impl Input {
    /// Ids whose image tokens stand for the rows of `image`: as many of them as it has rows.
    pub fn with_image(ids: Vec<u32>, image: Arc<ImageRows>) -> Result<Self> {
        let places = ids.iter().filter(|&&id| id == image.token).count();
        let rows = image.rows.dim(0)?;
        if places != rows {
            let cause = format!("the prompt has {places} image tokens, the image becomes {rows}");
            return Err(Error::Input(cause));
        }
        Ok(Self { ids: ids.into(), image: Some(image) })
    }

    /// Positions from the first on at which `other` has the same ids, and the same image where one has begun.
    pub fn shared_with(&self, other: &Self) -> usize {
        let same = self.ids.iter().zip(other.ids.iter()).take_while(|(a, b)| a == b).count();
        let one_image = match (&self.image, &other.image) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        let image = self.image.as_ref().or(other.image.as_ref()).filter(|_| !one_image);
        let begun = image.and_then(|image| self.ids.iter().position(|&id| id == image.token));
        begun.map_or(same, |begun| same.min(begun))
    }

    /// The image.
    pub fn image(&self) -> Option<&Arc<ImageRows>> {
        self.image.as_ref()
    }
}

impl ImageRows {
    /// The embedding `[tokens, d]` with the image's rows at the first of its tokens, of which `before` stand in front.
    pub(super) fn put(&self, embedded: &Tensor, tokens: &[u32], before: usize) -> Result<Tensor> {
        let rows = self.rows.dim(0)? as u32;
        let mut next = before as u32;
        let place = |(&id, row): (&u32, u32)| {
            if id == self.token && next < rows {
                next += 1;
                next - 1
            } else {
                rows + row
            }
        };
        let places: Vec<u32> = tokens.iter().zip(0..).map(place).collect();
        let places = Tensor::from_vec(places, tokens.len(), embedded.device())?;
        Ok(Tensor::cat(&[&self.rows, embedded], 0)?.index_select(&places, 0)?)
    }
}

impl Deref for Input {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.ids
    }
}

impl<T: Into<Arc<[u32]>>> From<T> for Input {
    fn from(ids: T) -> Self {
        Self { ids: ids.into(), image: None }
    }
}

/// Equal ids and the very same image.
impl PartialEq for Input {
    fn eq(&self, other: &Self) -> bool {
        let same = match (&self.image, &other.image) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        same && self.ids == other.ids
    }
}
