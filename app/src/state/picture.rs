//! The prompt's picture as the window holds it.

use std::sync::Arc;

use eframe::egui::ColorImage;
use sluice_core::Result;
use sluice_core::worker::{Card, Picture};

/// A picture, prepared for the open checkpoint off the frame.
#[derive(Clone)]
pub struct Shown {
    /// What the worker gets.
    pub picture: Picture,
    /// What the image tower sees of it, square; none until that is known.
    pub view: Option<Arc<ColorImage>>,
}

impl Shown {
    /// Prepare a picture for a checkpoint. Takes longer than a frame may.
    pub fn new(picture: Picture, card: &Card) -> Result<Self> {
        let view = card.view(&picture)?;
        let size = [view.width() as usize, view.height() as usize];
        Ok(Self { picture, view: Some(Arc::new(ColorImage::from_rgb(size, view.as_raw()))) })
    }
}

/// Without the pixels.
impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.picture.fmt(f)
    }
}
