//! A figure as SVG 1.1: title, notes, legend, plot, provenance, from top to bottom. Every number is in the file: as the
//! `<title>` of its cell or point, or as CSV in `<metadata>` where there are too many elements to draw one by one.

mod axis;
mod bars;
mod canvas;
mod image;
mod legend;
mod lines;
mod map;
mod table;

use std::fmt::Write as _;

use self::canvas::{Anchor, Canvas, Context, Style, px, width};
pub(super) use self::image::base64;
use super::colour::hex;
use super::text::{COLUMN_EM, escape, visible, wrap};
use super::{Figure, Plot, Sheet, csv};

/// Most cells or points that are elements of their own.
const ELEMENTS: usize = 4096;
const MARGIN: f64 = 20.0;
/// Narrowest content: room for a legend and a readable provenance line.
const NARROWEST: f64 = 520.0;
const TITLE: f64 = 17.0;
const NARROW_TITLE: f64 = 13.0;
const FOOT: f64 = 9.0;
/// Mean advance of Ubuntu in columns, for wrapping sentences.
const SENTENCE: f64 = 0.87;

/// The figure as a standalone SVG document.
pub fn to_svg(figure: &Figure, sheet: impl Into<Sheet>) -> String {
    draw(figure, sheet.into(), &figure.stem(), true)
}

/// [`to_svg`], with or without the embedded numbers; its own names end in `id`.
pub(super) fn draw(figure: &Figure, sheet: Sheet, id: &str, numbers: bool) -> String {
    let (ground, pixels) = (sheet.ground, sheet.pixels());
    let margin = if pixels < NARROWEST { MARGIN / 2.0 } else { MARGIN };
    let room = pixels - 2.0 * margin;
    let context = Context { ground, palette: ground.palette(), id: id.into(), numbers, room };
    let palette = context.palette;
    let (legend, body) = match &figure.plot {
        Plot::Map(map) => (legend::map(map, &context), map::draw(map, &context)),
        Plot::Lines(data) => (legend::lines(data, &context), lines::draw(data, &context)),
        Plot::Table(data) => (Canvas::default(), table::draw(data, &context)),
        Plot::Bars(data) => (legend::bars(data, &context), bars::draw(data, &context)),
    };
    let inner = body.width.max(legend.width).max(NARROWEST.min(room)).ceil();

    let mut page = Canvas::default();
    let mut y = margin;
    let mut paragraph = |page: &mut Canvas, text: &str, style: Style, leading: f64, narrow: f64| {
        let limit = (inner / (style.size * COLUMN_EM * narrow)) as usize;
        for line in wrap(text, limit) {
            y += style.size * leading;
            page.text(margin, y, &line, style);
        }
        y
    };
    let size = if context.is_narrow() { NARROW_TITLE } else { TITLE };
    let title = Style { size, ..Style::name(palette.text, Anchor::Start) };
    paragraph(&mut page, &visible(&figure.title), title, 1.1, SENTENCE);
    let mut top = 0.0;
    for note in &figure.notes {
        top = paragraph(&mut page, &visible(note), Style::name(palette.quiet, Anchor::Start), 1.5, SENTENCE);
    }
    top = top.max(paragraph(&mut page, "", title, 1.0, 1.0)) + 14.0;
    if legend.height > 0.0 {
        page.place(margin, top.round(), &legend);
        top += legend.height + 14.0;
    }
    page.place(margin, top.round(), &body);
    top = (top + body.height + 16.0).round();
    page.line((margin, top + 0.5), (margin + inner, top + 0.5), palette.line);
    let foot = Style { size: FOOT, ..Style::label(palette.quiet, Anchor::Start) };
    let mut y = top + 5.0;
    for line in wrap(&figure.provenance.line(), (inner / width("0", FOOT)) as usize) {
        y += FOOT * 1.4;
        page.text(margin, y, &line, foot);
    }
    let (w, h) = (inner + 2.0 * margin, (y + margin * 0.8).ceil());
    // What does not fit into the room is drawn smaller.
    let size = match sheet.millimetres() {
        Some(mm) => [format!("{}mm", px(mm)), format!("{}mm", px(mm * h / w))],
        None => [px(w), px(h)],
    };
    document(figure, &context, &page.svg, (w, h), &size)
}

fn document(
    figure: &Figure,
    context: &Context,
    content: &str,
    (w, h): (f64, f64),
    [wide, tall]: &[String; 2],
) -> String {
    let (w, h, palette) = (px(w), px(h), context.palette);
    let mut out = String::with_capacity(content.len() + 4096);
    out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" width=\"{wide}\" height=\"{tall}\" viewBox=\"0 0 {w} {h}\">"
    );
    if context.numbers {
        let _ = writeln!(out, "<title>{}</title>", escape(&figure.title));
        let _ = writeln!(out, "<desc>{}</desc>", escape(&figure.provenance.full()));
        if needs_metadata(figure) {
            let _ = writeln!(out, "<metadata>{}</metadata>", escape_csv(&csv::records(figure)));
        }
    }
    let _ = writeln!(
        out,
        "<defs><pattern id=\"missing-{}\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\"><rect width=\"6\" height=\"6\" fill=\"{}\"/><path d=\"M-1 1L1 -1M0 6L6 0M5 7L7 5\" stroke=\"{}\" stroke-width=\"1.2\"/></pattern></defs>",
        context.id,
        hex(palette.raised),
        hex(palette.hatch)
    );
    let _ = writeln!(out, "<rect width=\"{w}\" height=\"{h}\" fill=\"{}\"/>", hex(palette.panel));
    out.push_str(content);
    out.push_str("</svg>\n");
    out
}

