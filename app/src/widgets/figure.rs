//! A figure on screen: title, notes, legend, picture, export menu.

use std::sync::{Arc, OnceLock};

use eframe::egui::{Button, Id, RichText, Role, Ui, WidgetInfo, containers::menu::MenuButton};
use sluice_core::figure::{Figure, Format, Plot};

use super::touch::{Cell, Touch};
use super::{bars, legend, lines, map, table, texture};
use crate::command::Command;

/// Any figure: title with export menu, notes, legend, plot. Returns what a person does to its cells; `selected` is framed.
pub fn show(ui: &mut Ui, figure: &Arc<Figure>, selected: Option<Cell>, commands: &mut Vec<Command>) -> Touch {
    head(ui, figure, commands);
    plot(ui, figure, selected)
}

/// Title with export menu, and notes.
pub fn head(ui: &mut Ui, figure: &Arc<Figure>, commands: &mut Vec<Command>) {
    title(ui, figure, commands);
    notes(ui, &figure.notes);
}

/// What must be known to read it.
pub fn notes<'a>(ui: &mut Ui, notes: impl IntoIterator<Item = &'a String>) {
    for note in notes {
        ui.label(RichText::new(note).small().weak());
    }
}

/// Title with export menu.
pub fn title(ui: &mut Ui, figure: &Arc<Figure>, commands: &mut Vec<Command>) {
    ui.horizontal_wrapped(|ui| {
        ui.label(RichText::new(&figure.title).strong());
        menu(ui, figure, commands);
        if figure.transposes() {
            let id = transposed_id(figure);
            let mut on: bool = ui.data(|data| data.get_temp(id)).unwrap_or_default();
            let button = ui.add(Button::new("Transpose").small().selected(on));
            if button.on_hover_text("swap rows and columns on screen and in exports").clicked() {
                on = !on;
                ui.data_mut(|data| data.insert_temp(id, on));
            }
        }
    });
}

/// The export menu.
pub fn menu(ui: &mut Ui, figure: &Arc<Figure>, commands: &mut Vec<Command>) {
    let (shown, _) = oriented(ui, figure);
    let button = Button::new("Export").small();
    let (response, _) = MenuButton::from_button(button).ui(ui, |ui| {
        for format in Format::ALL {
            if ui.button(format.extension().to_uppercase()).clicked() {
                commands.push(Command::Export(Arc::clone(&shown), Some(format)));
            }
        }
        if ui.button("All three").clicked() {
            commands.push(Command::Export(Arc::clone(&shown), None));
        }
        ui.separator();
        if ui.button("Copy as CSV").clicked() {
            commands.push(Command::CopyCsv(Arc::clone(&shown)));
        }
    });
    let name = format!("Export {}", figure.name);
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
}

/// Legend and plot, in the space that is left.
pub fn plot(ui: &mut Ui, figure: &Arc<Figure>, selected: Option<Cell>) -> Touch {
    let (shown, swapped) = oriented(ui, figure);
    let swap = |cell: Cell| if swapped { Cell { row: cell.col, col: cell.row } } else { cell };
    let selected = selected.map(swap);
    let touch = match &shown.plot {
        Plot::Map(data) => {
            legend::map(ui, data);
            map::ui(ui, &shown, data, selected)
        }
        Plot::Lines(data) => {
            legend::curves(ui, data.series.iter().map(|series| series.name.as_str()), lines::dash);
            lines::ui(ui, &shown, data);
            Touch::default()
        }
        Plot::Table(data) => table::ui(ui, &shown, data, selected),
        Plot::Bars(data) => {
            legend::bars(ui, data.series.iter().map(|series| series.name.as_str()));
            bars::ui(ui, &shown, data, selected)
        }
    };
    touch.map(swap)
}

fn transposed_id(figure: &Figure) -> Id {
    Id::unique(("transposed", figure.id))
}

fn is_transposed(ui: &Ui, figure: &Figure) -> bool {
    ui.data(|data| data.get_temp(transposed_id(figure))).unwrap_or_default()
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
