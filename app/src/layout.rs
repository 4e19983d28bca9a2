//! The centre: panels as tabs that can be dragged apart into splits.

use eframe::egui::{Color32, Stroke, Style, Ui, Visuals, WidgetText};
use egui_tiles::{Behavior, SimplificationOptions, TabState, Tile, TileId, Tiles, Tree, UiResponse};

use crate::command::Command;
use crate::panels;
use crate::state::{State, Tab};

/// Where the panels are.
pub struct Layout {
    tree: Tree<Tab>,
}

impl Default for Layout {
    fn default() -> Self {
        Self { tree: Tree::new_tabs(eframe::egui::Id::unique("centre"), Tab::ALL.to_vec()) }
    }
}

impl Layout {
    /// Bring a panel to the front of its tabs.
    pub fn show(&mut self, tab: Tab) {
        self.tree.make_active(|_, tile| matches!(tile, Tile::Pane(pane) if *pane == tab));
    }

    /// The panels on screen.
    pub fn visible(&self) -> Vec<Tab> {
        let tabs = self.tree.active_tiles().into_iter().filter_map(|id| match self.tree.tiles.get(id) {
            Some(Tile::Pane(tab)) => Some(*tab),
            _ => None,
        });
        let mut tabs: Vec<Tab> = tabs.collect();
        tabs.sort_unstable();
        tabs
    }
}

/// Draw the panels.
pub fn ui(ui: &mut Ui, layout: &mut Layout, state: &mut State, commands: &mut Vec<Command>) {
    layout.tree.ui(&mut Panes { state, commands }, ui);
}

struct Panes<'a> {
    state: &'a mut State,
    commands: &'a mut Vec<Command>,
}

impl Behavior<Tab> for Panes<'_> {
    fn pane_ui(&mut self, ui: &mut Ui, _id: TileId, tab: &mut Tab) -> UiResponse {
        let (state, commands) = (&mut *self.state, &mut *self.commands);
        crate::theme::pane(ui).show(ui, |ui| {
            ui.set_min_size(ui.available_size());
            match tab {
                Tab::Routing => panels::routing::ui(ui, state, commands),
                Tab::Experts => panels::experts::ui(ui, state, commands),
                Tab::Pruning => panels::pruning::ui(ui, state, commands),
                Tab::Activations => panels::activations::ui(ui, state, commands),
                Tab::Attention => panels::attention::ui(ui, state, commands),
                Tab::Lens => panels::lens::ui(ui, state, commands),
                Tab::Trace => panels::trace::ui(ui, state, commands),
                Tab::Fcct => panels::fcct::ui(ui, state, commands),
                Tab::Inject => panels::inject::ui(ui, state, commands),
                Tab::Iri => panels::iri::ui(ui, state, commands),
                Tab::Text => panels::text::ui(ui, state, commands),
            }
        });
        UiResponse::None
    }

    fn tab_title_for_pane(&mut self, tab: &Tab) -> WidgetText {
        tab.name().into()
    }

    fn tab_bar_color(&self, visuals: &Visuals) -> Color32 {
        visuals.panel_fill
    }

    fn tab_text_color(&self, visuals: &Visuals, _: &Tiles<Tab>, _: TileId, tab: &TabState) -> Color32 {
        if tab.active { visuals.text_color() } else { visuals.weak_text_color() }
    }

    fn tab_outline_stroke(&self, visuals: &Visuals, _: &Tiles<Tab>, _: TileId, tab: &TabState) -> Stroke {
        if tab.active { Stroke::new(1.0, visuals.selection.bg_fill) } else { Stroke::NONE }
    }

    fn tab_bar_height(&self, _style: &Style) -> f32 {
        crate::theme::ROW + 4.0
    }

    fn tab_title_for_tile(&mut self, tiles: &Tiles<Tab>, id: TileId) -> WidgetText {
        fn names(tiles: &Tiles<Tab>, id: TileId) -> Vec<&'static str> {
            match tiles.get(id) {
                Some(Tile::Pane(tab)) => vec![tab.name()],
                Some(Tile::Container(container)) => {
                    container.active_children(tiles).flat_map(|child| names(tiles, child)).collect()
                }
                None => Vec::new(),
            }
        }
        names(tiles, id).join(" | ").into()
    }

    fn simplification_options(&self) -> SimplificationOptions {
        // A lone panel keeps its tab, to be dragged by.
        SimplificationOptions { all_panes_must_have_tabs: true, ..SimplificationOptions::default() }
    }

    fn is_tile_draggable(&self, tiles: &Tiles<Tab>, id: TileId) -> bool {
        matches!(tiles.get(id), Some(Tile::Pane(_)))
    }
}
