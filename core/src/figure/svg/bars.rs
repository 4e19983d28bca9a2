//! Bars from zero, row by row. A missing value is a hatched stub.

use super::canvas::{Anchor, Canvas, Context, LABEL, NAME, Style, px, segment, width};
use super::{ELEMENTS, axis};
use crate::figure::colour::hex;
use crate::figure::text::{columns, fit, visible};
use crate::figure::{Bars, number};

/// Width of the value axis.
const PLOT: f64 = 480.0;
/// Pitch of the bars of a row, and what is between rows.
const BAR: f64 = 13.0;
const GAP: f64 = 7.0;
/// Width of a stub.
const STUB: f64 = 18.0;
/// Longest word beside a bar, in columns.
const LONGEST: usize = 24;

/// Rows that are drawn; the others are in the metadata.
pub fn drawn(bars: &Bars) -> usize {
    let (rows, series) = bars.shape();
    rows.min(ELEMENTS / series.max(1))
}

/// The plot with its axes.
pub fn draw(bars: &Bars, context: &Context) -> Canvas {
    let mut canvas = Canvas::default();
    let palette = context.palette;
    let (all, series) = bars.shape();
    let rows = drawn(bars);
    if rows == 0 || series == 0 {
        canvas.text(0.0, NAME, "No data", Style::name(palette.quiet, Anchor::Start));
        canvas.reach(60.0, NAME + 4.0);
        return canvas;
    }
    let row_name = visible(&bars.rows.name);
    let labels = &bars.rows.labels[..rows];
    let widest =
        axis::longest(&axis::shown(labels, context.label_columns())) as f64 * width("0", LABEL) + 12.0;
    let words =
        |row: usize| (0..series).map(move |index| columns(&visible(bars.text(row, index))).min(LONGEST));
    let beside = (0..rows).flat_map(words).max().unwrap_or(0) as f64 * width("0", LABEL) + 8.0;
    let (left, top) = (widest.max(width(&row_name, 11.0) + 8.0).ceil(), 20.0);
    let pitch = series as f64 * BAR + GAP;
    let wide = context.within(PLOT, left + beside);
    let (right, bottom) = (left + wide, top + rows as f64 * pitch);
    let (low, high) = bars.range();
    let x = |value: f64| left + (value - low) / (high - low) * wide;

    canvas.text(left - 10.0, 11.0, &row_name, Style::name(palette.quiet, Anchor::End));
    let mut marks = String::new();
    for (value, text) in number::ticks(low, high, if context.is_narrow() { 3 } else { 6 }) {
        let at = x(value).round() + 0.5;
        canvas.line((at, top), (at, bottom), if value == 0.0 { palette.quiet } else { palette.line });
        marks.push_str(&segment((at, bottom), (at, bottom + 4.0)));
        canvas.text(at, bottom + 15.0, &text, Style::label(palette.text, Anchor::Middle));
    }
    canvas.stroke(&marks, palette.quiet, 1.0, " class=\"ticks\"");
    for row in 0..rows {
        for index in 0..series {
            let y = top + row as f64 * pitch + GAP / 2.0 + index as f64 * BAR;
            bar(&mut canvas, bars, (row, index), y, &x, context);
            let word = fit(&visible(bars.text(row, index)), LONGEST);
            let baseline = y + (BAR - 2.0) / 2.0 + 0.34 * LABEL;
            canvas.text(right + 8.0, baseline, &word, Style::label(palette.quiet, Anchor::Start));
            canvas.reach(right + 8.0 + width(&word, LABEL), bottom);
        }
    }
    axis::left_of(&mut canvas, labels, pitch, |row| top + (row as f64 + 0.5) * pitch, left, context);
    let name = Style::name(palette.quiet, Anchor::Middle);
    canvas.text((left + right) / 2.0, bottom + 20.0 + NAME, &visible(&bars.quantity), name);
    canvas.reach(right + 8.0, bottom + 24.0 + NAME);
    if rows < all {
        let more = format!("{} more rows in the CSV", all - rows);
        let below = canvas.height + 15.0;
        canvas.text(0.0, below, &more, Style::name(palette.quiet, Anchor::Start));
        canvas.reach(0.0, below + 4.0);
    }
    canvas
}

