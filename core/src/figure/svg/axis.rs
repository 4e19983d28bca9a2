//! Labels along an axis that never overlap: cut when long, turned when crowded, thinned when there are too many.

use super::canvas::{Anchor, Canvas, Context, LABEL, Style, segment, width};
use crate::figure::text::{columns, fit, visible};

/// Room that a line of labels needs across its reading direction.
const LINE: f64 = 12.0;
const TICK: f64 = 4.0;

/// Smallest of 1, 2, 5, 10, 20 … that leaves `need` pixels between labels `pitch` apart.
pub fn thinning(pitch: f64, need: f64) -> usize {
    let steps = (0..7).flat_map(|decade| [1, 2, 5].map(|digit| digit * 10_usize.pow(decade)));
    steps.into_iter().find(|step| *step as f64 * pitch >= need).unwrap_or(usize::MAX)
}

/// Labels as they are drawn: cut past so many columns.
pub fn shown(labels: &[String], limit: usize) -> Vec<String> {
    labels.iter().map(|label| fit(&visible(label), limit)).collect()
}

/// Columns of the longest label.
pub fn longest(labels: &[String]) -> usize {
    labels.iter().map(|label| columns(label)).max().unwrap_or(0)
}

/// Labels below a horizontal axis at height `y`; `at(i)` is the centre of label `i`, `pitch` the distance of two.
/// Grows the canvas to what it took.
pub fn below(
    canvas: &mut Canvas,
    labels: &[String],
    pitch: f64,
    at: impl Fn(usize) -> f64,
    y: f64,
    context: &Context,
) {
    let palette = context.palette;
    let labels = shown(labels, context.label_columns());
    let wide = longest(&labels);
    let need = (wide.max(1) as f64).mul_add(width("0", LABEL), 8.0);
    // Numbers and one- or two-letter labels are better left out than turned.
    let sparse = wide <= 2 || labels.iter().all(|label| label.trim_start_matches('−').parse::<f64>().is_ok());
    let upright = need > pitch && !sparse && labels.len() > 1;
    let step = thinning(pitch, if upright { LINE } else { need });
    let bottom = y + TICK;
    let mut ticks = String::new();
    for (index, label) in labels.iter().enumerate().step_by(step.max(1)) {
        let x = at(index);
        ticks.push_str(&segment((x, y), (x, bottom)));
        if upright {
            let style = Style { upright, ..Style::label(palette.text, Anchor::End) };
            canvas.text(x + 0.35 * LABEL, bottom + 4.0, label, style);
            canvas.reach(x + LINE, bottom + 4.0 + width(label, LABEL));
        } else {
            canvas.text(x, bottom + 11.0, label, Style::label(palette.text, Anchor::Middle));
            canvas.reach(x + width(label, LABEL) / 2.0, bottom + 14.0);
        }
    }
    canvas.stroke(&ticks, palette.quiet, 1.0, " class=\"ticks\"");
}

/// Labels left of a vertical axis at `x`; as [`below`] otherwise.
pub fn left_of(
    canvas: &mut Canvas,
    labels: &[String],
    pitch: f64,
    at: impl Fn(usize) -> f64,
    x: f64,
    context: &Context,
) {
    let palette = context.palette;
    let mut ticks = String::new();
    for (index, label) in
        shown(labels, context.label_columns()).iter().enumerate().step_by(thinning(pitch, LINE))
    {
        let y = at(index);
        ticks.push_str(&segment((x - TICK, y), (x, y)));
        canvas.text(x - TICK - 4.0, y + 0.36 * LABEL, label, Style::label(palette.text, Anchor::End));
        canvas.reach(x, y + LABEL / 2.0);
    }
    canvas.stroke(&ticks, palette.quiet, 1.0, " class=\"ticks\"");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Ground;

    /// Horizontal extents of the labels, or their heights' when turned.
    fn extents(labels: &[String], pitch: f64) -> Vec<(f64, f64)> {
        let mut canvas = Canvas::default();
        let (ground, palette) = (Ground::Light, Ground::Light.palette());
        let context = Context { ground, palette, id: String::new(), numbers: true, room: f64::INFINITY };
        below(&mut canvas, labels, pitch, |i| (i as f64 + 0.5) * pitch, 0.0, &context);
        let document = format!("<svg>{}</svg>", canvas.svg);
        let document = resvg::usvg::roxmltree::Document::parse(&document)
            .unwrap_or_else(|error| unreachable!("{error}"));
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<f64>().ok()).unwrap_or(f64::NAN);
        document
            .descendants()
            .filter(|node| node.has_tag_name("text"))
            .map(|node| {
                let x = number(node.attribute("x"));
                if node.has_attribute("transform") {
                    (x - LABEL, x)
                } else {
                    let half = width(node.text().unwrap_or_default(), LABEL) / 2.0;
                    (x - half, x + half)
                }
            })
            .collect()
    }

    #[test]
    fn labels_never_overlap() {
        let words: Vec<String> = (0..300).map(|i| "token".repeat(i % 3 + 1) + &i.to_string()).collect();
        let numbers: Vec<String> = (0..4096).map(|i| i.to_string()).collect();
        for pitch in [0.3, 1.0, 3.0, 7.5, 13.0, 28.0, 70.0] {
            for labels in [&words, &numbers] {
                let extents = extents(labels, pitch);
                assert!(!extents.is_empty());
                assert!(extents.windows(2).all(|pair| pair[0].1 <= pair[1].0), "pitch {pitch}");
            }
        }
    }

    #[test]
    fn steps_are_round() {
        assert_eq!(thinning(28.0, 12.0), 1);
        assert_eq!(thinning(3.0, 12.0), 5);
        assert_eq!(thinning(0.1, 12.0), 200);
    }
}
