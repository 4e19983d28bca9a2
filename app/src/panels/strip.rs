//! Token strip: hover a token for what was expected after it, click it to lock the inspector on it. The parts of a picture
//! are small pieces of it, in one group that folds.

use std::ops::Range;
use std::sync::Arc;

use eframe::egui::{
    Align, Color32, Context, FontId, Id, Layout, Rect, Response, RichText, Role, ScrollArea, Sense, Shape,
    Stroke, StrokeKind, Ui, Vec2, WidgetInfo, pos2, vec2,
};
use sluice_core::figure::{Ground, Scale, colour};
use sluice_core::method::oracle::{ORACLE, OracleFound};
use sluice_core::method::view::{Strip, StripAsk};
use sluice_core::method::{Method, Subject};
use sluice_core::worker::{Patch, Token, ViewData};

use super::{marking, marks};
use crate::command::Command;
use crate::state::{ChipColour, State};
use crate::theme;
use crate::widgets::{legend, picture};

/// Rows of the strip on screen; more scroll.
const ROWS: f32 = 2.0;
/// Space between chips, and between a chip's edge and its text.
const GAP: f32 = 3.0;
const INSET: f32 = 5.0;
/// Height of the bar under a token.
const BAR: f32 = 3.0;
/// Patches that have a chip each unless folded.
const FEW: usize = 64;

/// What stands in the strip.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// A token with its text.
    Token(usize),
    /// The head of a picture's patches at these positions; when folded it stands for them.
    Image(Range<usize>),
    /// A patch.
    Patch(usize),
}

/// Everything that drawing a chip needs.
struct Chips<'a> {
    state: &'a State,
    strip: Option<&'a Strip>,
    colours: Colours<'a>,
    /// Width of a character, height of a chip.
    size: Vec2,
    /// The patches have chips of their own.
    unfolded: bool,
    /// The method whose marks are shown.
    marking: Option<&'static Method>,
}

/// The chips, row by row; rows off screen cost nothing. `hovered` becomes the position under the pointer.
pub fn ui(ui: &mut Ui, state: &State, commands: &mut Vec<Command>, hovered: &mut Option<usize>) {
    let tokens = &state.results.tokens;
    let advance = ui.fonts_mut(|fonts| fonts.glyph_width(&font(), '0'));
    let height = theme::ROW - 2.0;
    let side = state.patches().unwrap_or_default();
    let unfolded = state.choices.unfold.unwrap_or(side * side <= FEW);
    let rows = rows(ui, tokens, vec2(advance, height), side, unfolded);
    let strip = values(state);
    let chips = Chips {
        state,
        strip,
        colours: Colours::new(state, strip),
        size: vec2(advance, height),
        unfolded,
        marking: marking(state),
    };
    let most = (ROWS * (height + GAP)).max(ui.available_height());
    let area = ScrollArea::vertical().id_salt("strip").max_height(most);
    ui.vertical(|ui| {
        if rows.len() == 1 {
            ui.add_space(((ui.available_height() - height) / 2.0).max(0.0));
        }
        ui.spacing_mut().item_spacing = vec2(GAP, GAP);
        area.show_rows(ui, height, rows.len(), |ui, shown| {
            for row in rows.get(shown).unwrap_or_default() {
                ui.horizontal(|ui| {
                    for piece in row.iter() {
                        chips.draw(ui, piece, commands, hovered);
                    }
                });
            }
        });
    });
}

/// What the tokens on screen are worth, once that is there.
pub(super) fn values(state: &State) -> Option<&Strip> {
    match state.data(&StripAsk {}.into()) {
        Some(ViewData::Strip(strip)) if strip.kl.len() == state.results.tokens.len() => Some(strip),
        _ => None,
    }
}

/// The scale of the chips' colours, from the right end inwards.
pub fn scale(ui: &mut Ui, state: &State) {
    let colours = Colours::new(state, values(state));
    if !colours.values.is_empty() && ui.available_width() > LEGEND {
        ui.allocate_ui_with_layout(vec2(150.0, theme::ROW), Layout::left_to_right(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = theme::UNIT;
            legend::ramp(ui, &colours.scale, 64.0);
            ui.label(RichText::new("nats").small().weak());
        });
    }
}

/// Room that is left for a scale only where the row has more than this.
const LEGEND: f32 = 700.0;

