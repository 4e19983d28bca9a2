//! Curves over the prompt's tokens.

use std::sync::Arc;

use eframe::egui::{Id, RichText, Ui};
use egui_plot::{HoverPosition, Line, Plot, PlotPoints};
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
    ui.horizontal(|ui| {
        for (index, series) in lines.series.iter().enumerate() {
            let ink = theme::colour(palette.series(index));
            ui.label(RichText::new(format!("— {}", series.name)).small().color(ink));
        }
    });
    Plot::new(Id::unique(("lines", &figure.name, &figure.detail)))
        .height(HEIGHT)
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
                let colour = theme::colour(palette.series(index));
                // A missing value is a gap.
                for (start, run) in runs(&series.y) {
                    let at = |(i, y): (usize, &f32)| [(start + i) as f64, f64::from(*y)];
                    let points: PlotPoints<'_> = run.iter().enumerate().map(at).collect();
                    plot.line(Line::new(&series.name, points).color(colour).width(if index == 0 {
                        3.5
                    } else {
                        1.5
                    }));
                }
            }
        });
}

/// Stretches of finite values, each with its start.
fn runs(y: &[f32]) -> Vec<(usize, &[f32])> {
    let mut start = 0;
    let mut runs = Vec::new();
    for run in y.split(|y| !y.is_finite()) {
        if !run.is_empty() {
            runs.push((start, run));
        }
        start += run.len() + 1;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::runs;

    #[test]
    fn gaps_part_the_runs() {
        let y = [f32::NAN, 1.0, 2.0, f32::NAN, f32::NAN, 3.0];
        assert_eq!(runs(&y), [(1, &y[1..3]), (5, &y[5..])]);
        assert!(runs(&[f32::NAN]).is_empty());
    }
}
