//! The centre: panels as tabs that can be dragged apart into splits.

use eframe::egui::style::ScrollAnimation;
use eframe::egui::{Color32, Id, Response, Stroke, Style, Ui, Visuals, WidgetText};
use egui_tiles::{
    Behavior, Container, SimplificationOptions, TabState, Tile, TileId, Tiles, Tree, UiResponse,
};

use crate::command::Command;
use crate::panels;
use crate::state::{PanelId, State};
use crate::theme;
use crate::widgets::area;

mod saved;

pub use saved::Saved;

/// Where egui keeps what it remembers of the panels.
const TREE: &str = "centre";

/// Where the panels are.
pub struct Layout {
    tree: Tree<PanelId>,
    /// A panel that was brought to the front: its tab is yet to be scrolled into sight.
    brought: Option<TileId>,
}

impl Default for Layout {
    fn default() -> Self {
        let open = panels::panels().iter().map(|panel| panel.info()).filter(|info| info.open);
        let open: Vec<PanelId> = open.map(|info| info.id).collect();
        Self::of(Tree::new_tabs(Id::unique(TREE), open))
    }
}

impl Layout {
    fn of(tree: Tree<PanelId>) -> Self {
        Self { tree, brought: None }
    }

    /// Bring a panel to the front of its tabs; one that was closed comes back.
    pub fn show(&mut self, id: PanelId) {
        self.open(id);
        self.brought = self.tree.tiles.find_pane(&id);
    }

    fn open(&mut self, id: PanelId) {
        let is = |tile: &Tile<PanelId>| matches!(tile, Tile::Pane(pane) if *pane == id);
        if self.tree.make_active(|_, tile| is(tile)) {
            return;
        }
        let pane = self.tree.tiles.insert_pane(id);
        let first_tabs =
            self.tree.tiles.iter().find_map(|(tile, kind)| {
                matches!(kind, Tile::Container(Container::Tabs(_))).then_some(*tile)
            });
        let root = self.tree.root();
        match first_tabs.and_then(|tabs| self.tree.tiles.get_mut(tabs)) {
            Some(Tile::Container(container)) => container.add_child(pane),
            _ => {
                let all = root.into_iter().chain([pane]).collect();
                self.tree.root = Some(self.tree.tiles.insert_tab_tile(all));
            }
        }
        self.tree.make_active(|_, tile| is(tile));
    }

    /// The panels on screen, in the order of the list.
    pub fn visible(&self) -> Vec<PanelId> {
        let tabs = self.tree.active_tiles().into_iter().filter_map(|id| match self.tree.tiles.get(id) {
            Some(Tile::Pane(id)) => Some(*id),
            _ => None,
        });
        let shown: Vec<PanelId> = tabs.collect();
        panels::panels().iter().map(|panel| panel.info().id).filter(|id| shown.contains(id)).collect()
    }
}

/// Draw the panels.
pub fn ui(ui: &mut Ui, layout: &mut Layout, state: &mut State, commands: &mut Vec<Command>) {
    let brought = layout.brought.take();
    layout.tree.ui(&mut Panes { state, commands, brought }, ui);
}

struct Panes<'a> {
    state: &'a mut State,
    commands: &'a mut Vec<Command>,
    brought: Option<TileId>,
}

impl Behavior<PanelId> for Panes<'_> {
    fn pane_ui(&mut self, ui: &mut Ui, _id: TileId, id: &mut PanelId) -> UiResponse {
        let (state, commands) = (&mut *self.state, &mut *self.commands);
        theme::pane(ui).show(ui, |ui| {
            ui.set_min_size(ui.available_size());
            ui.spacing_mut().item_spacing.y = theme::UNIT / 2.0;
            area::keep(ui, area::PANE, ui.max_rect());
            if let Some(panel) = panels::find(id) {
                panel.ui(ui, state, commands);
            }
        });
        UiResponse::None
    }

    fn tab_title_for_pane(&mut self, id: &PanelId) -> WidgetText {
        panels::find(id).map_or(*id, |panel| panel.info().name).into()
    }

    fn on_tab_button(&mut self, _: &mut Tiles<PanelId>, id: TileId, tab: Response) -> Response {
        if self.brought == Some(id) {
            tab.scroll_to_me_animation(None, ScrollAnimation::none());
        }
        tab
    }

    fn is_tab_closable(&self, _tiles: &Tiles<PanelId>, _id: TileId) -> bool {
        true
    }

    fn tab_bar_color(&self, visuals: &Visuals) -> Color32 {
        visuals.panel_fill
    }

    fn tab_text_color(&self, visuals: &Visuals, _: &Tiles<PanelId>, _: TileId, tab: &TabState) -> Color32 {
        if tab.active { visuals.text_color() } else { visuals.weak_text_color() }
    }

    fn tab_outline_stroke(&self, visuals: &Visuals, _: &Tiles<PanelId>, _: TileId, tab: &TabState) -> Stroke {
        if tab.active { Stroke::new(1.0, visuals.selection.bg_fill) } else { Stroke::NONE }
    }

    fn tab_bar_height(&self, _style: &Style) -> f32 {
        theme::ROW + 4.0
    }

    fn tab_title_for_tile(&mut self, tiles: &Tiles<PanelId>, id: TileId) -> WidgetText {
        fn names(tiles: &Tiles<PanelId>, id: TileId) -> Vec<&'static str> {
            match tiles.get(id) {
                Some(Tile::Pane(id)) => vec![panels::find(id).map_or(*id, |panel| panel.info().name)],
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

    fn is_tile_draggable(&self, tiles: &Tiles<PanelId>, id: TileId) -> bool {
        matches!(tiles.get(id), Some(Tile::Pane(_)))
    }
}