impl Chips<'_> {
    fn draw(&self, ui: &mut Ui, piece: &Piece, commands: &mut Vec<Command>, hovered: &mut Option<usize>) {
        match piece {
            Piece::Image(positions) => self.fold(ui, positions, commands),
            &Piece::Token(position) | &Piece::Patch(position) => {
                self.chip(ui, piece, position, commands, hovered);
            }
        }
    }

    fn chip(
        &self,
        ui: &mut Ui,
        piece: &Piece,
        position: usize,
        commands: &mut Vec<Command>,
        hovered: &mut Option<usize>,
    ) {
        let Some(token) = self.state.results.tokens.get(position) else { return };
        let side = self.state.patches().unwrap_or_default();
        let width = width(piece, &self.state.results.tokens, self.size, side);
        let (rect, response) = ui.allocate_exact_size(vec2(width, self.size.y), Sense::click());
        let name = match (piece, token.patch) {
            (Piece::Patch(_), Some(Patch::At { row, col })) => {
                self.piece_of_picture(ui, rect, position, [row, col], side);
                format!("patch {row},{col}")
            }
            _ => {
                self.text(ui, rect, &token.text, self.colours.of(position, theme::ground(ui.ctx())));
                format!("token {position}: {}", token.text)
            }
        };
        let locked = self.state.choices.position == Some(position);
        self.frame(ui, rect, &response, locked, self.state.hovered == Some(position));
        let context = self.state.card.as_ref().map_or(usize::MAX, |card| card.spec.context);
        if position >= context {
            self.beyond(ui, rect);
        }
        let look = self.marking.and_then(|method| marks::of(self.state, method, position));
        if let Some(look) = look {
            marks::draw(ui.painter(), rect, look, theme::warning(ui.ctx()));
        }
        let selected = locked || look.is_some();
        response.widget_info(|| WidgetInfo::selected(Role::Button, true, selected, &name));
        if response.clicked() {
            commands.push(touch(self.state, position));
        }
        if response.hovered() || response.has_focus() {
            *hovered = Some(position);
        }
        response.on_hover_ui(|ui| expected(ui, token, position, self.strip));
    }

    /// The head of a picture's patches; a click folds or unfolds them.
    fn fold(&self, ui: &mut Ui, positions: &Range<usize>, commands: &mut Vec<Command>) {
        let side = self.state.patches().unwrap_or_default();
        let text = fold_text(side, self.unfolded);
        let width = self.size.x * text.chars().count() as f32 + 2.0 * INSET;
        let (rect, response) = ui.allocate_exact_size(vec2(width, self.size.y), Sense::click());
        // Folded it stands for its patches: the largest value, any mark.
        let folded = !self.unfolded;
        let largest = positions.clone().filter(|&at| self.colours.value(at).is_some_and(f32::is_finite));
        let largest = largest.max_by(|&a, &b| {
            let value = |at| self.colours.value(at).unwrap_or(f32::NEG_INFINITY);
            value(a).total_cmp(&value(b))
        });
        let fill = largest.filter(|_| folded).and_then(|at| self.colours.of(at, theme::ground(ui.ctx())));
        self.text(ui, rect, &text, fill);
        let holds = |position: usize| folded && positions.contains(&position);
        let locked = self.state.choices.position.is_some_and(holds);
        self.frame(ui, rect, &response, locked, self.state.hovered.is_some_and(holds));
        let look = |at: usize| self.marking.and_then(|method| marks::of(self.state, method, at));
        if let Some(look) = positions.clone().filter(|_| folded).find_map(look) {
            marks::draw(ui.painter(), rect, look, theme::warning(ui.ctx()));
        }
        let name = format!("image {side}×{side}");
        response.widget_info(|| WidgetInfo::selected(Role::Button, true, self.unfolded, &name));
        if response.clicked() {
            commands.push(Command::Unfold(folded));
        }
        response.on_hover_text(if folded {
            "show a chip for every patch"
        } else {
            "fold the patches into one chip"
        });
    }

    fn text(&self, ui: &Ui, rect: Rect, text: &str, colours: Option<(Color32, Color32)>) {
        let visuals = ui.visuals();
        let (ground, ink) = (visuals.faint_bg_color, visuals.text_color());
        ui.painter().rect_filled(rect, 3.0, ground);
        // Its value is a bar under it: the text stays legible whatever the colour.
        if let Some((fill, _)) = colours {
            let bar = Rect::from_min_max(pos2(rect.left(), rect.bottom() - BAR), rect.right_bottom());
            ui.painter().rect_filled(bar, 1.0, fill);
        }
        let galley = ui.painter().layout_no_wrap(text.to_owned(), font(), ink);
        ui.painter().galley(rect.center() - galley.size() / 2.0, galley, ink);
    }

    /// A patch: its value's colour where it has one, else what it shows.
    fn piece_of_picture(&self, ui: &Ui, rect: Rect, position: usize, [row, col]: [usize; 2], side: usize) {
        let colours = self.colours.of(position, theme::ground(ui.ctx()));
        let edge = ui.visuals().widgets.noninteractive.bg_stroke;
        let shown = self.state.image.as_ref().and_then(|shown| picture::of_prompt(ui.ctx(), shown));
        match (colours, shown) {
            (None, Some(texture)) => {
                let part = Vec2::splat(1.0 / side.max(1) as f32);
                let corner = pos2(col as f32 * part.x, row as f32 * part.y);
                let uv = Rect::from_min_size(corner, part);
                ui.painter().image(texture.id(), rect, uv, Color32::WHITE);
            }
            (colours, _) => {
                let fill = colours.map_or(ui.visuals().faint_bg_color, |(fill, _)| fill);
                ui.painter().rect_filled(rect, 0.0, fill);
            }
        }
        ui.painter().rect_stroke(rect, 0.0, edge, StrokeKind::Outside);
    }

    /// A token past the context: the model does not read it.
    fn beyond(&self, ui: &Ui, rect: Rect) {
        ui.painter().rect_filled(rect, 3.0, ui.visuals().panel_fill.gamma_multiply(0.6));
        let edge = Stroke::new(1.0, theme::edge(ui.ctx()));
        let [a, b, c, d] = [rect.left_top(), rect.right_top(), rect.right_bottom(), rect.left_bottom()];
        ui.painter().extend(Shape::dashed_line(&[a, b, c, d, a], edge, 3.0, 2.0));
    }

    fn frame(&self, ui: &Ui, rect: Rect, response: &Response, locked: bool, hovered: bool) {
        if locked || hovered || response.hovered() || response.has_focus() {
            let stroke = Stroke::new(if locked { 2.0 } else { 1.0 }, theme::accent(ui.ctx()));
            ui.painter().rect_stroke(rect, 3.0, stroke, StrokeKind::Inside);
        }
    }
}

