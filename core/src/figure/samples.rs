//! Figures for tests.

use super::colour::fill;
use super::{
    Axis, BarSeries, Bars, Cell, Class, Figure, FigureId, Lines, Map, Plot, Provenance, Scale, Series, Table,
};

fn figure(id: &'static str, title: &str, notes: &[&str], plot: Plot) -> Figure {
    let provenance = Provenance {
        checkpoint: "sample-checkpoint".into(),
        fingerprint: "3f9c0a77d1e24b58".into(),
        prompt: "The tower of Pisa stands in the town of".into(),
        plan: "skip blocks.3.mlp; scale blocks.5.attn by 0.5".into(),
        dtype: "f32".into(),
        ..Provenance::default()
    };
    Figure {
        id: FigureId(id),
        name: id.into(),
        detail: String::new(),
        short: title.into(),
        title: title.into(),
        notes: notes.iter().map(|note| (*note).into()).collect(),
        plot,
        provenance,
    }
}

fn tokens() -> Vec<&'static str> {
    vec!["<s>", "The", " tower", " of", " Pisa", " stands", " in", " the", " town", " of", "\n"]
}

/// Smooth values between -1 and 1 with nothing regular about them.
fn wave(row: usize, col: usize) -> f32 {
    let (r, c) = (row as f32, col as f32);
    ((0.37 * r + 0.21 * c).sin() + (0.13 * r * c).cos() * 0.6 + (1.7 * c).sin() * 0.4) / 2.0
}

fn map(
    rows: Axis,
    cols: Axis,
    scale: impl Fn(&[f32]) -> Scale,
    quantity: &str,
    cell: impl Fn(usize, usize) -> f32,
) -> Map {
    let (n, m) = (rows.labels.len(), cols.labels.len());
    let values: Vec<f32> =
        (0..n).flat_map(|r| (0..m).map(move |c| (r, c))).map(|(r, c)| cell(r, c)).collect();
    Map { rows, cols, scale: scale(&values), values: values.into(), quantity: quantity.into(), text: None }
}

/// The classes of a routing map.
pub fn routes() -> Scale {
    let class = |name: &str, rgb, strokes| Class { name: name.into(), rgb, strokes };
    Scale::classes([
        class("big", None, 0),
        class("small", Some(fill::TEAL), 0),
        class("skip ffn", None, 1),
        class("skip layer", None, 2),
        class("taken out", Some(fill::GREY), 1),
    ])
}

/// All samples but the hugest.
pub fn all() -> Vec<Figure> {
    vec![
        routing(),
        signed(),
        lens(),
        attention(),
        magnitude(),
        lines(),
        table(),
        bars(),
        hostile(),
        large(96, 180),
        wide(),
    ]
}

/// Classes: coloured, outlined, stroked, missing.
pub fn routing() -> Figure {
    let map = map(
        Axis::counted("Layer", 12),
        Axis::new("Token", tokens()),
        |_| routes(),
        "Route",
        |row, col| match (row, col) {
            (11, 10) => f32::NAN,
            (3, _) => 4.0,
            _ => ((row * 7 + col * 5 + row * col) % 9 / 2).min(3) as f32,
        },
    );
    let notes =
        ["“small” is a surrogate: the 1/16 of FFN neurons with the largest mean |activation| x column norm"];
    figure("routing-map", "Routes of each token through the layers", &notes, Plot::Map(map))
}

/// A diverging map without missing cells.
pub fn signed() -> Figure {
    let rows =
        Axis::new("Sublayer", (0..6).flat_map(|layer| [format!("attn {layer}"), format!("ffn {layer}")]));
    let map = map(
        rows,
        Axis::new("Token", tokens()),
        Scale::diverging,
        "Direct effect on the logit of “ Italy” (logits)",
        |row, col| wave(row, col) * 4.0,
    );
    figure("direct-effect", "Direct effect of each sublayer", &[], Plot::Map(map))
}

/// Text in cells.
pub fn lens() -> Figure {
    const WORDS: [&str; 7] = [" Italy", " Rome", " the", "\n", " internationalisation", "模型", "é"];
    let mut map = map(
        Axis::counted("Layer", 8),
        Axis::new("Token", tokens()),
        |_| Scale::Sequential { min: 0.0, max: 1.0 },
        "Probability of the top token",
        |row, col| wave(row, col).abs(),
    );
    map.text = Some((0..88).map(|cell| WORDS[cell * cell % 7].to_owned()).collect());
    figure("logit-lens", "Logit lens", &["Each layer's residual, normed and unembedded"], Plot::Map(map))
}

/// A square attention pattern, the future missing.
pub fn attention() -> Figure {
    let map = map(
        Axis::new("Query", tokens()),
        Axis::new("Key", tokens()),
        |_| Scale::Attention,
        "Attention weight",
        |row, col| {
            if col > row { f32::NAN } else { (wave(row, col).abs() * 1.4).min(1.0) }
        },
    );
    figure("attention-pattern", "Attention of layer 4, head 2", &[], Plot::Map(map))
}

/// Few enough cells for rectangles, too many for every label.
pub fn magnitude() -> Figure {
    let map = map(
        Axis::counted("Neuron", 64),
        Axis::new("Token", (0..48).map(|i| tokens()[i % 11])),
        |_| Scale::Sequential { min: 0.0, max: 0.8 },
        "|activation|",
        |row, col| {
            if row == 20 && col > 30 { f32::NAN } else { wave(row, col).abs() }
        },
    );
    figure("activations", "FFN activations of layer 5", &[], Plot::Map(map))
}

