//! Where the panels are, as a session keeps it.

use std::collections::BTreeSet;

use eframe::egui::Id;
use egui_tiles::{Container, Linear, LinearDir, Tabs, Tile, TileId, Tiles, Tree};
use serde::{Deserialize, Serialize};

use super::{Layout, TREE};
use crate::panels;
use crate::state::PanelId;

/// Containers within each other at most.
const DEEPEST: usize = 16;

/// A panel, or containers of some.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Number that scrolled places are remembered under.
    tile: u64,
    #[serde(flatten)]
    what: What,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Panel(String),
    Tabs {
        /// Index of the one in front.
        front: usize,
        children: Vec<Saved>,
    },
    Split {
        /// Beside each other, else below.
        across: bool,
        /// Room of each, relative to the others.
        shares: Vec<f32>,
        children: Vec<Saved>,
    },
}

impl Layout {
    /// What a session keeps.
    pub fn save(&self) -> Option<Saved> {
        save(&self.tree.tiles, self.tree.root()?, 0)
    }

    /// Panels where they were; those that there are no longer are left out. None where nothing is left.
    pub fn restore(saved: &Saved) -> Option<Self> {
        let mut restored = Restored { tiles: Tiles::default(), panels: BTreeSet::new() };
        let root = restored.add(saved, 0)?;
        Some(Self::of(Tree::new(Id::unique(TREE), root, restored.tiles)))
    }
}

fn save(tiles: &Tiles<PanelId>, id: TileId, depth: usize) -> Option<Saved> {
    if depth > DEEPEST {
        return None;
    }
    let all = |children: &[TileId]| -> Vec<(TileId, Saved)> {
        children.iter().filter_map(|&child| Some((child, save(tiles, child, depth + 1)?))).collect()
    };
    let what = match tiles.get(id)? {
        Tile::Pane(panel) => What::Panel((*panel).to_owned()),
        Tile::Container(Container::Linear(linear)) => {
            let saved = all(&linear.children);
            let share =
                |id: TileId| linear.shares.iter().find(|(of, _)| **of == id).map_or(1.0, |(_, share)| *share);
            What::Split {
                across: linear.dir == LinearDir::Horizontal,
                shares: saved.iter().map(|(id, _)| share(*id)).collect(),
                children: saved.into_iter().map(|(_, saved)| saved).collect(),
            }
        }
        Tile::Container(Container::Tabs(tabs)) => {
            let saved = all(&tabs.children);
            let front = saved.iter().position(|(id, _)| tabs.active == Some(*id)).unwrap_or(0);
            What::Tabs { front, children: saved.into_iter().map(|(_, saved)| saved).collect() }
        }
        // Panels are never laid out in one.
        Tile::Container(Container::Grid(_)) => return None,
    };
    Some(Saved { tile: id.0, what })
}

struct Restored {
    tiles: Tiles<PanelId>,
    /// A panel is there once.
    panels: BTreeSet<PanelId>,
}

impl Restored {
    fn add(&mut self, saved: &Saved, depth: usize) -> Option<TileId> {
        if depth > DEEPEST {
            return None;
        }
        let tile = match &saved.what {
            What::Panel(id) => {
                let id = panels::find(id)?.info().id;
                if !self.panels.insert(id) {
                    return None;
                }
                Tile::Pane(id)
            }
            What::Tabs { front, children } => {
                let front = children.get(*front);
                let mut tabs = Tabs::default();
                for child in children {
                    let Some(id) = self.add(child, depth + 1) else { continue };
                    tabs.children.push(id);
                    if front == Some(child) || tabs.active.is_none() {
                        tabs.active = Some(id);
                    }
                }
                tabs.active?;
                Tile::Container(Container::Tabs(tabs))
            }
            What::Split { across, shares, children } => {
                let dir = if *across { LinearDir::Horizontal } else { LinearDir::Vertical };
                let mut linear = Linear::new(dir, Vec::new());
                for (index, child) in children.iter().enumerate() {
                    let Some(id) = self.add(child, depth + 1) else { continue };
                    linear.children.push(id);
                    let share = shares.get(index).copied().filter(|share| share.is_finite());
                    linear.shares.set_share(id, share.unwrap_or(1.0).clamp(0.01, 100.0));
                }
                if linear.children.is_empty() {
                    return None;
                }
                Tile::Container(Container::Linear(linear))
            }
        };
        let own = TileId(saved.tile);
        Some(match self.tiles.get(own) {
            None => {
                self.tiles.insert(own, tile);
                own
            }
            Some(_) => self.tiles.insert_new(tile),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Layout> {
        Layout::restore(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn panels_come_back_where_they_were() {
        let mut layout = Layout::default();
        layout.show("trace");
        let saved = layout.save().unwrap();
        let again: Saved = serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap();
        let again = Layout::restore(&again).unwrap();
        assert_eq!(again.save().unwrap(), saved);
        assert_eq!(again.visible(), layout.visible());
        let split = r#"{"tile": 9, "split": {"across": true, "shares": [1.0, 3.0], "children": [
            {"tile": 2, "panel": "lens"}, {"tile": 3, "panel": "trace"}]}}"#;
        let layout = read(split).unwrap();
        assert_eq!(layout.visible(), ["lens", "trace"]);
        assert_eq!(
            serde_json::to_value(layout.save()).unwrap(),
            serde_json::from_str::<serde_json::Value>(split).unwrap()
        );
    }

    #[test]
    fn what_cannot_be_is_left_out() {
        let tabs =
            |children: &str| format!(r#"{{"tile": 1, "tabs": {{"front": 7, "children": [{children}]}}}}"#);
        assert!(read(&tabs("")).is_none());
        assert!(read(&tabs(r#"{"tile": 2, "panel": "conjuring"}"#)).is_none());
        let twice = tabs(
            r#"{"tile": 1, "panel": "lens"}, {"tile": 1, "panel": "lens"}, {"tile": 1, "panel": "trace"}"#,
        );
        assert_eq!(read(&twice).unwrap().visible(), ["lens"]);
        let mut deep = r#"{"tile": 0, "panel": "lens"}"#.to_owned();
        for _ in 0..40 {
            deep = tabs(&deep);
        }
        assert!(read(&deep).is_none());
        let share = r#"{"tile": 9, "split": {"across": false, "shares": [-1e30], "children": [
            {"tile": 2, "panel": "lens"}, {"tile": 3, "panel": "trace"}]}}"#;
        assert_eq!(read(share).unwrap().visible(), ["lens", "trace"]);
    }
}