fn bar(
    canvas: &mut Canvas,
    bars: &Bars,
    (row, series): (usize, usize),
    y: f64,
    x: &impl Fn(f64) -> f64,
    context: &Context,
) {
    let value = bars.value(row, series);
    let title = context.numbers.then(|| title(bars, row, series));
    let title = title.as_deref();
    let thick = BAR - 2.0;
    if value.is_nan() {
        canvas.rect([x(0.0), y, STUB, thick], &context.missing(), title);
        return;
    }
    let (low, high) = bars.range();
    let (zero, end) = (x(0.0), x(f64::from(value).clamp(low, high)));
    // Zero has a line of its own: a hair that answers the pointer.
    let wide = (end - zero).abs().max(0.5);
    canvas.rect([zero.min(end), y, wide, thick], &hex(context.palette.series(series)), title);
    if value.is_infinite() {
        // Past the end of any axis.
        let (edge, out) = (px(end), px(end + 7.0_f64.copysign(f64::from(value))));
        let fill = hex(context.palette.quiet);
        let (top, middle, bottom) = (px(y), px(y + thick / 2.0), px(y + thick));
        canvas.raw(&format!(
            "<path class=\"beyond\" d=\"M{edge} {top}L{out} {middle}L{edge} {bottom}Z\" fill=\"{fill}\"/>\n"
        ));
    }
}

/// `row label, series: value`, and the word beside the bar.
fn title(bars: &Bars, row: usize, series: usize) -> String {
    let value = match bars.value(row, series) {
        value if value.is_nan() => "missing".to_owned(),
        value => number::exact(value),
    };
    let name = bars.series.get(series).map_or("", |series| series.name.as_str());
    let label = bars.rows.labels.get(row).map_or("", String::as_str);
    let text = match bars.text(row, series) {
        "" => String::new(),
        text => format!(" {text}"),
    };
    format!("{label}, {name}: {value}{text}")
}

#[cfg(test)]
mod tests {
    use resvg::usvg::roxmltree::Document;

    use super::*;
    use crate::figure::{BarSeries, Figure, Ground, Plot, samples, svg};

    type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

    /// Left edge, width and title of every bar.
    fn rects(figure: &Figure) -> Outcome<Vec<(f64, f64, String)>> {
        let text = svg::to_svg(figure, Ground::Light);
        let document = Document::parse(&text)?;
        let number = |node: resvg::usvg::roxmltree::Node<'_, '_>, name: &str| {
            node.attribute(name).and_then(|text| text.parse::<f64>().ok()).unwrap_or(f64::NAN)
        };
        Ok(document
            .descendants()
            .filter(|node| node.has_tag_name("rect"))
            .filter_map(|node| {
                let title = node.children().find(|child| child.has_tag_name("title"))?.text()?;
                Some((number(node, "x"), number(node, "width"), title.to_owned()))
            })
            .collect())
    }

    #[test]
    fn bars_grow_from_zero_to_their_side() -> Outcome {
        let (figure, bars) = (samples::bars(), samples::rates());
        let rects = rects(&figure)?;
        let (rows, series) = bars.shape();
        assert_eq!(rects.len(), rows * series);
        let (low, high) = bars.range();
        let zero = rects[0].0;
        for (index, (x, wide, title)) in rects.iter().enumerate() {
            let value = bars.value(index / series, index % series);
            if value.is_nan() {
                assert!(title.contains("missing"), "{title}");
                continue;
            }
            let expected = f64::from(value.abs()) / (high - low) * PLOT;
            assert!((wide - expected.max(0.5)).abs() < 0.01, "{title}: {wide}");
            let edge = if value < 0.0 { x + wide } else { *x };
            assert!((edge - zero).abs() < 0.01, "{title}");
            assert!(title.contains(&number::exact(value)), "{title}");
        }
        Ok(())
    }

    #[test]
    fn missing_bars_are_hatched_and_words_stand_beside() {
        let text = svg::to_svg(&samples::bars(), Ground::Dark);
        let bars = samples::rates();
        let values = bars.series.iter().flat_map(|series| series.values.iter());
        let missing = values.filter(|value| value.is_nan()).count();
        assert!(missing > 0);
        assert_eq!(text.matches("fill=\"url(#missing-").count(), missing + 1, "and its legend");
        assert!(text.contains(">source</text>"));
    }

    #[test]
    fn too_many_rows_are_in_the_metadata() -> Outcome {
        let mut figure = samples::bars();
        let Plot::Bars(bars) = &mut figure.plot else { return Err("the sample has bars".into()) };
        let rows = ELEMENTS + 7;
        bars.rows = crate::figure::Axis::counted("Row", rows);
        bars.series =
            vec![BarSeries { name: "a".into(), values: vec![f32::INFINITY; rows].into(), text: None }];
        let text = svg::to_svg(&figure, Ground::Light);
        assert!(text.contains("7 more rows in the CSV") && text.contains("<metadata>"));
        bars_of_nothing(&mut figure);
        assert!(svg::to_svg(&figure, Ground::Light).contains("No data"));
        Ok(())
    }

    fn bars_of_nothing(figure: &mut Figure) {
        if let Plot::Bars(bars) = &mut figure.plot {
            bars.series.clear();
        }
    }
}
