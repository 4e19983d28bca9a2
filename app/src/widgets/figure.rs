//! A figure on screen: title, notes, legend, picture, export menu.

use std::sync::{Arc, OnceLock};

use eframe::egui::{Button, Id, RichText, Role, Ui, WidgetInfo, containers::menu::MenuButton};
use sluice_core::figure::{Figure, Format, Plot};

use super::map::{self, Cell, Touch};
use super::{legend, lines, texture};
use crate::command::Command;

/// Title with export menu, and notes.
pub fn head(ui: &mut Ui, figure: &Arc<Figure>, commands: &mut Vec<Command>) {
    title(ui, figure, commands);
    for note in &figure.notes {
        ui.label(RichText::new(note).small().weak());
    }
}

/// Title with export menu.
pub fn title(ui: &mut Ui, figure: &Arc<Figure>, commands: &mut Vec<Command>) {
    ui.horizontal_wrapped(|ui| {
        ui.label(RichText::new(&figure.title).strong());
        menu(ui, figure, commands);
        if matches!(figure.plot, Plot::Map(_)) {
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

/// Legend and picture of a map; what the pointer does to its cells.
pub fn map(ui: &mut Ui, figure: &Arc<Figure>, selected: Option<Cell>) -> Touch {
    let (shown, swapped) = oriented(ui, figure);
    let Plot::Map(data) = &shown.plot else { return Touch::default() };
    legend::ui(ui, data);
    let swap = |cell: Cell| if swapped { Cell { row: cell.col, col: cell.row } } else { cell };
    let touch = map::ui(ui, &shown, data, selected.map(swap));
    Touch { clicked: touch.clicked.map(swap), stroke: touch.stroke.into_iter().map(swap).collect() }
}

/// Curves.
pub fn lines(ui: &mut Ui, figure: &Arc<Figure>) {
    if let Plot::Lines(data) = &figure.plot {
        lines::ui(ui, figure, data);
    }
}

fn transposed_id(figure: &Figure) -> Id {
    Id::unique(("transposed", &figure.name))
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
    let id = Id::unique(("turned", &figure.name));
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
    let cells = if let Plot::Map(map) = &figure.plot { map.values.len() } else { 0 };
    if cells <= texture::INLINE_CELLS {
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
