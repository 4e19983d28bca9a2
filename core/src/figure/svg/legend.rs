//! What the colours mean: a bar with ticks, or swatches.

use super::canvas::{Anchor, Canvas, Context, LABEL, Style, px, segment, width};
use crate::figure::colour::{hex, rgb};
use crate::figure::text::{fit, visible};
use crate::figure::{Bars, Class, Lines, Map, Scale, number};

/// Width and height of a bar of colours.
const BAR: [f64; 2] = [240.0, 10.0];
/// Room of a last tick past the bar's end.
const PAST: f64 = 20.0;
const STOPS: usize = 32;
const SWATCH: f64 = 12.0;
const LINE: f64 = 18.0;
/// Where a row of swatches breaks.
const WIDEST: f64 = 560.0;
const LONGEST_NAME: usize = 40;
/// Dashes of curves, so that they are told apart without colour.
const DASHES: [&str; 4] = ["", "6 3", "2 2.5", "9 3 2 3"];

/// Legend of a map: quantity, scale, and what missing cells look like where there are any.
pub fn map(map: &Map, context: &Context) -> Canvas {
    let mut canvas = Canvas::default();
    let quantity = visible(&map.quantity);
    let top = if quantity.is_empty() { 0.0 } else { 20.0 };
    canvas.text(0.0, 11.0, &quantity, Style::name(context.palette.text, Anchor::Start));
    canvas.reach(width(&quantity, 11.0), top);
    let (rows, cols) = map.shape();
    let missing =
        (0..rows * cols).any(|cell| map.scale.misses(map.values.get(cell).copied().unwrap_or(f32::NAN)));
    match &map.scale {
        Scale::Classes(classes) => swatches(&mut canvas, classes, missing, top, context),
        scale => {
            bar(&mut canvas, scale, &map.values, top, context);
            if missing {
                let [wide, _] = bar_size(context);
                let (x, y) = if context.is_narrow() { (0.0, top + 32.0) } else { (wide + 28.0, top - 1.0) };
                missing_swatch(&mut canvas, x, y, context);
            }
        }
    }
    canvas
}

fn bar_size(context: &Context) -> [f64; 2] {
    [context.within(BAR[0], PAST), BAR[1]]
}

fn bar(canvas: &mut Canvas, scale: &Scale, values: &[f32], top: f64, context: &Context) {
    let [wide, tall] = bar_size(context);
    let palette = context.palette;
    let Some((min, max)) = scale.range() else { return };
    let (low, high) = (f64::from(min), f64::from(max));
    let place = |value: f64| (value - low) / (high - low) * wide;
    canvas.raw(&format!("<linearGradient id=\"scale-{}\">", context.id));
    for stop in 0..=STOPS {
        let t = stop as f64 / STOPS as f64;
        let colour = rgb(scale, (low + t * (high - low)) as f32, context.ground).unwrap_or(palette.raised);
        canvas.raw(&format!("<stop offset=\"{}\" stop-color=\"{}\"/>", px(t), hex(colour)));
    }
    canvas.raw("</linearGradient>\n");
    let frame = [0.0, top, wide, tall];
    canvas.rect(frame, &format!("url(#scale-{})", context.id), None);
    canvas.frame(frame, palette.line);
    // Arrows where the data go past the ends of the scale.
    let (middle, bottom) = (top + tall / 2.0, top + tall);
    for (beyond, edge, tip) in [
        (values.iter().any(|value| *value < min), -2.0, -8.0),
        (values.iter().any(|value| *value > max), wide + 2.0, wide + 8.0),
    ] {
        if beyond {
            let (edge, tip) = (px(edge), px(tip));
            let fill = hex(palette.quiet);
            canvas.raw(&format!(
                "<path class=\"beyond\" d=\"M{edge} {}L{tip} {}L{edge} {}Z\" fill=\"{fill}\"/>\n",
                px(top + 1.0),
                px(middle),
                px(bottom - 1.0)
            ));
        }
    }
    let mut ticks = number::ticks(low, high, 4);
    if ticks.is_empty() {
        // No extent: one value, in the middle of the bar.
        let text = number::column(&[low]).remove(0);
        canvas.text(wide / 2.0, bottom + 15.0, &text, Style::label(palette.text, Anchor::Middle));
        ticks.clear();
    }
    let mut marks = String::new();
    for (value, text) in &ticks {
        let x = place(*value);
        let mark = x.clamp(0.5, wide - 0.5);
        marks.push_str(&segment((mark, bottom), (mark, bottom + 4.0)));
        // The first label stays on a narrow page.
        let at = if context.is_narrow() { x.max(width(text, LABEL) / 2.0 - 2.0) } else { x };
        canvas.text(at, bottom + 15.0, text, Style::label(palette.text, Anchor::Middle));
    }
    canvas.stroke(&marks, palette.quiet, 1.0, " class=\"ticks\"");
    canvas.reach(wide + PAST, bottom + 18.0);
}

