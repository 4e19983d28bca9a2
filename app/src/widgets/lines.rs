//! Curves over the prompt's tokens.

use std::sync::Arc;

use eframe::egui::{Id, Ui};
use egui_plot::{HoverPosition, Legend, Line, Plot, PlotPoints};
use sluice_core::figure::{Figure, Lines};

use super::legend::number;
use crate::theme;

/// Height in points.
const HEIGHT: f32 = 132.0;

/// Draw them.
pub fn ui(ui: &mut Ui, figure: &Arc<Figure>, lines: &Lines) {
    let labels = Arc::clone(&lines.x_labels);
    let hovered = Arc::clone(&lines.x_labels);
    let palette = theme::ground(ui.ctx()).palette();
    Plot::new(Id::unique(("lines", &figure.name)))
        .height(HEIGHT)
        .legend(Legend::default())
        .allow_scroll(false)
        .allow_drag(false)
        .show_background(false)
        .x_axis_formatter(move |mark, _| {
            let whole = (mark.value - mark.value.round()).abs() < 1e-6;
            let label = if whole { labels.get(mark.value.round() as usize) } else { None };
            label.map_or_else(String::new, |label| theme::short(label, 6))
        })
        .label_formatter(move |at| {
            let HoverPosition::NearDataPoint { plot_name, position, .. } = at else { return None };
            let token = hovered.get(position.x.round().max(0.0) as usize)?;
            Some(format!("{token}\n{plot_name} {}", number(position.y as f32)))
        })
        .show(ui, |plot| {
            for (index, series) in lines.series.iter().enumerate() {
                let points = series.y.iter().enumerate().filter(|(_, y)| y.is_finite());
                let points: PlotPoints<'_> = points.map(|(x, y)| [x as f64, f64::from(*y)]).collect();
                let colour = theme::colour(palette.series(index));
                plot.line(Line::new(&series.name, points).color(colour).width(1.5));
            }
        });
}
