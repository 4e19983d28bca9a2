//! Figures as one page of HTML that needs nothing else: the pictures as SVG, the numbers of each as a table, the two fonts inside.

use std::fmt::Write as _;
use std::sync::Arc;

use super::text::escape;
use super::{Figure, Sheet, csv, svg};

/// Cells of a table; of a larger figure the first rows are shown.
const MOST_CELLS: usize = 20_000;

/// A figure with what is to be read off it.
#[derive(Clone, Debug)]
pub struct Part {
    /// The figure.
    pub figure: Arc<Figure>,
    /// A line each.
    pub facts: Vec<String>,
}

/// The page. The figures are as wide as their page leaves them room.
pub fn to_html(title: &str, parts: &[Part], sheet: Sheet) -> String {
    let palette = sheet.ground.palette();
    let [ground, panel, line, text, quiet, accent] =
        [palette.ground, palette.panel, palette.line, palette.text, palette.quiet, palette.accent]
            .map(super::colour::hex);
    let fonts =
        [("Ubuntu", epaint_default_fonts::UBUNTU_LIGHT), ("Hack", epaint_default_fonts::HACK_REGULAR)];
    let faces: String = fonts.iter().map(|(name, bytes)| {
        let data = svg::base64(bytes);
        format!("@font-face{{font-family:\"{name}\";src:url(data:font/ttf;base64,{data}) format(\"truetype\")}}\n")
    }).collect();
    let mut out = String::with_capacity(2 << 20);
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>\n{faces}\
         body{{margin:0 auto;max-width:72rem;padding:1.5rem;background:{ground};color:{text};font:16px/1.5 Ubuntu,sans-serif}}\n\
         section{{margin:0 0 2rem;background:{panel};border-top:1px solid {line}}}\n\
         svg{{max-width:100%;height:auto;display:block}}\n\
         .name{{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}}\n\
         ul,details{{margin:0;padding:0.5rem 1.25rem}}\nli{{list-style:none}}\nsummary{{color:{accent};cursor:pointer}}\n\
         div{{overflow:auto;max-height:32rem}}\ntable{{border-collapse:collapse;font:13px/1.4 Hack,monospace}}\n\
         th,td{{padding:0.1rem 0.75rem;text-align:right;white-space:pre;border-bottom:1px solid {line}}}\n\
         th:first-child,td:first-child{{text-align:left}}\nth{{color:{quiet};font-weight:normal}}\n\
         footer{{color:{quiet};font-size:13px}}\n</style>\n</head>\n<body>\n<h1>{title}</h1>\n",
        title = escape(title),
    );
    for (number, part) in parts.iter().enumerate() {
        section(&mut out, number, part, sheet);
    }
    let _ = write!(
        out,
        "<footer>Sluice {}. Every picture says below it what it is of.</footer>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    );
    out
}

fn section(out: &mut String, number: usize, Part { figure, facts }: &Part, sheet: Sheet) {
    let id = format!("{}-{}", figure.stem(), number + 1);
    let _ = writeln!(out, "<section id=\"{id}\">\n<h2 class=\"name\">{}</h2>", escape(&figure.title));
    let picture = svg::draw(figure, sheet, &id, true);
    // What a document of its own begins with.
    out.push_str(picture.split_once("?>\n").map_or(picture.as_str(), |(_, svg)| svg));
    if !facts.is_empty() {
        out.push_str("<ul>\n");
        for fact in facts {
            let _ = writeln!(out, "<li>{}</li>", escape(fact));
        }
        out.push_str("</ul>\n");
    }
    let (head, rows) = csv::table(figure);
    let shown = (MOST_CELLS / head.len().max(1)).max(1);
    let _ = writeln!(
        out,
        "<details>\n<summary>Numbers</summary>\n<div>\n<table>\n<caption class=\"name\">{}</caption>",
        escape(&figure.title)
    );
    record(out, &head, "th");
    for row in rows.iter().take(shown) {
        record(out, row, "td");
    }
    out.push_str("</table>\n");
    if rows.len() > shown {
        let _ = writeln!(out, "<p>{} more rows are in the CSV.</p>", rows.len() - shown);
    }
    out.push_str("</div>\n</details>\n</section>\n");
}

fn record(out: &mut String, fields: &[String], cell: &str) {
    out.push_str("<tr>");
    for field in fields {
        let _ = write!(out, "<{cell}>{}</{cell}>", escape(field));
    }
    out.push_str("</tr>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{Ground, samples};

    #[test]
    fn a_page_holds_every_picture_and_its_numbers_and_needs_nothing_else() {
        let parts: Vec<Part> = samples::all()
            .into_iter()
            .map(|figure| Part { figure: Arc::new(figure), facts: vec!["loss: 1 < 2 nats".into()] })
            .collect();
        let page = to_html("One & two", &parts, Ground::Light.into());
        assert_eq!(page.matches("<svg ").count(), parts.len());
        assert_eq!(page.matches("<table>").count(), parts.len());
        assert!(page.contains("<h1>One &amp; two</h1>") && page.contains("loss: 1 &lt; 2 nats"));
        // Nothing is loaded: addresses are of namespaces or hold what they name.
        for address in page.split("http").skip(1) {
            assert!(address.starts_with("://www.w3.org/"), "{}", &address[..40]);
        }
        let ids: Vec<&str> = page.split("id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let distinct: std::collections::BTreeSet<&&str> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "ids are of one element each");
    }
}