fn swatches(canvas: &mut Canvas, classes: &[Class], missing: bool, top: f64, context: &Context) {
    let (mut x, mut y) = (0.0, top);
    for class in classes {
        let name = fit(&visible(&class.name), LONGEST_NAME);
        let taken = SWATCH + 6.0 + width(&name, LABEL) + 18.0;
        if x > 0.0 && x + taken > context.within(WIDEST, 0.0) {
            (x, y) = (0.0, y + LINE);
        }
        swatch(canvas, class, x, y, context);
        canvas.text(x + SWATCH + 6.0, y + 10.0, &name, Style::label(context.palette.text, Anchor::Start));
        x += taken;
        canvas.reach(x, y + SWATCH + 2.0);
    }
    if missing {
        if x > 0.0 && x + 90.0 > context.within(WIDEST, 0.0) {
            (x, y) = (0.0, y + LINE);
        }
        missing_swatch(canvas, x, y, context);
    }
}

fn swatch(canvas: &mut Canvas, class: &Class, x: f64, y: f64, context: &Context) {
    let palette = context.palette;
    let square = [x, y, SWATCH, SWATCH];
    canvas.rect(square, &hex(class.rgb.unwrap_or(palette.panel)), None);
    if class.rgb.is_none() {
        canvas.frame(square, palette.line);
    }
    let colour = class.rgb.map_or(palette.text, crate::figure::colour::ink);
    let ends = [((x, y + SWATCH), (x + SWATCH, y)), ((x, y), (x + SWATCH, y + SWATCH))];
    for (from, to) in ends.into_iter().take(class.strokes.into()) {
        canvas.stroke(&segment(from, to), colour, 1.0, "");
    }
}

fn missing_swatch(canvas: &mut Canvas, x: f64, y: f64, context: &Context) {
    canvas.rect([x, y, SWATCH, SWATCH], &context.missing(), None);
    canvas.text(x + SWATCH + 6.0, y + 10.0, "missing", Style::label(context.palette.text, Anchor::Start));
    canvas.reach(x + SWATCH + 6.0 + width("missing", LABEL), y + SWATCH + 2.0);
}

/// Legend of curves: a piece of each and its name.
pub fn lines(lines: &Lines, context: &Context) -> Canvas {
    const SAMPLE: f64 = 24.0;
    let mut canvas = Canvas::default();
    let names = lines.series.iter().map(|series| series.name.as_str());
    row(&mut canvas, names, SAMPLE, context, |canvas, index, x, y| {
        let sample = segment((x, y + 7.0), (x + SAMPLE, y + 7.0));
        canvas.stroke(&sample, context.palette.series(index), 1.8, &dash(index));
    });
    canvas
}

/// Legend of bars: a piece of each and its name, and what missing ones look like where there are any.
pub fn bars(bars: &Bars, context: &Context) -> Canvas {
    let mut canvas = Canvas::default();
    let names = bars.series.iter().map(|series| series.name.as_str());
    let (x, y) = row(&mut canvas, names, SWATCH, context, |canvas, index, x, y| {
        canvas.rect([x, y + 1.0, SWATCH, SWATCH - 1.0], &hex(context.palette.series(index)), None);
    });
    let (rows, series) = bars.shape();
    if (0..rows).any(|row| (0..series).any(|series| bars.value(row, series).is_nan())) {
        missing_swatch(&mut canvas, x, y, context);
    }
    canvas
}

/// Samples with names, in as many lines as they need. Returns where the next one would be.
fn row<'a>(
    canvas: &mut Canvas,
    names: impl Iterator<Item = &'a str>,
    wide: f64,
    context: &Context,
    sample: impl Fn(&mut Canvas, usize, f64, f64),
) -> (f64, f64) {
    let (mut x, mut y) = (0.0, 0.0);
    for (index, name) in names.enumerate() {
        let name = fit(&visible(name), LONGEST_NAME);
        let taken = wide + 6.0 + width(&name, LABEL) + 18.0;
        if x > 0.0 && x + taken > context.within(WIDEST, 0.0) {
            (x, y) = (0.0, y + LINE);
        }
        sample(canvas, index, x, y);
        canvas.text(x + wide + 6.0, y + 10.5, &name, Style::label(context.palette.text, Anchor::Start));
        x += taken;
        canvas.reach(x, y + 14.0);
    }
    (x, y)
}

/// Attribute that dashes the curve with this index; none for the first.
pub fn dash(index: usize) -> String {
    match DASHES[index % DASHES.len()] {
        "" => String::new(),
        dashes => format!(" stroke-dasharray=\"{dashes}\""),
    }
}