/// What a click on a position does: mark it for the method on screen that asks for positions, else lock the inspector on it.
pub(super) fn touch(state: &State, position: usize) -> Command {
    if let Some(method) = marking(state)
        && let Some(pick) = marks::brush(state, method)
    {
        return Command::Mark(method, pick, vec![position], None);
    }
    Command::Select((state.choices.position != Some(position)).then_some(position))
}

/// The tooltip of a chip.
pub(super) fn expected(ui: &mut Ui, token: &Token, position: usize, strip: Option<&Strip>) {
    ui.label(RichText::new(format!("{} · position {position} · id {}", token.text, token.id)).monospace());
    let Some(strip) = strip else { return };
    let at = |values: &[f32]| values.get(position).copied().unwrap_or(f32::NAN);
    let (base, plan) = (at(&strip.surprisal_base), at(&strip.surprisal_plan));
    if base.is_finite() {
        ui.weak(format!("surprisal {base:.2} nats, under the plan {plan:.2}"));
    }
    ui.weak(format!("KL of what follows {:.4} nats", at(&strip.kl)));
    ui.separator();
    ui.weak("expected next, under the plan");
    for (token, p) in strip.top.get(position).into_iter().flatten() {
        ui.label(RichText::new(format!("{:>5.1} %  {}", 100.0 * p, token.text)).monospace());
    }
}

/// The scalar that colours the chips.
struct Colours<'a> {
    values: &'a [f32],
    scale: Scale,
}

impl<'a> Colours<'a> {
    fn new(state: &'a State, strip: Option<&'a Strip>) -> Self {
        // Of the prompt on screen only.
        let asked = state.request_prompt().ok();
        let asked = asked.map(Subject::Prompt);
        let oracle = state.studies.findings(ORACLE.id);
        let oracle = oracle.filter(|findings| Some(&findings.asked.subject) == asked.as_ref());
        let found = oracle.and_then(|findings| findings.value::<OracleFound>()?.difficulty.as_ref());
        let values: &[f32] = match (state.choices.colour, strip) {
            (ChipColour::Difficulty, _) => found.map_or(&[], |[loss, _]| loss),
            (ChipColour::Gap, _) => found.map_or(&[], |[_, gap]| gap),
            (ChipColour::Surprisal, Some(strip)) => &strip.surprisal_base,
            (ChipColour::Loss, Some(strip)) => &strip.surprisal_plan,
            (ChipColour::Kl, Some(strip)) => &strip.kl,
            _ => &[],
        };
        let largest = values.iter().copied().filter(|x| x.is_finite()).fold(0.0, f32::max);
        Self { values, scale: Scale::Sequential { min: 0.0, max: largest.max(1e-6) } }
    }

