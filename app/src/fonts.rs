//! Glyphs that the built-in fonts lack, from the fonts of the system. These are listed before any is asked for: until that
//! is done a question would hold up the frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eframe::egui::epaint::text::{FallbackRequest, FontInsert, FontProvider};
use eframe::egui::{Context, FontFamily};
use egui_system_font_provider::SystemFontProvider;

/// A letter of each script that is looked up ahead: a script's first lookup is the slow one.
const AHEAD: [&str; 10] = ["あ", "漢", "한", "ع", "א", "क", "ก", "Ω", "Ж", "🙂"];

/// The fonts of the system, and what to do about the first glyph that none of them has.
struct System<F> {
    fonts: SystemFontProvider,
    missed: AtomicBool,
    missing: F,
}

impl<F: Fn(String) + Send + Sync> FontProvider for System<F> {
    fn font_for(&self, request: &FallbackRequest<'_>) -> Option<FontInsert> {
        let found = self.fonts.font_for(request);
        if found.is_none() && !self.missed.swap(true, Ordering::AcqRel) {
            let first = request.cluster.chars().next().unwrap_or_default();
            (self.missing)(format!(
                "no font of this system draws U+{:04X}: on Debian and Ubuntu, apt install {}",
                u32::from(first),
                package(first)
            ));
        }
        found
    }
}

/// List the fonts of the system and let the window use them; `missing` gets one line where no font has a glyph. Takes
/// longer than a frame may.
pub fn add(ctx: &Context, missing: impl Fn(String) + Send + Sync + 'static) {
    let fonts = SystemFontProvider::new();
    for family in [FontFamily::Proportional, FontFamily::Monospace] {
        for cluster in AHEAD {
            drop(fonts.font_for(&FallbackRequest { cluster, family: &family }));
        }
    }
    ctx.add_font_provider(Arc::new(System { fonts, missed: AtomicBool::new(false), missing }));
    ctx.request_repaint();
}

/// The package of Debian that has a font for a character.
fn package(character: char) -> &'static str {
    match u32::from(character) {
        0x1F000..=0x1FAFF | 0x2600..=0x27BF => "fonts-noto-color-emoji",
        0x1100..=0x11FF
        | 0x2E80..=0xA4CF
        | 0xAC00..=0xD7FF
        | 0xF900..=0xFAFF
        | 0xFF00..=0xFFEF
        | 0x20000.. => "fonts-noto-cjk",
        _ => "fonts-noto-core",
    }
}

#[cfg(test)]
mod tests {
    use super::package;

    #[test]
    fn packages_by_script() {
        let packages = ['こ', '한', '漢', '🙂', 'ع'].map(package);
        assert_eq!(packages[..3], ["fonts-noto-cjk"; 3]);
        assert_eq!(packages[3..], ["fonts-noto-color-emoji", "fonts-noto-core"]);
    }
}
