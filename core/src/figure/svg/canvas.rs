//! A piece of SVG under construction. Lengths are CSS pixels.

use std::fmt::Write as _;

use crate::figure::colour::{Palette, Rgb, hex};
use crate::figure::text::{COLUMN_EM, columns, escape};

/// Sizes of text, in pixels.
pub const LABEL: f64 = 10.0;
/// Names of axes and legends.
pub const NAME: f64 = 12.0;

/// Elements drawn from (0, 0), and the space they take.
#[derive(Default)]
pub struct Canvas {
    /// The elements.
    pub svg: String,
    /// Space taken to the right.
    pub width: f64,
    /// Space taken downwards.
    pub height: f64,
}

/// Which end of a text its position fixes.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// How a text looks.
#[derive(Clone, Copy)]
pub struct Style {
    pub size: f64,
    pub mono: bool,
    pub anchor: Anchor,
    pub fill: Rgb,
    /// Turned to read upwards.
    pub upright: bool,
}

impl Style {
    /// Labels and numbers.
    pub const fn label(fill: Rgb, anchor: Anchor) -> Self {
        Self { size: LABEL, mono: true, anchor, fill, upright: false }
    }

    /// Names and sentences.
    pub const fn name(fill: Rgb, anchor: Anchor) -> Self {
        Self { size: NAME, mono: false, anchor, fill, upright: false }
    }
}

/// Width of a text in pixels; for names an upper estimate.
pub fn width(text: &str, size: f64) -> f64 {
    columns(text) as f64 * size * COLUMN_EM
}

impl Canvas {
    /// Grow the space taken to include this point.
    pub fn reach(&mut self, x: f64, y: f64) {
        self.width = self.width.max(x);
        self.height = self.height.max(y);
    }

    /// Anything.
    pub fn raw(&mut self, svg: &str) {
        self.svg.push_str(svg);
    }

    /// A rectangle; `fill` is a colour or `url(#…)`.
    pub fn rect(&mut self, [x, y, w, h]: [f64; 4], fill: &str, title: Option<&str>) {
        let _ = write!(
            self.svg,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{fill}\"",
            px(x),
            px(y),
            px(w),
            px(h)
        );
        self.end("rect", title);
    }

    /// A dot.
    pub fn circle(&mut self, x: f64, y: f64, radius: f64, fill: &str, title: Option<&str>) {
        let _ = write!(
            self.svg,
            "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{fill}\"",
            px(x),
            px(y),
            px(radius)
        );
        self.end("circle", title);
    }

    fn end(&mut self, element: &str, title: Option<&str>) {
        let _ = match title {
            Some(title) => writeln!(self.svg, "><title>{}</title></{element}>", escape(title)),
            None => writeln!(self.svg, "/>"),
        };
    }

    /// Stroked path; nothing when `data` is empty. `more` holds further attributes.
    pub fn stroke(&mut self, data: &str, colour: Rgb, thickness: f64, more: &str) {
        if !data.is_empty() {
            let (colour, thickness) = (hex(colour), px(thickness));
            let _ = writeln!(
                self.svg,
                "<path d=\"{data}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{thickness}\"{more}/>"
            );
        }
    }

    /// A straight line.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: Rgb) {
        self.stroke(&segment(from, to), colour, 1.0, "");
    }

    /// A frame just inside the rectangle.
    pub fn frame(&mut self, [x, y, w, h]: [f64; 4], colour: Rgb) {
        let (left, top, right, bottom) = (px(x + 0.5), px(y + 0.5), px(x + w - 0.5), px(y + h - 0.5));
        self.stroke(&format!("M{left} {top}H{right}V{bottom}H{left}Z"), colour, 1.0, "");
    }

    /// A text whose baseline starts, is centred or ends at the position.
    pub fn text(&mut self, x: f64, y: f64, text: &str, style: Style) {
        if text.is_empty() {
            return;
        }
        let (x, y, fill) = (px(x), px(y), hex(style.fill));
        let family = if style.mono { "Hack, monospace" } else { "Ubuntu, Hack, sans-serif" };
        let anchor = match style.anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let turn = if style.upright { format!(" transform=\"rotate(-90 {x} {y})\"") } else { String::new() };
        let _ = writeln!(
            self.svg,
            "<text x=\"{x}\" y=\"{y}\" font-family=\"{family}\" font-size=\"{}\" fill=\"{fill}\"{anchor}{turn}>{}</text>",
            px(style.size),
            escape(text)
        );
    }

    /// Put another canvas here, and take its space.
    pub fn place(&mut self, x: f64, y: f64, part: &Canvas) {
        let _ = writeln!(self.svg, "<g transform=\"translate({} {})\">\n{}</g>", px(x), px(y), part.svg);
        self.reach(x + part.width, y + part.height);
    }
}

/// Path data of a straight line.
pub fn segment((x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> String {
    format!("M{} {}L{} {}", px(x1), px(y1), px(x2), px(y2))
}

/// A length with at most three decimals.
pub fn px(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What drawing needs besides the data.
pub struct Context {
    /// The ground drawn on.
    pub ground: crate::figure::Ground,
    /// Its colours.
    pub palette: &'static Palette,
    /// Ends every `id`, so that several figures can stand in one page.
    pub id: String,
    /// Whether to embed the numbers (titles and metadata), which a picture of pixels has no use for.
    pub numbers: bool,
    /// Width that there is for the content; endless where the figure takes what it needs.
    pub room: f64,
}

/// Content narrower than this has shorter labels and smaller margins.
const NARROW: f64 = 420.0;
/// Longest labels of an axis in columns: of a wide figure and of a narrow one.
const LABELS: [usize; 2] = [20, 12];
/// Least width of what is drawn, however little room there is.
const LEAST: f64 = 60.0;

impl Context {
    /// Whether there is little room.
    pub fn is_narrow(&self) -> bool {
        self.room < NARROW
    }

    /// A width of a plot or a legend, less where there is less room beside `taken`.
    pub fn within(&self, natural: f64, taken: f64) -> f64 {
        natural.min((self.room - taken).max(LEAST))
    }

    /// Columns of the longest label of an axis.
    pub fn label_columns(&self) -> usize {
        if self.is_narrow() { LABELS[1] } else { LABELS[0] }
    }

    /// Fill of missing cells.
    pub fn missing(&self) -> String {
        format!("url(#missing-{})", self.id)
    }
}
