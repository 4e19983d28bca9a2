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
    /// What the image tower sees of it, square.
    pub view: Arc<ColorImage>,
}

impl Shown {
    /// Prepare a picture for a checkpoint. Takes longer than a frame may.
    pub fn new(picture: Picture, card: &Card) -> Result<Self> {
        let view = card.view(&picture)?;
        let size = [view.width() as usize, view.height() as usize];
        Ok(Self { picture, view: Arc::new(ColorImage::from_rgb(size, view.as_raw())) })
    }
}

/// Without the pixels.
impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.picture.fmt(f)
    }
}

/// A prompt's picture, and its words where a step changes them too.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The picture; none = no picture.
    pub image: Option<Shown>,
    /// The words; none = as they are.
    pub words: Option<String>,
}

impl Asked {
    /// Put this in place; what was there comes back.
    pub fn exchange(self, image: &mut Option<Shown>, words: &mut String) -> Self {
        Self {
            image: std::mem::replace(image, self.image),
            words: self.words.map(|new| std::mem::replace(words, new)),
        }
    }
}
