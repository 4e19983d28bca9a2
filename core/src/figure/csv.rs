//! CSV of a figure (RFC 4180: CRLF, quotes doubled). Numbers read back as the same bits; missing values are empty. Files begin
//! with lines that say where the numbers come from, each after `# `, as readers know comments; a field with a `#` is quoted.

use serde_json::Value;

use super::{Bars, Cell, Figure, Lines, Map, Plot, Scale, Table, number};

/// A file: where the numbers come from, a line each, then [`records`].
pub fn to_csv(figure: &Figure) -> String {
    let of = &figure.provenance;
    // As JSON whatever a text holds stays on its line.
    let text = |text: &str| Value::from(text).to_string();
    let lines = [
        ("sluice", env!("CARGO_PKG_VERSION").to_owned()),
        ("figure", text(&figure.title)),
        ("checkpoint", format!("{} {}", text(&of.checkpoint), of.fingerprint)),
        ("prompt", text(&of.prompt)),
        ("plan", text(if of.plan.is_empty() { "no plan" } else { &of.plan })),
        ("method", of.method.clone()),
        ("picks", of.picks.clone()),
        ("ask", of.ask.clone()),
        ("arithmetic", of.dtype.clone()),
    ];
    let said = lines.iter().filter(|(_, value)| !value.is_empty());
    said.map(|(name, value)| format!("# {name}: {value}\r\n")).collect::<String>() + &records(figure)
}

/// The numbers of a figure.
///
/// - Map: the row axis' name and the column labels, then one record per row. Classes stand by name. A map with text in
///   its cells has the texts in further columns, `<label> text`.
/// - Lines: the x axis' name and the curves' names, then one record per x position.
/// - Table: as it is.
/// - Bars: the row axis' name and the series' names, then one record per row. Series with words beside their bars have
///   them in further columns, `<series> text`.
pub fn records(figure: &Figure) -> String {
    let (head, rows) = table(figure);
    let mut out = String::new();
    record(&mut out, &head);
    rows.iter().for_each(|row| record(&mut out, row));
    out
}

/// The same as heads of columns and rows.
pub(super) fn table(figure: &Figure) -> (Vec<String>, Vec<Vec<String>>) {
    match &figure.plot {
        Plot::Map(map) => of_map(map),
        Plot::Lines(lines) => of_lines(lines),
        Plot::Table(table) => of_table(table),
        Plot::Bars(bars) => of_bars(bars),
    }
}

fn of_map(map: &Map) -> (Vec<String>, Vec<Vec<String>>) {
    let (rows, cols) = map.shape();
    let labels = map.cols.labels.iter();
    let texts = labels.clone().filter(|_| map.text.is_some()).map(|label| format!("{label} text"));
    let head = std::iter::once(map.rows.name.clone()).chain(labels.cloned()).chain(texts).collect();
    let row = |row: usize| {
        let label = map.rows.labels[row].clone();
        let values = (0..cols).map(|col| value(map, row, col));
        let texts = (0..cols).filter_map(|col| map.text(row, col).map(str::to_owned));
        std::iter::once(label).chain(values).chain(texts).collect()
    };
    (head, (0..rows).map(row).collect())
}

/// The value of a cell as data: a number, or the name of its class; empty where missing.
pub(super) fn value(map: &Map, row: usize, col: usize) -> String {
    let value = map.value(row, col);
    match &map.scale {
        Scale::Classes(_) => map.scale.class(value).map(|class| class.name.clone()).unwrap_or_default(),
        _ => number::exact(value),
    }
}

fn of_lines(lines: &Lines) -> (Vec<String>, Vec<Vec<String>>) {
    let names = lines.series.iter().map(|series| series.name.clone());
    let head = std::iter::once(lines.x_name.clone()).chain(names).collect();
    let row = |(at, label): (usize, &String)| {
        let value = |y: Option<&f32>| y.map_or_else(String::new, |y| number::exact(*y));
        let values = lines.series.iter().map(|series| value(series.y.get(at)));
        std::iter::once(label.clone()).chain(values).collect()
    };
    (head, lines.x_labels.iter().enumerate().map(row).collect())
}

fn of_table(table: &Table) -> (Vec<String>, Vec<Vec<String>>) {
    let cell = |cell: &Cell| match cell {
        Cell::Text(text) => text.clone(),
        Cell::Number(value) => number::exact64(*value),
    };
    (table.columns.clone(), table.rows.iter().map(|row| row.iter().map(cell).collect()).collect())
}

fn of_bars(bars: &Bars) -> (Vec<String>, Vec<Vec<String>>) {
    let names = bars.series.iter().map(|series| series.name.clone());
    let with_text = || bars.series.iter().enumerate().filter(|(_, series)| series.text.is_some());
    let texts = with_text().map(|(_, series)| format!("{} text", series.name));
    let head = std::iter::once(bars.rows.name.clone()).chain(names).chain(texts).collect();
    let row = |(row, label): (usize, &String)| {
        let values = (0..bars.series.len()).map(|series| number::exact(bars.value(row, series)));
        let texts = with_text().map(|(series, _)| bars.text(row, series).to_owned());
        std::iter::once(label.clone()).chain(values).chain(texts).collect()
    };
    (head, bars.rows.labels.iter().enumerate().map(row).collect())
}

fn record(out: &mut String, fields: &[String]) {
    let start = out.len();
    for (index, text) in fields.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        field(out, text);
    }
    // An empty line would be read as no record at all.
    if out.len() == start {
        out.push_str("\"\"");
    }
    out.push_str("\r\n");
}

