//! Figures of one kind beside each other: on one scale, and what is different.

use std::sync::Arc;

use super::{BarSeries, Bars, Figure, Lines, Map, Plot, Scale, Series};

/// Figures of things that stand beside each other, by index.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// The figure of each, all on one scale.
    pub figures: Vec<Option<Arc<Figure>>>,
    /// Each less the one that it is compared with; none of that itself and of what cannot be subtracted.
    pub differences: Vec<Option<Arc<Figure>>>,
    /// Losses of the tokens of the one that others are compared with, where they have the same.
    pub losses: Option<Arc<Figure>>,
}

impl Compared {
    /// The scales that figures and differences share, where they are maps of numbers.
    pub fn scales(&self) -> Vec<(&'static str, Scale)> {
        let first = |figures: &[Option<Arc<Figure>>]| {
            figures.iter().flatten().find_map(|figure| match &figure.plot {
                Plot::Map(map) if map.scale.range().is_some() => Some(map.scale.clone()),
                _ => None,
            })
        };
        let all = [("value", first(&self.figures)), ("difference", first(&self.differences))];
        all.into_iter().filter_map(|(name, scale)| Some((name, scale?))).collect()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Figure>> {
        let each = self.figures.iter().chain(&self.differences).flatten();
        each.cloned().chain(self.losses.clone()).collect()
    }
}

/// The same figures with one colour scale or value axis, where they are of one kind.
pub fn on_one_scale(figures: &[Arc<Figure>]) -> Vec<Arc<Figure>> {
    let maps = || {
        figures.iter().filter_map(|figure| if let Plot::Map(map) = &figure.plot { Some(map) } else { None })
    };
    let (mut low, mut high, mut most) = (f32::INFINITY, f32::NEG_INFINITY, 0.0_f32);
    for map in maps() {
        match map.scale {
            Scale::Sequential { min, max } => (low, high) = (low.min(min), high.max(max)),
            Scale::Diverging { max_abs } => most = most.max(max_abs),
            // These have one scale whatever their values.
            Scale::Attention | Scale::Root | Scale::Classes(_) => {}
        }
    }
    let bars = figures
        .iter()
        .filter_map(|figure| if let Plot::Bars(bars) = &figure.plot { Some(bars.range()) } else { None });
    let span = bars.fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], (from, to)| {
        [low.min(from as f32), high.max(to as f32)]
    });
    let one = |figure: &Arc<Figure>| {
        let plot = match &figure.plot {
            Plot::Map(map) => {
                let scale = match map.scale {
                    Scale::Sequential { .. } => Scale::Sequential { min: low, max: high },
                    Scale::Diverging { .. } => Scale::Diverging { max_abs: most },
                    _ => return Arc::clone(figure),
                };
                Plot::Map(Map { scale, ..map.clone() })
            }
            Plot::Bars(bars) => Plot::Bars(Bars { span, ..bars.clone() }),
            Plot::Lines(_) | Plot::Table(_) => return Arc::clone(figure),
        };
        Arc::new(Figure { plot, ..(**figure).clone() })
    };
    figures.iter().map(one).collect()
}

/// What is different between a figure and others of its kind, all on one scale: `other` less `against`. None where they have
/// other rows or columns, or no numbers to be subtracted.
pub fn differences(against: &Figure, others: &[(&str, &Figure)], name: &str) -> Vec<Option<Arc<Figure>>> {
    let one = |(of, other): &(&str, &Figure)| {
        let plot = less(&other.plot, &against.plot)?;
        let sign = format!("{of} − {name}");
        Some(Arc::new(Figure {
            detail: format!("{} {of} less {name}", other.detail),
            short: sign.clone(),
            title: format!("{sign}: {}", other.title),
            plot,
            notes: vec![format!("{name} is of: {}", against.provenance.line())],
            ..(*other).clone()
        }))
    };
    let all: Vec<Option<Arc<Figure>>> = others.iter().map(one).collect();
    let there: Vec<Arc<Figure>> = all.iter().flatten().cloned().collect();
    let mut there = on_one_scale(&there).into_iter();
    all.iter().map(|figure| figure.as_ref().and_then(|_| there.next())).collect()
}