/// An image, with a region that is missing.
pub fn large(rows: usize, cols: usize) -> Figure {
    let map = map(
        Axis::counted("Neuron", rows),
        Axis::counted("Position", cols),
        Scale::sequential,
        "mean |activation|",
        |row, col| {
            if rows == 96 && row > 60 && col > 3 * row / 2 { f32::NAN } else { wave(row, col).abs() }
        },
    );
    figure("large-map", "Many cells", &[], Plot::Map(map))
}

/// Classes in an image.
pub fn wide() -> Figure {
    let map = map(
        Axis::counted("Layer", 32),
        Axis::new("Token", (0..180).map(|i| tokens()[i % 11])),
        |_| routes(),
        "Route",
        |row, col| {
            if col % 50 == 49 { f32::NAN } else { ((row / 3 * 7 + col / 4 * 5) % 5) as f32 }
        },
    );
    figure("wide-routing", "Routes of a long prompt", &[], Plot::Map(map))
}

/// Nothing but missing cells.
pub fn missing(rows: usize, cols: usize) -> Map {
    map(Axis::counted("Row", rows), Axis::counted("Column", cols), Scale::sequential, "Nothing", |_, _| {
        f32::NAN
    })
}

/// Labels and numbers that break careless writers.
pub fn hostile() -> Figure {
    let labels = [
        "<&\"\0]]>",
        "模型的注意力",
        "a,b\r\n\"c\"",
        " \u{202E}x ",
        "\u{1F980} crab",
        "'",
        "",
        "very long label that has to be cut somewhere",
    ];
    let numbers = [
        f32::MIN_POSITIVE,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        1.0e-45,
        f32::MAX,
        0.1,
        -3.4e-7,
    ];
    let map = map(
        Axis::new("<Row>", labels),
        Axis::new("Column & more\0", labels),
        |_| Scale::Diverging { max_abs: 1.0 },
        "Q \"<&\0",
        |row, col| numbers[(row * 8 + col) % numbers.len()],
    );
    let mut figure =
        figure("hostile", "Labels such as <&\"\0 and 模型", &["A note <b>\u{1b}[0m</b>"], Plot::Map(map));
    figure.provenance.prompt = format!("{}\0<&>", "長い prompt ".repeat(60));
    figure
}

/// One curve.
pub fn curve(values: &[f32]) -> Lines {
    Lines {
        x_name: "Layer".into(),
        y_name: "KL (nats)".into(),
        x_labels: (0..values.len()).map(|i| i.to_string()).collect(),
        series: vec![Series { name: "plan".into(), y: values.into() }],
    }
}

/// Four curves, one with gaps.
pub fn lines() -> Figure {
    let curve = |k: usize| -> Vec<f32> {
        (0..24)
            .map(|i| if k == 2 && matches!(i, 8 | 9 | 15 | 17) { f32::NAN } else { 0.8 + 0.5 * wave(i, k) })
            .collect()
    };
    let names = ["base", "plan", "restored <mlp>", "noise 3σ"];
    let lines = Lines {
        x_name: "Sublayers removed".into(),
        y_name: "Perplexity of the sample (nats per token)".into(),
        x_labels: (0..24).map(|i| i.to_string()).collect(),
        series: names
            .iter()
            .enumerate()
            .map(|(k, name)| Series { name: (*name).into(), y: curve(k).into() })
            .collect(),
    };
    figure(
        "pruning-curve",
        "Cost of removing sublayers",
        &["Greedy order, one sublayer at a time"],
        Plot::Lines(lines),
    )
}

/// Text and numbers.
pub fn table() -> Figure {
    let row = |token: &str, numbers: [f64; 3]| {
        std::iter::once(Cell::Text(token.into())).chain(numbers.map(Cell::Number)).collect()
    };
    let table = Table {
        columns: ["Token", "Base", "Plan", "Change (nats)"].map(Into::into).to_vec(),
        rows: vec![
            row(" the, \"quoted\"", [0.3125, 0.25, -0.0625]),
            row(" Italy", [0.21, 0.4, 1.25]),
            row("\n", [1.0e-3, f64::NAN, -12.5]),
            row("模型", [0.1, 0.05, 0.0]),
        ],
    };
    figure("next-token", "Next token", &[], Plot::Table(table))
}

/// Two bars a row, one of them with words, some missing.
pub fn rates() -> Bars {
    let values = |k: usize| -> Vec<f32> {
        (0..12)
            .map(|row| match (row, k) {
                (4, 0) | (9, 1) => f32::NAN,
                (6, _) => 0.0,
                _ => 0.3 * wave(row, 3 * k + 1),
            })
            .collect()
    };
    let words = ["source", "target", "source, target", ""];
    let text = (0..12).map(|row| words[row % 4].to_owned()).collect();
    Bars {
        rows: Axis::counted("Layer", 12),
        quantity: "Recovery rate".into(),
        span: [-0.1, 0.1],
        series: vec![
            BarSeries { name: "attention".into(), values: values(0).into(), text: Some(text) },
            BarSeries { name: "FFN".into(), values: values(1).into(), text: None },
        ],
    }
}

/// Bars to both sides.
pub fn bars() -> Figure {
    figure("rates", "Recovery rates of the last token", &["Rates of the last token"], Plot::Bars(rates()))
}
