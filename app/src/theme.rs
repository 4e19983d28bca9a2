//! All colours and sizes of the window. Figures take theirs from `sluice_core::figure::colour`.

use eframe::egui::{
    Button, Color32, Context, CornerRadius, FontDefinitions, FontFamily, FontId, Frame, Margin, RichText,
    Stroke, TextStyle, Theme, Ui, Visuals, vec2,
};
use sluice_core::figure::Ground;
use sluice_core::figure::colour::Rgb;

/// Grid unit in points.
pub const UNIT: f32 = 4.0;
/// Height of a row of controls.
pub const ROW: f32 = 24.0;
/// Width of the methods at the left.
pub const LEFT: f32 = 200.0;
/// Width of answer, inspector and plan at the right.
pub const RIGHT: f32 = 312.0;
/// Least height of a prompt of more than two rows.
pub const LONG: f32 = 60.0;
/// Height of a panel's head.
pub const HEAD: f32 = 32.0;
/// Height of a row of parameters.
pub const PARAMETERS: f32 = 28.0;
/// Height of the row over a figure: its scale and its buttons.
pub const LEGEND: f32 = 28.0;
/// Largest cell of a map, width and height.
pub const CELL: [f32; 2] = [120.0, 80.0];
/// Size of a panel's title.
pub const TITLE: f32 = 17.0;
/// Size of the answer.
pub const ANSWER: f32 = 18.0;

struct Tokens {
    ground: Color32,
    panel: Color32,
    raised: Color32,
    line: Color32,
    text: Color32,
    quiet: Color32,
    accent: Color32,
    /// The accent as text.
    link: Color32,
    /// What asks for attention, as text.
    warn: Color32,
    /// What went wrong, as text.
    error: Color32,
    /// Text on the accent.
    on_accent: Color32,
    /// Edge of fields.
    edge: Color32,
    /// Ground of what is selected.
    soft: Color32,
    /// Outline of what is as in the model.
    cell: Color32,
}

#[expect(clippy::disallowed_methods, reason = "the tokens of the window")]
const fn hex(rgb: u32) -> Color32 {
    Color32::from_rgb((rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8)
}

const DARK: Tokens = Tokens {
    ground: hex(0x0E1116),
    panel: hex(0x151A21),
    raised: hex(0x1C222B),
    line: hex(0x2A323D),
    text: hex(0xD7DEE8),
    quiet: hex(0x8A95A5),
    accent: hex(0x6AA9FF),
    link: hex(0x6AA9FF),
    warn: hex(0xE0A030),
    error: hex(0xF0776C),
    on_accent: hex(0x0E1116),
    edge: hex(0x5C697B),
    soft: hex(0x223349),
    cell: hex(0x364250),
};

const LIGHT: Tokens = Tokens {
    ground: hex(0xF7F8FA),
    panel: hex(0xFFFFFF),
    raised: hex(0xEEF1F5),
    line: hex(0xD5DBE3),
    text: hex(0x1B222C),
    quiet: hex(0x5B6675),
    accent: hex(0x1B5FD0),
    link: hex(0x1657BD),
    warn: hex(0x855600),
    error: hex(0xB3261E),
    on_accent: hex(0xFFFFFF),
    edge: hex(0x7A8695),
    soft: hex(0xDCE8FC),
    cell: hex(0xBFC8D4),
};

/// Install both themes and the fonts.
pub fn install(ctx: &Context) {
    let mut fonts = FontDefinitions::default();
    // Marks for spaces and line ends are in Hack only.
    if let Some(family) = fonts.families.get_mut(&FontFamily::Proportional) {
        family.push("Hack".to_owned());
    }
    ctx.set_fonts(fonts);
    for (theme, tokens, base) in
        [(Theme::Dark, DARK, Visuals::dark()), (Theme::Light, LIGHT, Visuals::light())]
    {
        let visuals = visuals(base, &tokens);
        ctx.style_mut_of(theme, |style| {
            style.visuals = visuals;
            style.spacing.item_spacing = vec2(2.0 * UNIT, UNIT);
            style.spacing.interact_size.y = ROW;
            style.text_styles.insert(TextStyle::Small, FontId::proportional(12.5));
            style.text_styles.insert(TextStyle::Body, FontId::proportional(13.5));
            style.text_styles.insert(TextStyle::Button, FontId::proportional(13.5));
            style.text_styles.insert(TextStyle::Monospace, FontId::monospace(12.5));
        });
    }
}

fn visuals(mut visuals: Visuals, tokens: &Tokens) -> Visuals {
    visuals.panel_fill = tokens.panel;
    visuals.window_fill = tokens.panel;
    visuals.extreme_bg_color = tokens.ground;
    visuals.faint_bg_color = tokens.raised;
    visuals.hyperlink_color = tokens.link;
    visuals.warn_fg_color = tokens.warn;
    visuals.error_fg_color = tokens.error;
    visuals.selection.bg_fill = tokens.soft;
    visuals.selection.stroke = Stroke::new(1.0, tokens.text);
    visuals.weak_text_color = Some(tokens.quiet);
    let widgets = &mut visuals.widgets;
    widgets.noninteractive.bg_stroke = Stroke::new(1.0, tokens.line);
    widgets.noninteractive.fg_stroke = Stroke::new(1.0, tokens.text);
    for state in [&mut widgets.inactive, &mut widgets.hovered, &mut widgets.active, &mut widgets.open] {
        state.weak_bg_fill = tokens.raised;
        state.bg_fill = tokens.raised;
        state.fg_stroke = Stroke::new(1.0, tokens.text);
        state.corner_radius = CornerRadius::same(3);
    }
    widgets.hovered.bg_stroke = Stroke::new(1.0, tokens.accent);
    widgets.active.bg_stroke = Stroke::new(1.0, tokens.accent);
    visuals
}

/// Ground of figures under the current theme.
pub fn ground(ctx: &Context) -> Ground {
    match ctx.theme() {
        Theme::Dark => Ground::Dark,
        Theme::Light => Ground::Light,
    }
}

/// The accent of the current theme.
pub fn accent(ctx: &Context) -> Color32 {
    tokens(ctx).accent
}

fn tokens(ctx: &Context) -> &'static Tokens {
    match ctx.theme() {
        Theme::Dark => &DARK,
        Theme::Light => &LIGHT,
    }
}

