//! The texture of a map: uploaded when the figure or the theme changes. Large maps are coloured off the frame, and maps
//! past the largest texture are pooled.

use std::sync::{Arc, Mutex, PoisonError};

use eframe::egui::{ColorImage, Context, Id, TextureHandle, TextureOptions};
use sluice_core::figure::{Figure, Ground, Map, colour};

use crate::theme;

/// Cells coloured within a frame: well under a millisecond.
pub const INLINE_CELLS: usize = 30_000;
/// Longest side of a texture; every renderer takes it, and no screen shows more rows.
const LONGEST: usize = 2048;
/// Cells that get marks or text of their own.
const MARKED: usize = 1500;

type Slot = Arc<Mutex<Option<ColorImage>>>;

#[derive(Clone)]
enum Kept {
    Ready(TextureHandle),
    /// A thread fills the slot.
    Waiting(Slot),
}

#[derive(Clone)]
struct Upload {
    figure: Arc<Figure>,
    ground: Ground,
    kept: Kept,
    /// What was shown before, until the new one is there.
    before: Option<TextureHandle>,
}

/// The texture of `figure`, whose map is `map`; `None` until it is there for the first time.
pub fn of(ctx: &Context, figure: &Arc<Figure>, map: &Map) -> Option<TextureHandle> {
    let id = Id::unique(("texture", figure.id));
    let ground = theme::ground(ctx);
    let kept: Option<Upload> = ctx.data(|data| data.get_temp(id));
    let known = kept.filter(|kept| Arc::ptr_eq(&kept.figure, figure) && kept.ground == ground);
    let mut upload = match known {
        Some(known) => match &known.kept {
            Kept::Ready(texture) => return Some(texture.clone()),
            Kept::Waiting(_) => known,
        },
        None => begin(ctx, id, figure, map, ground),
    };
    let image = match &upload.kept {
        Kept::Waiting(slot) => slot.lock().unwrap_or_else(PoisonError::into_inner).take(),
        Kept::Ready(_) => None,
    };
    if let Some(image) = image {
        upload.kept = Kept::Ready(ctx.load_texture(figure.id.0, image, TextureOptions::NEAREST));
        upload.before = None;
    }
    let shown = match &upload.kept {
        Kept::Ready(texture) => Some(texture.clone()),
        Kept::Waiting(_) => upload.before.clone(),
    };
    ctx.data_mut(|data| data.insert_temp(id, upload));
    shown
}

fn begin(ctx: &Context, id: Id, figure: &Arc<Figure>, map: &Map, ground: Ground) -> Upload {
    let old: Option<Upload> = ctx.data(|data| data.get_temp(id));
    let before = old.and_then(|old| match old.kept {
        Kept::Ready(texture) => Some(texture),
        Kept::Waiting(_) => old.before,
    });
    let slot = Slot::default();
    if map.values.len() <= INLINE_CELLS {
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(image(map, ground));
    } else {
        let (slot, map, ctx) = (Arc::clone(&slot), map.clone(), ctx.clone());
        let colour = move || {
            let image = image(&map, ground);
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(image);
            ctx.request_repaint();
        };
        drop(std::thread::Builder::new().name("colours".into()).spawn(colour));
    }
    Upload { figure: Arc::clone(figure), ground, kept: Kept::Waiting(slot), before }
}

/// Whether the cells are few enough to be marked one by one; the texture of others is striped instead.
pub fn has_marks(map: &Map) -> bool {
    map.values.len() <= MARKED
}

fn image(map: &Map, ground: Ground) -> ColorImage {
    let pooled = map.pooled(LONGEST);
    let map = pooled.as_ref().unwrap_or(map);
    let (rows, cols) = map.shape();
    let pixels =
        if has_marks(map) { colour::transparent_image(map, ground) } else { colour::rgba_image(map, ground) };
    ColorImage::from_rgba_unmultiplied([cols, rows], &pixels)
}
