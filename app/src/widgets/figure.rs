//! A figure on screen: its scale, its picture, its export menu.

use std::sync::{Arc, OnceLock};

use eframe::egui::{Align, Context, Id, Layout, Rect, RichText, Ui, vec2};
use sluice_core::figure::{self, Figure, Plot, Scale};

use super::icon::{self, Icon};
use super::touch::{Cell, Touch};
use super::{area, bars, export, legend, lines, map, table, texture};
use crate::command::Command;
use crate::theme;

/// Any figure in the space that is left: its scale in a row with its buttons, and the picture. Returns what a person does to
/// its cells; `selected` is framed, `fact` stands in the row. Title and notes are said elsewhere: [`super::head`].
pub fn show(
    ui: &mut Ui,
    figure: &Arc<Figure>,
    selected: Option<Cell>,
    fact: &str,
    commands: &mut Vec<Command>,
) -> Touch {
    let (shown, swapped) = oriented(ui, figure);
    let top = ui.cursor().top();
    row(ui, figure, fact, commands, |ui| match &shown.plot {
        Plot::Map(data) => legend::map(ui, data),
        Plot::Lines(data) => {
            legend::curves(ui, data.series.iter().map(|series| series.name.as_str()), lines::dash);
        }
        Plot::Bars(data) => legend::bars(ui, data.series.iter().map(|series| series.name.as_str())),
        Plot::Table(_) => {}
    });
    let kept = chosen(ui.ctx()).filter(|(id, _)| id == figure.id.0).map(|(_, cell)| cell);
    let touch = plot(ui, &shown, swapped, selected.or(kept));
    if let Some(cell) = touch.clicked.or(touch.stroke.last().copied()) {
        let chosen = (figure.id.0.to_owned(), cell.row, cell.col);
        ui.data_mut(|data| data.insert_persisted(chosen_id(), chosen));
    }
    let drawn = ui.min_rect();
    area::keep(ui, area::FIGURE, Rect::from_x_y_ranges(drawn.x_range(), top..=drawn.bottom()));
    touch
}

/// The cell that was chosen last, with the id of its figure.
pub fn chosen(ctx: &Context) -> Option<(String, Cell)> {
    let chosen: Option<(String, usize, usize)> = ctx.data_mut(|data| data.get_persisted(chosen_id()));
    chosen.map(|(id, row, col)| (id, Cell { row, col }))
}

fn chosen_id() -> Id {
    Id::unique("chosen-cell")
}

/// A cell of a figure in names and values.
pub fn described(figure: &Figure, Cell { row, col }: Cell) -> Vec<(String, String)> {
    let label = |labels: &[String], index: usize| labels.get(index).cloned().unwrap_or_default();
    match &figure.plot {
        Plot::Map(map) if row < map.shape().0 && col < map.shape().1 => {
            let value = map.value(row, col);
            let (name, value) = match &map.scale {
                Scale::Classes(_) => {
                    let class = map.scale.class(value).map_or_else(String::new, |class| class.name.clone());
                    (String::from("value"), class)
                }
                _ => (map.quantity.clone(), legend::number(value)),
            };
            let column = label(&map.cols.labels, col);
            // Where labels are not numbers, the index tells equal tokens apart.
            let column = if column.parse::<usize>().is_ok() { column } else { format!("{column} ({col})") };
            let mut lines = vec![
                (map.rows.name.to_lowercase(), label(&map.rows.labels, row)),
                (map.cols.name.to_lowercase(), column),
                (name, value),
            ];
            lines.extend(map.text(row, col).map(|text| ("in the cell".to_owned(), text.to_owned())));
            lines
        }
        Plot::Bars(bars) if row < bars.shape().0 => {
            let mut lines = vec![(bars.rows.name.to_lowercase(), label(&bars.rows.labels, row))];
            lines.extend(bars.series.iter().enumerate().map(|(at, series)| {
                (format!("{}, {}", series.name, bars.quantity), legend::number(bars.value(row, at)))
            }));
            lines
        }
        Plot::Table(table) => {
            let cells = table.rows.get(row).into_iter().flatten().zip(&table.columns);
            let text = |cell: &figure::Cell| match cell {
                figure::Cell::Text(text) => text.clone(),
                figure::Cell::Number(value) => legend::number(*value as f32),
            };
            cells.map(|(cell, column)| (column.to_lowercase(), text(cell))).collect()
        }
        _ => Vec::new(),
    }
}