/// `a` less `b`.
fn less(a: &Plot, b: &Plot) -> Option<Plot> {
    match (a, b) {
        (Plot::Map(a), Plot::Map(b)) if a.shape() == b.shape() => {
            if [&a.scale, &b.scale].into_iter().any(|scale| matches!(scale, Scale::Classes(_))) {
                return None;
            }
            let values = minus(&a.values, &b.values);
            let most = values.iter().filter(|x| x.is_finite()).fold(0.0_f32, |most, x| most.max(x.abs()));
            let scale = Scale::Diverging { max_abs: most };
            let quantity = format!("difference of {}", a.quantity);
            Some(Plot::Map(Map { values, scale, quantity, text: None, ..a.clone() }))
        }
        (Plot::Lines(a), Plot::Lines(b)) if a.x_labels.len() == b.x_labels.len() => {
            let pairs =
                a.series.iter().map(|one| (one, b.series.iter().find(|other| other.name == one.name)));
            let series =
                pairs.map(|(one, other)| Some(Series { y: minus(&one.y, &other?.y), ..one.clone() }));
            let y_name = format!("difference of {}", a.y_name);
            Some(Plot::Lines(Lines { y_name, series: series.collect::<Option<_>>()?, ..a.clone() }))
        }
        (Plot::Bars(a), Plot::Bars(b)) if a.rows.labels == b.rows.labels => {
            let pairs =
                a.series.iter().map(|one| (one, b.series.iter().find(|other| other.name == one.name)));
            let series = pairs.map(|(one, other)| {
                Some(BarSeries { values: minus(&one.values, &other?.values), text: None, ..one.clone() })
            });
            let quantity = format!("difference of {}", a.quantity);
            Some(Plot::Bars(Bars {
                quantity,
                span: [0.0; 2],
                series: series.collect::<Option<_>>()?,
                ..a.clone()
            }))
        }
        _ => None,
    }
}

fn minus(a: &[f32], b: &[f32]) -> Arc<[f32]> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::samples;

    fn changed(figure: &Figure, change: impl Fn(f32) -> f32) -> Figure {
        let mut figure = figure.clone();
        match &mut figure.plot {
            Plot::Map(map) => map.values = map.values.iter().map(|x| change(*x)).collect(),
            Plot::Lines(lines) => {
                lines.series.iter_mut().for_each(|s| s.y = s.y.iter().map(|x| change(*x)).collect());
            }
            Plot::Bars(bars) => {
                bars.series.iter_mut().for_each(|s| s.values = s.values.iter().map(|x| change(*x)).collect());
            }
            Plot::Table(_) => {}
        }
        figure
    }

    #[test]
    fn differences_are_of_each_value_and_on_one_scale() {
        let a = samples::signed();
        let (b, c) = (changed(&a, |x| 2.0 * x), changed(&a, |x| x - 4.0));
        let all = differences(&a, &[("B", &b), ("C", &c)], "A");
        let map = |figure: &Option<Arc<Figure>>| match &figure.as_ref().unwrap().plot {
            Plot::Map(map) => map.clone(),
            _ => panic!("it is a map"),
        };
        let (b, c, Plot::Map(a)) = (map(&all[0]), map(&all[1]), &a.plot) else { panic!("it is a map") };
        assert_eq!(b.scale, c.scale);
        for (index, value) in a.values.iter().enumerate() {
            assert_eq!(b.values[index].to_bits(), (2.0 * value - value).to_bits());
            assert_eq!(c.values[index], (value - 4.0) - value);
        }
        let Scale::Diverging { max_abs } = b.scale else { panic!("it has a sign") };
        assert!(max_abs >= 4.0);
    }

    #[test]
    fn what_cannot_be_subtracted_is_none() {
        let (map, lines) = (samples::signed(), samples::lines());
        assert!(differences(&map, &[("B", &lines)], "A")[0].is_none());
        assert!(differences(&map, &[("B", &samples::large(3, 2))], "A")[0].is_none());
        let routing = samples::routing();
        assert!(differences(&routing, &[("B", &routing)], "A")[0].is_none(), "classes have no difference");
        let same = differences(&lines, &[("B", &lines)], "A");
        let Plot::Lines(zero) = &same[0].as_ref().unwrap().plot else { panic!("they are curves") };
        assert!(zero.series.iter().flat_map(|s| s.y.iter()).all(|y| *y == 0.0 || y.is_nan()));
        assert!(differences(&samples::bars(), &[("B", &samples::bars())], "A")[0].is_some());
    }

    #[test]
    fn one_scale_holds_all() {
        let a = samples::signed();
        let both: Vec<Arc<Figure>> = [a.clone(), changed(&a, |x| 3.0 * x)].map(Arc::new).into();
        let scales: Vec<Scale> = on_one_scale(&both)
            .iter()
            .filter_map(
                |figure| if let Plot::Map(map) = &figure.plot { Some(map.scale.clone()) } else { None },
            )
            .collect();
        assert_eq!((scales.len(), &scales[0]), (2, &scales[1]));
    }
}
