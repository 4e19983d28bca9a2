//! Curves over a shared x axis, in the height that is left.

use std::sync::Arc;

use eframe::egui::{Id, Rangef, RichText, Role, Ui, UiBuilder, WidgetInfo};
use egui_plot::{AxisHints, GridInput, GridMark, HoverPosition, Line, LineStyle, Plot, PlotPoints};
use sluice_core::figure::{Figure, Lines, number};

use super::legend;
use super::marks::{thinning, widest};
use crate::theme;

/// Least height in points; the height where there is no end to what is left.
const LEAST: f32 = 160.0;
/// Characters of an x label.
const LABEL: usize = 14;
/// Points between the labels of the y axis.
const SPACING: f32 = 26.0;
/// Grid lines closer than this in points are not drawn; the unit that the plot gives spacers their scale in.
const CLOSEST: f32 = 8.0;

/// Draw them.
pub fn ui(ui: &mut Ui, figure: &Arc<Figure>, lines: &Lines) {
    let Some((low, high)) = lines.range() else {
        ui.weak("No data");
        return;
    };
    let free = ui.available_height();
    let height = if free.is_finite() { free.max(LEAST) } else { LEAST };
    let count = (height / SPACING) as usize;
    let need = widest(ui, &lines.x_labels, LABEL) + 2.0 * theme::UNIT;
    let labels = Arc::clone(&lines.x_labels);
    let hovered = Arc::clone(&lines.x_labels);
    let palette = theme::ground(ui.ctx()).palette();
    let grid = ui.visuals().widgets.noninteractive.bg_stroke.color;
    let name = |name: &str| RichText::new(name).small().weak();
    let x_axis = AxisHints::new_x()
        .label(name(&lines.x_name))
        .tick_label_font(theme::small_mono())
        .label_spacing(Rangef::new(0.0, need.min(30.0)))
        .formatter(move |mark, _| {
            let whole = (mark.value - mark.value.round()).abs() < 1e-6 && mark.value >= 0.0;
            let label = if whole { labels.get(mark.value.round() as usize) } else { None };
            label.map_or_else(String::new, |label| theme::short(label, LABEL))
        });
    let y_axis = AxisHints::new_y()
        .label(name(&lines.y_name))
        .tick_label_font(theme::small_mono())
        .label_spacing(Rangef::new(0.0, 1.0))
        .formatter(move |mark, range| {
            let ticks = number::ticks(*range.start(), *range.end(), count);
            let near = |(value, _): &(f64, String)| (value - mark.value).abs() <= 1e-6 * mark.step_size;
            ticks.into_iter().find(near).map(|(_, text)| text).unwrap_or_default()
        });
    let plot = Plot::new(Id::unique(("lines", figure.id)))
        .height(height)
        .allow_scroll(false)
        .allow_drag(false)
        .show_background(false)
        .include_y(low)
        .include_y(high)
        .custom_x_axes(vec![x_axis])
        .custom_y_axes(vec![y_axis])
        .grid_spacing(Rangef::new(CLOSEST, 4.0 * CLOSEST))
        .grid_color(grid)
        .x_grid_spacer(move |input| whole_numbers(&input, need))
        .y_grid_spacer(move |input| round_numbers(&input, count))
        .label_formatter(move |at| {
            let HoverPosition::NearDataPoint { plot_name, position, .. } = at else { return None };
            let label = hovered.get(position.x.round().max(0.0) as usize)?;
            Some(format!("{label}\n{plot_name} {}", legend::number(position.y as f32)))
        });
    let place = UiBuilder::new().scope_id(Id::unique(("curves", figure.id)));
    let shown = ui.scope_builder(place, |ui| {
        plot.show(ui, |plot| {
            for (index, series) in lines.series.iter().enumerate() {
                let colour = theme::colour(palette.series(index));
                let width = if index == 0 { 3.5 } else { 1.5 };
                let style = dash(index).map_or(LineStyle::Solid, |[length, _]| LineStyle::Dashed { length });
                // A missing value is a gap.
                for (start, run) in runs(&series.y) {
                    let at = |(i, y): (usize, &f32)| [(start + i) as f64, f64::from(*y)];
                    let points: PlotPoints<'_> = run.iter().enumerate().map(at).collect();
                    plot.line(Line::new(&series.name, points).color(colour).width(width).style(style));
                }
            }
        })
    });
    let label = format!("{} curves", figure.title);
    shown.inner.response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &label));
}

/// Length of the dashes of a curve and of the gaps between them, so that curves are told apart without colour and where
/// they lie on one another; none for the first.
pub fn dash(index: usize) -> Option<[f32; 2]> {
    let length = [None, Some(8.0), Some(3.0), Some(16.0)][index % 4]?;
    // The plot's own ratio.
    Some([length, length / std::f32::consts::GOLDEN_RATIO])
}

/// A mark at every whole number whose label of `need` points has room, or at every so many of them.
fn whole_numbers(input: &GridInput, need: f32) -> Vec<GridMark> {
    let pitch = f64::from(CLOSEST) / input.base_step_size.max(1e-12);
    let every = round_up(thinning(pitch as f32, need));
    let (first, last) = (input.bounds.0.max(0.0), input.bounds.1.min(1e9));
    let first = (first / every as f64).ceil() as usize * every;
    let last = last.floor().max(0.0) as usize;
    (first..=last).step_by(every).map(|at| GridMark { value: at as f64, step_size: every as f64 }).collect()
}

/// The next of 1, 2, 3, 5, 10, 20 …
fn round_up(count: usize) -> usize {
    let steps = (0..9).flat_map(|decade| [1, 2, 3, 5].map(|digit| digit * 10_usize.pow(decade)));
    steps.into_iter().find(|step| *step >= count).unwrap_or(count)
}

/// The ticks that files have.
fn round_numbers(input: &GridInput, count: usize) -> Vec<GridMark> {
    let ticks = number::ticks(input.bounds.0, input.bounds.1, count);
    let step = match ticks.as_slice() {
        [(first, _), (second, _), ..] => second - first,
        _ => (input.bounds.1 - input.bounds.0).max(1e-12),
    };
    ticks.into_iter().map(|(value, _)| GridMark { value, step_size: step }).collect()
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
    use super::*;

    #[test]
    fn gaps_part_the_runs() {
        let y = [f32::NAN, 1.0, 2.0, f32::NAN, f32::NAN, 3.0];
        assert_eq!(runs(&y), [(1, &y[1..3]), (5, &y[5..])]);
        assert!(runs(&[f32::NAN]).is_empty());
    }

    #[test]
    fn labels_have_room() {
        let marks = |per_label: f64, bounds| -> Vec<f64> {
            let input = GridInput { bounds, base_step_size: f64::from(CLOSEST) / per_label };
            whole_numbers(&input, 40.0).iter().map(|mark| mark.value).collect()
        };
        assert_eq!(marks(50.0, (-0.4, 3.4)), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(marks(10.0, (-1.0, 12.0)), [0.0, 5.0, 10.0], "each has 10 points, and needs 40");
        assert_eq!(marks(10.0, (7.5, 16.0)), [10.0, 15.0], "zoomed");
        assert_eq!((round_up(21), round_up(31)), (30, 50));
    }

    #[test]
    fn the_y_axis_has_round_ticks() {
        let input = GridInput { bounds: (0.0, 1.0), base_step_size: 0.01 };
        let marks = round_numbers(&input, 5);
        assert_eq!(marks.len(), 6);
        assert!(marks.iter().all(|mark| (mark.step_size - 0.2).abs() < 1e-9));
    }
}