/// Edge of fields, marks and what lies over.
pub fn edge(ctx: &Context) -> Color32 {
    tokens(ctx).edge
}

/// Ground of what is selected.
pub fn soft(ctx: &Context) -> Color32 {
    tokens(ctx).soft
}

/// Outline of what is as in the model.
pub fn cell(ctx: &Context) -> Color32 {
    tokens(ctx).cell
}

/// Links, and what is under way, as text: more contrast than the accent.
pub fn link(ctx: &Context) -> Color32 {
    tokens(ctx).link
}

/// The one filled button of a panel: what most people want next.
pub fn filled<'a>(ctx: &Context, text: &str) -> Button<'a> {
    let Tokens { accent, on_accent, .. } = tokens(ctx);
    Button::new(RichText::new(text).color(*on_accent)).fill(*accent)
}

/// Fields have an edge, so that they do not look like buttons.
pub fn fields(ui: &mut Ui) {
    let tokens = tokens(ui.ctx());
    let widgets = &mut ui.visuals_mut().widgets;
    for state in [&mut widgets.inactive, &mut widgets.open] {
        state.bg_stroke = Stroke::new(1.0, tokens.edge);
        state.weak_bg_fill = tokens.ground;
    }
}

/// A figure's colour.
#[expect(clippy::disallowed_methods, reason = "a colour that core chose")]
pub fn colour([r, g, b]: Rgb) -> Color32 {
    Color32::from_rgb(r, g, b)
}

/// Font of labels around and inside figures.
pub fn small_mono() -> FontId {
    FontId::monospace(11.5)
}

/// Bars above and below.
pub fn bar(ui: &Ui) -> Frame {
    Frame::new().fill(ui.visuals().panel_fill).inner_margin(Margin::symmetric(12, 3))
}

/// Panels at the sides.
pub fn side(ui: &Ui) -> Frame {
    Frame::new().fill(ui.visuals().panel_fill).inner_margin(Margin::symmetric(12, 8))
}

/// Around the docked panels.
pub fn centre(ui: &Ui) -> Frame {
    Frame::new().fill(ui.visuals().extreme_bg_color)
}

/// Inside a docked panel.
pub fn pane(ui: &Ui) -> Frame {
    Frame::new().fill(ui.visuals().extreme_bg_color).inner_margin(Margin::symmetric(16, 8))
}

/// At most `most` characters.
pub fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        text.to_owned()
    } else {
        text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
    }
}

/// What asks for attention, as text and marks.
pub fn warning(ctx: &Context) -> Color32 {
    tokens(ctx).warn
}

/// Whether the window is so low that what is above a figure takes less room.
pub fn is_low(ctx: &Context) -> bool {
    ctx.content_rect().height() < 800.0
}

#[cfg(test)]
mod tests {
    use sluice_core::figure::colour::contrast;

    use super::*;

    fn rgb(colour: Color32) -> Rgb {
        let [red, green, blue, _] = colour.to_array();
        [red, green, blue]
    }

    /// 4.5 for text, 3 for edges and marks.
    #[test]
    fn text_and_marks_stand_out_from_every_ground() {
        for (theme, tokens, ground) in [("dark", DARK, Ground::Dark), ("light", LIGHT, Ground::Light)] {
            let Tokens { ground: under, panel, raised, soft, .. } = tokens;
            let check = |name: &str, ink: Color32, grounds: &[Color32], least: f32| {
                for &ground in grounds {
                    let found = contrast(rgb(ink), rgb(ground));
                    assert!(found >= least, "{theme}: {name} {ink:?} on {ground:?} has {found:.2}");
                }
            };
            check("text", tokens.text, &[under, panel, raised, soft], 4.5);
            check("quiet", tokens.quiet, &[under, panel, raised], 4.5);
            check("link", tokens.link, &[under, panel, raised, soft], 4.5);
            check("warn", tokens.warn, &[under, panel, raised, soft], 4.5);
            check("error", tokens.error, &[under, panel, raised, soft], 4.5);
            check("on accent", tokens.on_accent, &[tokens.accent], 4.5);
            check("accent", tokens.accent, &[under, panel, raised, soft], 3.0);
            check("edge", tokens.edge, &[under, panel], 3.0);
            for series in 0..7 {
                check("series", colour(ground.palette().series(series)), &[under, panel], 3.0);
            }
        }
    }
}
