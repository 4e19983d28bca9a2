//! Where the newest frame drew the parts of the window: the tour points at them, and how much room figures have is measured
//! by them.

use eframe::egui::{Context, Id, Rect, Ui};

/// The inside of a docked panel.
pub const PANE: &str = "pane";
/// A figure with its axes, labels and legend, or a table or text in a figure's place.
pub const FIGURE: &str = "figure";

/// The prompt, what follows it, the methods, the plan.
pub const PROMPT: &str = "prompt";
/// See [`PROMPT`].
pub const ANSWER: &str = "answer";
/// See [`PROMPT`].
pub const METHODS: &str = "methods";
/// See [`PROMPT`].
pub const PLAN: &str = "plan";

/// Keep where something was drawn in this frame; with what was kept before in the same frame, where all of it is.
pub fn keep(ui: &Ui, what: &'static str, rect: Rect) {
    let frame = ui.ctx().cumulative_frame_nr();
    let id = Id::unique(("area", what));
    ui.data_mut(|data| {
        let known: Option<(u64, Rect)> = data.get_temp(id);
        let all = known.filter(|(of, _)| *of == frame).map_or(rect, |(_, known)| known.union(rect));
        data.insert_temp(id, (frame, all));
    });
}

/// Where it is; none where the newest frame has not drawn it.
pub fn of(ctx: &Context, what: &'static str) -> Option<Rect> {
    let known: Option<(u64, Rect)> = ctx.data(|data| data.get_temp(Id::unique(("area", what))));
    let newest = ctx.cumulative_frame_nr();
    known.filter(|(frame, _)| frame + 1 >= newest).map(|(_, rect)| rect)
}
