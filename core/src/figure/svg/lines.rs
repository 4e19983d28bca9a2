//! Curves over a shared x axis. Missing values are gaps; a value between two gaps is a dot.

use super::canvas::{Anchor, Canvas, Context, LABEL, NAME, Style, px, width};
use super::{ELEMENTS, axis, legend};
use crate::figure::colour::hex;
use crate::figure::text::visible;
use crate::figure::{Lines, number};

const PLOT: [f64; 2] = [640.0, 300.0];
/// Curves with up to this many points show them.
const DOTS: usize = 48;

/// Points of all curves.
pub fn points(lines: &Lines) -> usize {
    lines.series.len() * lines.x_labels.len()
}

/// The plot with its axes.
pub fn draw(lines: &Lines, context: &Context) -> Canvas {
    let mut canvas = Canvas::default();
    let palette = context.palette;
    let count = lines.x_labels.len();
    let Some((low, high)) = lines.range() else {
        canvas.text(0.0, NAME, "No data", Style::name(palette.quiet, Anchor::Start));
        canvas.reach(60.0, NAME + 4.0);
        return canvas;
    };
    let ticks = number::ticks(low, high, 5);
    let labels = ticks.iter().map(|(_, text)| width(text, LABEL)).fold(0.0, f64::max);
    let (left, top) = ((labels + 12.0).ceil(), 20.0);
    let wide = context.within(PLOT[0], left + 4.0);
    let tall = PLOT[1].min(0.7 * wide);
    let (right, bottom) = (left + wide, top + tall);
    let pitch = if count > 1 { (wide - 16.0) / (count - 1) as f64 } else { wide };
    let x = |at: usize| if count > 1 { left + 8.0 + at as f64 * pitch } else { left + wide / 2.0 };
    let y = |value: f64| bottom - (value - low) / (high - low) * tall;

    let y_name = visible(&lines.y_name);
    canvas.text(0.0, 11.0, &y_name, Style::name(palette.quiet, Anchor::Start));
    canvas.reach(width(&y_name, NAME), bottom);
    for (value, text) in &ticks {
        let height = y(*value).round() + 0.5;
        let zero = *value == 0.0;
        canvas.line((left, height), (right, height), if zero { palette.quiet } else { palette.line });
        canvas.text(left - 7.0, height + 0.34 * LABEL, text, Style::label(palette.text, Anchor::End));
    }
    canvas.line((left, bottom + 0.5), (right, bottom + 0.5), palette.quiet);
    for index in 0..lines.series.len() {
        curve(&mut canvas, lines, index, context, &x, &y);
    }
    canvas.reach(right, bottom);
    axis::below(&mut canvas, &lines.x_labels, pitch, x, bottom + 0.5, context);
    let below = canvas.height + NAME + 4.0;
    let name = Style::name(palette.quiet, Anchor::Middle);
    canvas.text((left + right) / 2.0, below, &visible(&lines.x_name), name);
    canvas.reach(0.0, below + 4.0);
    canvas
}

fn curve(
    canvas: &mut Canvas,
    lines: &Lines,
    index: usize,
    context: &Context,
    x: &impl Fn(usize) -> f64,
    y: &impl Fn(f64) -> f64,
) {
    let series = &lines.series[index];
    let colour = context.palette.series(index);
    let count = lines.x_labels.len();
    let value =
        |at: usize| series.y.get(at).copied().filter(|value| at < count && value.is_finite()).map(f64::from);
    let mut path = String::new();
    let mut dots = Canvas::default();
    let each = context.numbers && points(lines) <= ELEMENTS;
    for at in 0..count {
        let Some(here) = value(at) else { continue };
        let before = at.checked_sub(1).and_then(&value);
        path.push_str(&format!("{}{} {}", if before.is_some() { 'L' } else { 'M' }, px(x(at)), px(y(here))));
        let alone = before.is_none() && value(at + 1).is_none();
        let seen = alone || count <= DOTS;
        if seen || each {
            let title = each.then(|| {
                let label = &lines.x_labels[at];
                format!("{}, {label}: {}", series.name, number::exact(here as f32))
            });
            // A dot that is not seen still answers the pointer in a viewer.
            let fill = if seen { hex(colour) } else { "none\" pointer-events=\"all".to_owned() };
            dots.circle(x(at), y(here), if seen { 2.2 } else { 4.0 }, &fill, title.as_deref());
        }
    }
    let more = format!(" stroke-linejoin=\"round\"{}", legend::dash(index));
    canvas.stroke(&path, colour, 1.6, &more);
    canvas.raw(&dots.svg);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{Ground, Plot, samples, svg};

    #[test]
    fn gaps_split_the_curve() {
        let figure = samples::lines();
        let text = svg::to_svg(&figure, Ground::Light);
        let Plot::Lines(lines) = &figure.plot else { unreachable!("the sample has lines") };
        let missing =
            lines.series.iter().flat_map(|series| series.y.iter()).filter(|value| value.is_nan()).count();
        assert!(missing > 0);
        assert_eq!(text.matches("<circle ").count(), points(lines) - missing);
        assert!(text.contains("stroke-dasharray"));
    }
}
