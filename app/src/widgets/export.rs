//! The sheet behind a figure's export button: kinds of file, colours, size, and where it goes.

use std::path::PathBuf;
use std::sync::Arc;

use eframe::egui::{
    Align, Button, Context, DragValue, Frame, Grid, Id, Layout, Margin, RichText, Role, Ui, WidgetInfo,
};
use sluice_core::figure::{DPI, Figure, Format, Ground, WIDTHS, export};

use super::head;
use super::icon::{self, Icon};
use crate::command::Command;
use crate::state::ExportChoice;
use crate::theme;

/// Width of the sheet in points.
const WIDTH: f32 = 300.0;
/// Width of a page's text, mm: where a width begins.
const PAGE: u16 = 170;

/// What figures are exported as, and where to.
type Kept = Arc<(ExportChoice, PathBuf)>;

fn id() -> Id {
    Id::unique("export-choice")
}

/// Let every figure of this frame know what was chosen.
pub fn keep(ctx: &Context, choice: &ExportChoice, folder: &PathBuf) {
    let known: Option<Kept> = ctx.data(|data| data.get_temp(id()));
    if known.is_none_or(|known| known.0 != *choice || known.1 != *folder) {
        let kept: Kept = Arc::new((choice.clone(), folder.clone()));
        ctx.data_mut(|data| data.insert_temp(id(), kept));
    }
}

/// The button, and the sheet while it is open.
pub fn button(ui: &mut Ui, figure: &Arc<Figure>, commands: &mut Vec<Command>) {
    let button = Button::new("").min_size([icon::SIDE; 2].into()).frame(false);
    let (response, _) = head::menu(button).ui(ui, |ui| {
        // Not as a menu's entries.
        ui.reset_style();
        Frame::new().inner_margin(Margin::same(8)).show(ui, |ui| {
            ui.set_width(WIDTH);
            ui.with_layout(Layout::top_down(Align::LEFT), |ui| sheet(ui, figure, commands));
        });
    });
    icon::over(ui, &response, Icon::Export);
    let name = format!("Export {}", figure.name);
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
}

fn sheet(ui: &mut Ui, figure: &Arc<Figure>, commands: &mut Vec<Command>) {
    let kept: Kept = ui.data(|data| data.get_temp(id())).unwrap_or_default();
    let (known, folder) = &*kept;
    let mut choice = known.clone();
    Grid::new("export").num_columns(2).spacing([16.0, 8.0]).show(ui, |ui| {
        ui.label(RichText::new("File").weak());
        ui.horizontal(|ui| {
            for format in Format::ALL {
                let on = choice.formats.contains(&format);
                if ui.selectable_label(on, format.extension().to_uppercase()).clicked() {
                    match on {
                        true => choice.formats.retain(|known| *known != format),
                        false => choice.formats.push(format),
                    }
                    choice.formats.sort_unstable();
                }
            }
        });
        ui.end_row();
        ui.label(RichText::new("Theme").weak());
        ui.horizontal(|ui| {
            for ground in Ground::ALL {
                ui.selectable_value(&mut choice.sheet.ground, ground, ground.name());
            }
        });
        ui.end_row();
        let label = ui.label(RichText::new("Width").weak());
        ui.horizontal(|ui| width(ui, &mut choice, label.id));
        ui.end_row();
    });
    ui.add_space(theme::UNIT);
    ui.label(RichText::new(format!("{}-… as {}", export::begins(figure), choice.kinds())).small().weak());
    let place =
        format!("into {}; checkpoint, prompt, plan and version stand under the figure", folder.display());
    ui.label(RichText::new(place).small().weak());
    ui.add_space(theme::UNIT);
    ui.horizontal(|ui| {
        let can = !choice.formats.is_empty();
        if ui.add_enabled(can, theme::filled(ui.ctx(), "Export")).clicked() {
            commands.push(Command::Export(Arc::clone(figure)));
            ui.close();
        }
        if ui.button("Copy as picture").clicked() {
            commands.push(Command::CopyPicture(Arc::clone(figure)));
            ui.close();
        }
        if ui.button("Copy as CSV").clicked() {
            commands.push(Command::CopyCsv(Arc::clone(figure)));
            ui.close();
        }
    });
    if choice != *known {
        // Before what else was asked for in this frame.
        commands.insert(0, Command::ExportAs(choice));
    }
}

/// As wide as the figure needs, or so many mm; pixels of an inch.
fn width(ui: &mut Ui, choice: &mut ExportChoice, label: Id) {
    theme::fields(ui);
    let sheet = &mut choice.sheet;
    let mut fixed = sheet.width.is_some();
    if ui.selectable_label(!fixed, "as needed").clicked() {
        fixed = false;
    }
    let mut width = sheet.width.unwrap_or(PAGE);
    let drag = DragValue::new(&mut width).range(WIDTHS).suffix(" mm");
    if ui
        .add(drag)
        .labelled_by(label)
        .on_hover_text("a page's column is about 80 mm, its width 170")
        .changed()
    {
        fixed = true;
    }
    sheet.width = fixed.then_some(width);
    let at = ui.label(RichText::new("at").weak());
    ui.add(DragValue::new(&mut sheet.dpi).range(DPI).suffix(" dpi")).labelled_by(at.id);
}
