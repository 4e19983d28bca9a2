//! What identifies a panel.

use sluice_core::method::Group;

/// Id of a panel: that of its method, or of what it shows.
pub type PanelId = &'static str;

/// How a panel is found.
#[derive(Clone, Copy, Debug)]
pub struct PanelInfo {
    /// Kebab-case.
    pub id: PanelId,
    /// On its tab.
    pub name: &'static str,
    /// What papers call it, in a word; empty where they do not.
    pub tag: &'static str,
    /// What it is for, in one line.
    pub hint: &'static str,
    /// Where it stands in the navigation.
    pub group: Group,
    /// Among the tabs at the start.
    pub open: bool,
}