/// Quoted where the format asks for it, and where readers are known to trim: outer spaces of tokens matter.
pub fn field(out: &mut String, text: &str) {
    let trimmed = text.trim().len() != text.len();
    if trimmed || text.contains([',', '"', '\n', '\r', '#']) {
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::samples;

    /// A reader of RFC 4180 that knows comments, written for these tests.
    fn parse(text: &str) -> Vec<Vec<String>> {
        let comments =
            text.split_inclusive('\n').take_while(|line| line.starts_with('#')).map(str::len).sum();
        let text = &text[comments..];
        let (mut records, mut fields, mut field) = (Vec::new(), Vec::new(), String::new());
        let mut quoted = false;
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            match (quoted, character) {
                (true, '"') if characters.peek() == Some(&'"') => {
                    characters.next();
                    field.push('"');
                }
                (true, '"') => quoted = false,
                (true, other) => field.push(other),
                (false, '"') => quoted = true,
                (false, ',') => fields.push(std::mem::take(&mut field)),
                (false, '\r') if characters.peek() == Some(&'\n') => {
                    characters.next();
                    fields.push(std::mem::take(&mut field));
                    records.push(std::mem::take(&mut fields));
                }
                (false, other) => field.push(other),
            }
        }
        records
    }

    #[test]
    fn a_map_reads_back_bit_for_bit() {
        let figure = samples::hostile();
        let Plot::Map(map) = &figure.plot else { unreachable!("the sample is a map") };
        let records = parse(&to_csv(&figure));
        let (rows, cols) = map.shape();
        assert_eq!(records.len(), rows + 1);
        assert_eq!(records[0][1..], *map.cols.labels);
        for (row, record) in records[1..].iter().enumerate() {
            assert_eq!(record[0], map.rows.labels[row]);
            assert_eq!(record.len(), cols + 1);
            for (col, text) in record[1..].iter().enumerate() {
                let value = map.value(row, col);
                if value.is_nan() {
                    assert_eq!(text, "");
                } else {
                    assert_eq!(text.parse::<f32>().map(f32::to_bits), Ok(value.to_bits()));
                }
            }
        }
    }

    #[test]
    fn classes_stand_by_name_and_texts_follow() {
        let routes = parse(&to_csv(&samples::routing()));
        assert!(routes[1..].iter().flat_map(|record| &record[1..]).any(|name| name == "skip layer"));
        let lens = samples::lens();
        let Plot::Map(map) = &lens.plot else { unreachable!("the sample is a map") };
        let records = parse(&to_csv(&lens));
        let cols = map.cols.labels.len();
        assert_eq!(records[0].len(), 1 + 2 * cols);
        assert_eq!(Some(records[2][1 + cols + 1].as_str()), map.text(1, 1));
    }

    #[test]
    fn files_say_where_their_numbers_come_from() {
        let mut figure = samples::hostile();
        figure.provenance.prompt = "one\r\n# two\u{2028}three".into();
        figure.provenance.fingerprint = "3f9c0a77d1e24b58".into();
        figure.provenance.dtype = "f32".into();
        figure.provenance.method = "trace".into();
        figure.provenance.picks = r#"{"corrupt":[2]}"#.into();
        figure.provenance.ask = r#"{"seed":3}"#.into();
        let csv = to_csv(&figure);
        let comments: Vec<&str> = csv.lines().take_while(|line| line.starts_with("# ")).collect();
        let names: Vec<&str> = comments.iter().map(|line| line[2..].split(':').next().unwrap()).collect();
        let all =
            ["sluice", "figure", "checkpoint", "prompt", "plan", "method", "picks", "ask", "arithmetic"];
        assert_eq!(names, all);
        assert!(
            comments[2].ends_with(&figure.provenance.fingerprint) && comments[7] == "# ask: {\"seed\":3}"
        );
        assert!(comments[3].contains(r"one\r\n# two"));
        assert_eq!(csv.split_once(&records(&figure)).map(|(_, after)| after), Some(""));
        // What is no comment is not read as one.
        figure.plot =
            Plot::Table(Table { columns: vec!["# a".into()], rows: vec![vec![Cell::Text("b#".into())]] });
        assert_eq!(records(&figure), "\"# a\"\r\n\"b#\"\r\n");
    }

    #[test]
    fn lines_and_tables() {
        let lines = samples::lines();
        let Plot::Lines(data) = &lines.plot else { unreachable!("the sample has lines") };
        let records = parse(&to_csv(&lines));
        assert_eq!(records.len(), data.x_labels.len() + 1);
        assert_eq!(records[1][1].parse::<f32>(), Ok(data.series[0].y[0]));
        let records = parse(&to_csv(&samples::table()));
        assert_eq!(records[0], ["Token", "Base", "Plan", "Change (nats)"]);
        assert_eq!(records[1][0], " the, \"quoted\"");
        assert!(records.iter().all(|record| record.len() == 4));
    }

    #[test]
    fn bars_have_a_column_a_series_and_one_for_its_words() {
        let bars = samples::rates();
        let records = parse(&to_csv(&samples::bars()));
        assert_eq!(records[0], ["Layer", "attention", "FFN", "attention text"]);
        assert_eq!(records.len(), bars.shape().0 + 1);
        for (row, record) in records[1..].iter().enumerate() {
            assert_eq!((&record[0], record[3].as_str()), (&bars.rows.labels[row], bars.text(row, 0)));
            for series in 0..2 {
                let value = bars.value(row, series);
                let read = record[1 + series].parse::<f32>().unwrap_or(f32::NAN);
                assert_eq!(read.is_nan(), value.is_nan());
                assert!(value.is_nan() || read.to_bits() == value.to_bits());
            }
        }
    }
}
