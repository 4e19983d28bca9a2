//! JSON of a figure: its numbers, row by row, with where they come from. Undefined numbers are null.

use serde_json::{Map as Object, Value, json};

use super::{Axis, Bars, Cell, Class, Figure, Lines, Map, Plot, Provenance, Scale, Table};

/// Version of the file.
pub const VERSION: u32 = 1;

/// A file: `{"version", "sluice", "figure", "title", "notes", "provenance", "plot"}`. `plot.kind` is `map`, `lines`, `table` or
/// `bars`.
pub fn to_json(figure: &Figure) -> String {
    let file = json!({
        "version": VERSION,
        "sluice": env!("CARGO_PKG_VERSION"),
        "figure": figure.stem(),
        "title": figure.title,
        "notes": figure.notes,
        "provenance": provenance(&figure.provenance),
        "plot": match &figure.plot {
            Plot::Map(map) => of_map(map),
            Plot::Lines(lines) => of_lines(lines),
            Plot::Table(table) => of_table(table),
            Plot::Bars(bars) => of_bars(bars),
        },
    });
    // Every value above is one that JSON holds.
    serde_json::to_string_pretty(&file).unwrap_or_default() + "\n"
}

/// What is JSON already stays that; what is empty is left out.
fn provenance(of: &Provenance) -> Value {
    let parsed = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
    let all = [
        ("checkpoint", Value::from(of.checkpoint.as_str())),
        ("fingerprint", Value::from(of.fingerprint.as_str())),
        ("prompt", Value::from(of.prompt.as_str())),
        ("plan", Value::from(of.plan.as_str())),
        ("arithmetic", Value::from(of.dtype.as_str())),
        ("method", Value::from(of.method.as_str())),
        ("picks", parsed(&of.picks)),
        ("ask", parsed(&of.ask)),
    ];
    let said = all.into_iter().filter(|(_, value)| value != "");
    Value::Object(said.map(|(name, value)| (name.to_owned(), value)).collect::<Object<_, _>>())
}

/// By way of text: the shortest that reads back the same f32.
fn number(value: f32) -> Value {
    super::number::exact(value).parse::<f64>().map_or(Value::Null, Value::from)
}

fn axis(axis: &Axis) -> Value {
    json!({"name": axis.name, "labels": &axis.labels[..]})
}

fn of_map(map: &Map) -> Value {
    let (rows, cols) = map.shape();
    let text = |row: usize| (0..cols).map(|col| map.text(row, col).unwrap_or_default()).collect::<Vec<_>>();
    let class = |class: &Class| class.name.clone();
    json!({
        "kind": "map",
        "rows": axis(&map.rows),
        "cols": axis(&map.cols),
        "quantity": map.quantity,
        // Values of a map of classes are indices into these.
        "classes": match &map.scale {
            Scale::Classes(classes) => Value::from(classes.iter().map(class).collect::<Vec<_>>()),
            _ => Value::Null,
        },
        "values": (0..rows).map(|row| (0..cols).map(|col| number(map.value(row, col))).collect()).collect::<Vec<Vec<Value>>>(),
        "text": map.text.is_some().then(|| (0..rows).map(text).collect::<Vec<_>>()),
    })
}

fn of_lines(lines: &Lines) -> Value {
    let series = lines.series.iter().map(
        |series| json!({"name": series.name, "y": series.y.iter().map(|y| number(*y)).collect::<Vec<_>>()}),
    );
    json!({
        "kind": "lines",
        "x": {"name": lines.x_name, "labels": &lines.x_labels[..]},
        "quantity": lines.y_name,
        "series": series.collect::<Vec<_>>(),
    })
}

fn of_table(table: &Table) -> Value {
    let cell = |cell: &Cell| match cell {
        Cell::Text(text) => Value::from(text.as_str()),
        Cell::Number(value) => Value::from(*value),
    };
    let rows = table.rows.iter().map(|row| row.iter().map(cell).collect::<Vec<_>>());
    json!({"kind": "table", "columns": table.columns, "rows": rows.collect::<Vec<_>>()})
}

fn of_bars(bars: &Bars) -> Value {
    let series = bars.series.iter().map(|series| {
        json!({
            "name": series.name,
            "values": series.values.iter().map(|value| number(*value)).collect::<Vec<_>>(),
            "text": series.text.as_deref(),
        })
    });
    json!({
        "kind": "bars",
        "rows": axis(&bars.rows),
        "quantity": bars.quantity,
        "series": series.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::samples;

    #[test]
    fn numbers_read_back_as_the_same_bits() {
        for figure in samples::all() {
            let json: Value = serde_json::from_str(&to_json(&figure)).unwrap();
            assert_eq!(json["provenance"]["fingerprint"], "3f9c0a77d1e24b58");
            if let Plot::Map(map) = &figure.plot {
                let (rows, cols) = map.shape();
                for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
                    let value = &json["plot"]["values"][row][col];
                    let back = value.as_f64().map_or(f32::NAN, |value| value as f32);
                    let own = map.value(row, col);
                    assert!(back.to_bits() == own.to_bits() || (back.is_nan() && !own.is_finite()));
                }
            }
        }
    }
}