/// Whether some numbers are not elements of their own.
fn needs_metadata(figure: &Figure) -> bool {
    match &figure.plot {
        Plot::Map(map) => map::as_image(map),
        Plot::Lines(data) => lines::points(data) > ELEMENTS,
        Plot::Table(data) => data.rows.len() > table::MOST_ROWS,
        Plot::Bars(data) => bars::drawn(data) < data.shape().0,
    }
}

/// CSV keeps its line ends as they are; everything else is escaped.
fn escape_csv(csv: &str) -> String {
    csv.split("\r\n").map(escape).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use resvg::usvg::roxmltree::Document;

    use super::*;
    use crate::figure::{Ground, Map, samples};

    fn map(figure: &Figure) -> &Map {
        match &figure.plot {
            Plot::Map(map) => map,
            _ => unreachable!("the sample is a map"),
        }
    }

    fn titles<'a>(document: &'a Document<'_>, element: &str) -> Vec<&'a str> {
        document
            .descendants()
            .filter(|node| {
                node.has_tag_name("title") && node.parent().is_some_and(|p| p.tag_name().name() == element)
            })
            .filter_map(|node| node.text())
            .collect()
    }

    #[test]
    fn every_sample_parses_on_both_grounds() {
        for figure in samples::all() {
            for ground in [Ground::Light, Ground::Dark] {
                let svg = to_svg(&figure, ground);
                let options = resvg::usvg::Options::default();
                assert!(resvg::usvg::Tree::from_str(&svg, &options).is_ok(), "{}", figure.name);
                assert!(svg.contains("Sluice ") && svg.contains("fingerprint"));
            }
        }
    }

    #[test]
    fn cells_hold_their_numbers() -> Result<(), Box<dyn std::error::Error>> {
        let figure = samples::signed();
        let map = map(&figure);
        let svg = to_svg(&figure, Ground::Light);
        let document = Document::parse(&svg)?;
        let titles = titles(&document, "rect");
        let (rows, cols) = map.shape();
        assert_eq!(titles.len(), rows * cols);
        for (index, title) in titles.iter().enumerate() {
            let (row, col) = (index / cols, index % cols);
            let start = format!("{}, {}: ", map.rows.labels[row], map.cols.labels[col]);
            let number = title.strip_prefix(&start).ok_or("label")?;
            assert_eq!(number.parse::<f32>()?.to_bits(), map.value(row, col).to_bits());
        }
        Ok(())
    }

    #[test]
    fn missing_cells_are_hatched() -> Result<(), Box<dyn std::error::Error>> {
        let mut figure = samples::signed();
        let hatched = |figure: &Figure| to_svg(figure, Ground::Light).matches("fill=\"url(#missing-").count();
        assert_eq!(hatched(&figure), 0);
        let Plot::Map(map) = &mut figure.plot else { return Err("the sample is a map".into()) };
        let mut values = map.values.to_vec();
        values[3] = f32::NAN;
        map.values = values.into();
        assert_eq!(hatched(&figure), 2, "one cell and its legend");
        Ok(())
    }

    #[test]
    fn a_large_map_is_one_image_with_its_numbers() -> Result<(), Box<dyn std::error::Error>> {
        let figure = samples::large(2048, 512);
        let svg = to_svg(&figure, Ground::Dark);
        assert_eq!(svg.matches("<image ").count(), 1);
        assert!(svg.matches("<rect ").count() < 50);
        assert!(svg.matches("<text ").count() < 500);
        let document = Document::parse(&svg)?;
        let node = document.descendants().find(|node| node.has_tag_name("metadata")).ok_or("metadata")?;
        let records: Vec<&str> = node.text().ok_or("text")?.lines().collect();
        assert_eq!(records.len(), 2049);
        let map = map(&figure);
        for (row, col) in [(0, 0), (1000, 77), (2047, 511)] {
            let field = records[row + 1].split(',').nth(col + 1).ok_or("field")?;
            assert_eq!(field.parse::<f32>()?.to_bits(), map.value(row, col).to_bits());
        }
        Ok(())
    }

    #[test]
    fn strange_labels_are_text() -> Result<(), Box<dyn std::error::Error>> {
        let figure = samples::hostile();
        let svg = to_svg(&figure, Ground::Light);
        let document = Document::parse(&svg)?;
        let titles = titles(&document, "rect");
        assert!(titles.iter().any(|title| title.contains("<&\"␀")));
        assert!(titles.iter().any(|title| title.contains("模型")));
        Ok(())
    }

    #[test]
    fn classes_are_told_apart_without_colour() {
        let svg = to_svg(&samples::routing(), Ground::Light);
        assert!(svg.contains("class=\"out\""));
        assert!(svg.contains(": skip layer</title>"));
    }

    #[test]
    fn nothing_to_draw_is_said() {
        for figure in [samples::large(0, 0), samples::large(3, 0), samples::large(0, 3)] {
            assert!(to_svg(&figure, Ground::Light).contains("No data"));
        }
    }
}