    fn value(&self, position: usize) -> Option<f32> {
        self.values.get(position).copied()
    }

    /// Fill and ink of a chip.
    fn of(&self, position: usize, ground: Ground) -> Option<(Color32, Color32)> {
        let rgb = colour::rgb(&self.scale, self.value(position)?, ground)?;
        Some((theme::colour(rgb), theme::colour(colour::ink(rgb))))
    }
}

fn font() -> FontId {
    FontId::monospace(12.5)
}

fn fold_text(side: usize, unfolded: bool) -> String {
    format!("image {side}×{side} {}", if unfolded { '▾' } else { '▸' })
}

/// Width of a piece, where a character is `size.x` wide; wide characters are given the room of two.
fn width(piece: &Piece, tokens: &[Token], size: Vec2, side: usize) -> f32 {
    let columns = match piece {
        Piece::Patch(_) => return size.y,
        Piece::Image(_) => fold_text(side, false).chars().count(),
        Piece::Token(position) => {
            let text = tokens.get(*position).map_or("", |token| token.text.as_str());
            let narrow = text.chars().all(|c| c.is_ascii() || "·↵→▁".contains(c));
            let wide = |c: char| if c.is_ascii() || narrow { 1 } else { 2 };
            text.chars().map(wide).sum()
        }
    };
    size.x * columns.max(1) as f32 + 2.0 * INSET
}

/// What stands in the strip, in order.
fn pieces(tokens: &[Token], unfolded: bool) -> Vec<Piece> {
    let is_patch = |position: &usize| {
        tokens.get(*position).is_some_and(|token| matches!(token.patch, Some(Patch::At { .. })))
    };
    let (mut pieces, mut position) = (Vec::new(), 0);
    while position < tokens.len() {
        let end = (position..tokens.len()).find(|at| !is_patch(at)).unwrap_or(tokens.len());
        if end == position {
            pieces.push(Piece::Token(position));
            position += 1;
            continue;
        }
        pieces.push(Piece::Image(position..end));
        if unfolded {
            pieces.extend((position..end).map(Piece::Patch));
        }
        position = end;
    }
    pieces
}

type Rows = Arc<[Vec<Piece>]>;

/// Whether the strip has more rows than are on screen.
pub fn is_long(ctx: &Context) -> bool {
    let kept: Option<Kept> = ctx.data(|data| data.get_temp(rows_id()));
    kept.is_some_and(|(.., rows)| rows.len() as f32 > ROWS)
}

fn rows_id() -> Id {
    Id::unique("strip-rows")
}

/// Rows with what they are of.
type Kept = (Arc<[Token]>, u32, bool, Rows);

/// Which pieces share a row; kept until the tokens, the width or the folding change.
fn rows(ui: &Ui, tokens: &Arc<[Token]>, size: Vec2, side: usize, unfolded: bool) -> Rows {
    let room = ui.available_width() - 16.0;
    let id = rows_id();
    let kept: Option<Kept> = ui.data(|data| data.get_temp(id));
    let same = |(of, at, open, _): &Kept| Arc::ptr_eq(of, tokens) && *at == room as u32 && *open == unfolded;
    if let Some((.., rows)) = kept.filter(same) {
        return rows;
    }
    let (mut rows, mut row, mut used) = (Vec::new(), Vec::new(), 0.0);
    for piece in pieces(tokens, unfolded) {
        let width = width(&piece, tokens, size, side) + GAP;
        if used + width > room && !row.is_empty() {
            rows.push(std::mem::take(&mut row));
            used = 0.0;
        }
        used += width;
        row.push(piece);
    }
    rows.push(row);
    let rows: Rows = rows.into();
    let kept: Kept = (Arc::clone(tokens), room as u32, unfolded, Arc::clone(&rows));
    ui.data_mut(|data| data.insert_temp(id, kept));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patches_of_a_picture_are_one_group() {
        let token = |patch| Token { id: 3, text: "x".into(), patch, ..Token::default() };
        let at = |row, col| token(Some(Patch::At { row, col }));
        let tokens = [token(None), token(Some(Patch::Class)), at(0, 0), at(0, 1), token(None)];
        let folded = [Piece::Token(0), Piece::Token(1), Piece::Image(2..4), Piece::Token(4)];
        assert_eq!(pieces(&tokens, false), folded);
        assert_eq!(pieces(&tokens, true)[3..5], [Piece::Patch(2), Piece::Patch(3)]);
    }
}
