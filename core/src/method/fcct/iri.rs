//! What an injection (IRI, arXiv 2511.05923) ranks its layers by, as a figure.

use crate::figure::{Axis, BarSeries, Bars, Figure, FigureId, Plot, Provenance};
use crate::plan::{Injected, Iri};

/// Recovery rates by layer, with what each layer is to the injection.
const IRI: FigureId = FigureId("iri");

/// The axis reaches at least so far to both sides. A rate is a share of what the corruption took from the answer, so 1 is
/// all of it; one layer's rates of a few thousandths are noise, and must not fill the figure because there is nothing
/// larger.
const LEAST: f32 = 0.1;

/// The rates that an injection ranks its layers by, and which layers are its sources and its targets.
pub fn iri_rates(iri: &Iri, provenance: Provenance) -> Figure {
    let layers = iri.attn.recovery.len().max(iri.ffn.recovery.len());
    let bars = Bars {
        rows: Axis::counted("Layer", layers),
        quantity: "recovery rate".into(),
        span: [-LEAST, LEAST],
        series: vec![
            series("attention", &iri.attn, layers, iri.all),
            series("FFN", &iri.ffn, layers, iri.all),
        ],
    };
    Figure {
        id: IRI,
        name: IRI.0.into(),
        detail: String::new(),
        short: "Rates".into(),
        title: "Recovery rates of the last token".into(),
        plot: Plot::Bars(bars),
        notes: vec![
            format!("λ {} attention, {} FFN; recovery rates of the last token", iri.attn.lambda, iri.ffn.lambda),
            counts(iri),
            weights(iri),
            "a target adds the sources before it, as the unmodified run had them at the last token, so before any injection \
             (our reading), and keeps its norm"
                .into(),
        ],
        provenance,
    }
}

/// The highest rate, where it is past every share: the corruption took little from the answer, so that one value that is put
/// back brings back many times as much, and the injection is strong.
pub fn past_every_share(iri: &Iri) -> Option<f32> {
    const HIGH: f32 = 1.5;
    let rates = iri.attn.recovery.iter().chain(&iri.ffn.recovery).copied().filter(|rate| rate.is_finite());
    Some(rates.fold(0.0, f32::max)).filter(|most| *most >= HIGH)
}

/// What rates are to the injection.
fn weights(iri: &Iri) -> String {
    match past_every_share(iri) {
        None => "rates weigh what is injected".into(),
        Some(most) => format!(
            "rates weigh what is injected, and reach {most:.1} here: the corruption took little from the answer, so that one \
             value that is put back brings back many times as much"
        ),
    }
}

/// How many layers are taken, and which are left out.
fn counts(iri: &Iri) -> String {
    let k = |part: &Injected| format!("{} and {}", part.k1(), part.k2());
    let (attn, ffn) = (k(&iri.attn), k(&iri.ffn));
    let counts = if attn == ffn { attn } else { format!("{attn} (attention), {ffn} (FFN)") };
    let signs = if iri.all {
        "rates of 0 and below count too"
    } else {
        "layers of rates of 0 and below are left out"
    };
    format!(
        "k1 and k2: {counts} layers of the highest rates (the paper's 3 and 10 of 32 where nothing is set); {signs}"
    )
}

fn series(name: &str, part: &Injected, layers: usize, all: bool) -> BarSeries {
    let (sources, targets) = (part.source_layers(all), part.target_layers(all));
    let role = |layer: usize| match (sources.contains(&layer), targets.contains(&layer)) {
        (true, true) => "source, target",
        (true, false) => "source",
        (false, true) => "target",
        (false, false) => "",
    };
    BarSeries {
        name: name.into(),
        values: (0..layers).map(|layer| part.recovery.get(layer).copied().unwrap_or(f32::NAN)).collect(),
        text: Some((0..layers).map(|layer| role(layer).to_owned()).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_rates_make_short_bars_and_layers_say_their_role() {
        let mut iri = Iri::new(vec![0.004, -0.001, 0.002], vec![0.003, 0.001, 0.002]);
        (iri.attn.sources, iri.attn.targets) = (Some(1), Some(2));
        let figure = iri_rates(&iri, Provenance::default());
        let Plot::Bars(bars) = &figure.plot else { panic!("not bars") };
        assert_eq!(bars.range(), (f64::from(-LEAST), f64::from(LEAST)));
        let roles: Vec<&str> = (0..3).map(|layer| bars.text(layer, 0)).collect();
        assert_eq!(roles, ["source, target", "", "target"]);
        assert_eq!((bars.shape(), bars.value(1, 1)), ((3, 2), 0.001));
    }
}
