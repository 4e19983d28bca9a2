//! Scripts that the built-in fonts lack, drawn by those of the system.

use std::time::{Duration, Instant};

use crossbeam_channel::after;
use eframe::egui::FontId;

use crate::support::Window;

/// Needs fontconfig, fonts-noto-core, fonts-noto-cjk and fonts-noto-color-emoji: `.ci/run` installs them.
#[test]
#[ignore = "needs the Noto fonts"]
fn every_script_has_its_glyphs() {
    const TEXT: &str = "こんにちは 한국어 العربية 🙂";
    let mut window = Window::bundled();
    window.app().use_system_fonts();
    let end = Instant::now() + Duration::from_secs(60);
    // A question before they are listed would be answered for good: wait for what the window gets.
    let mut drawn = false;
    while !drawn && Instant::now() < end {
        let _ = after(Duration::from_millis(200)).recv();
        window.harness.step();
        drawn = window.harness.ctx.fonts_mut(|fonts| fonts.has_glyphs(&FontId::proportional(13.5), TEXT));
    }
    assert!(drawn, "proportional");
    assert!(
        window.harness.ctx.fonts_mut(|fonts| fonts.has_glyphs(&FontId::monospace(12.5), TEXT)),
        "monospace"
    );
    // The harness fails where a glyph is missing.
    window.type_prompt(TEXT);
    window.settle();
    assert_eq!(window.state().said(), "");
}