/// A figure where there is little room, under its title.
pub fn small(ui: &mut Ui, figure: &Arc<Figure>, commands: &mut Vec<Command>) -> Touch {
    row(ui, figure, "", commands, |ui| match &figure.plot {
        // Colours need their names, and there is little room for both.
        Plot::Bars(data) if data.series.len() > 1 => {
            ui.label(&figure.short);
            legend::bars(ui, data.series.iter().map(|series| series.name.as_str()));
        }
        Plot::Lines(data) if data.series.len() > 1 => {
            ui.label(&figure.short);
            legend::curves(ui, data.series.iter().map(|series| series.name.as_str()), lines::dash);
        }
        _ => drop(ui.label(&figure.title)),
    });
    let (shown, swapped) = oriented(ui, figure);
    plot(ui, &shown, swapped, None)
}

/// What is at the left of a figure's first row, a fact, and its buttons at the right end.
pub fn row(
    ui: &mut Ui,
    figure: &Arc<Figure>,
    fact: &str,
    commands: &mut Vec<Command>,
    left: impl FnOnce(&mut Ui),
) {
    let size = vec2(ui.available_width(), theme::LEGEND);
    ui.allocate_ui_with_layout(size, Layout::right_to_left(Align::Center), |ui| {
        ui.set_min_size(size);
        ui.spacing_mut().item_spacing.x = theme::UNIT;
        menu(ui, figure, commands);
        if figure.transposes() {
            let id = transposed_id(figure);
            let on = is_transposed(ui, figure);
            if icon::button(ui, Icon::Transpose, "Transpose", true, on).clicked() {
                ui.data_mut(|data| data.insert_persisted(id, !on));
            }
        }
        if !fact.is_empty() {
            ui.label(RichText::new(fact).small());
            ui.add_space(2.0 * theme::UNIT);
        }
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            ui.set_clip_rect(ui.max_rect().intersect(ui.clip_rect()));
            left(ui);
        });
    });
}

/// The export button.
pub fn menu(ui: &mut Ui, figure: &Arc<Figure>, commands: &mut Vec<Command>) {
    let (shown, _) = oriented(ui, figure);
    export::button(ui, &shown, commands);
}

/// The picture in the space that is left.
fn plot(ui: &mut Ui, shown: &Arc<Figure>, swapped: bool, selected: Option<Cell>) -> Touch {
    let swap = |cell: Cell| if swapped { Cell { row: cell.col, col: cell.row } } else { cell };
    let selected = selected.map(swap);
    let touch = match &shown.plot {
        Plot::Map(data) => map::ui(ui, shown, data, selected),
        Plot::Lines(data) => {
            lines::ui(ui, shown, data);
            Touch::default()
        }
        Plot::Table(data) => table::ui(ui, shown, data, selected),
        Plot::Bars(data) => bars::ui(ui, shown, data, selected),
    };
    touch.map(swap)
}

fn transposed_id(figure: &Figure) -> Id {
    Id::unique(("transposed", figure.id))
}

fn is_transposed(ui: &Ui, figure: &Figure) -> bool {
    ui.data_mut(|data| data.get_persisted(transposed_id(figure))).unwrap_or_default()
}

/// A figure being turned: the copy, once it is there.
type Turned = (Arc<Figure>, Arc<OnceLock<Arc<Figure>>>);

/// The figure as it lies on screen, and whether that is turned. The turned copy is kept until the figure changes; large
/// maps are turned off the frame and lie as they were until then.
fn oriented(ui: &Ui, figure: &Arc<Figure>) -> (Arc<Figure>, bool) {
    if !is_transposed(ui, figure) {
        return (Arc::clone(figure), false);
    }
    let id = Id::unique(("turned", figure.id));
    let kept: Option<Turned> = ui.data(|data| data.get_temp(id));
    let turned = match kept.filter(|(source, _)| Arc::ptr_eq(source, figure)) {
        Some((_, turned)) => turned,
        None => {
            let turned = Arc::new(OnceLock::new());
            turn(ui, Arc::clone(figure), Arc::clone(&turned));
            ui.data_mut(|data| data.insert_temp::<Turned>(id, (Arc::clone(figure), Arc::clone(&turned))));
            turned
        }
    };
    turned.get().map_or_else(|| (Arc::clone(figure), false), |turned| (Arc::clone(turned), true))
}

fn turn(ui: &Ui, figure: Arc<Figure>, turned: Arc<OnceLock<Arc<Figure>>>) {
    let (rows, cols) = figure.shape();
    if rows * cols <= texture::INLINE_CELLS {
        drop(turned.set(Arc::new(figure.transposed())));
        return;
    }
    let ctx = ui.ctx().clone();
    let work = move || {
        drop(turned.set(Arc::new(figure.transposed())));
        ctx.request_repaint();
    };
    drop(std::thread::Builder::new().name("turn".into()).spawn(work));
}
