//! How much room figures have, in every panel's example state.

use eframe::egui::{Rect, vec2};
use egui_kittest::kittest::NodeT as _;
use sluice::panels::panels;
use sluice::widgets::area;
use sluice_core::figure::Plot;

use crate::support::Window;

/// What is measured of a panel.
#[derive(Debug)]
struct Room {
    panel: &'static str,
    /// Of the pane's area, its height, and the share of its height above the figure.
    area: f32,
    height: f32,
    above: f32,
    /// A map, curves or bars.
    picture: bool,
}

/// Every panel that the checkpoint can do, posed, at a size and a zoom.
fn measured(size: [f32; 2], zoom: f32) -> Vec<Room> {
    let mut window = Window::bundled();
    window.harness.set_size(vec2(size[0], size[1]));
    window.harness.ctx.set_zoom_factor(zoom);
    window.harness.run_steps(4);
    let mut rooms = Vec::new();
    // From the last on: IRI takes what FCCT finds.
    for panel in panels().iter().rev() {
        if panel.unavailable(window.state()).is_some() {
            continue;
        }
        let commands = panel.pose(window.state());
        let ctx = window.harness.ctx.clone();
        for command in commands {
            window.harness.state_mut().as_mut().unwrap().apply(&ctx, command);
        }
        window.until(panel.info().id, |state| panel.is_posed(state));
        window.settle();
        window.harness.run_steps(6);
        let (pane, figure) = (area::of(&ctx, area::PANE), area::of(&ctx, area::FIGURE));
        let pane = pane.unwrap_or_else(|| panic!("{} has no pane", panel.info().id));
        let figure = figure.unwrap_or_else(|| panic!("{} draws no figure", panel.info().id));
        let share = |a: Rect, b: Rect| a.area() / b.area();
        rooms.push(Room {
            panel: panel.info().id,
            area: share(figure.intersect(pane), pane),
            height: figure.intersect(pane).height() / pane.height(),
            above: (figure.top() - pane.top()) / pane.height(),
            picture: panel
                .figures(window.state())
                .iter()
                .any(|figure| !matches!(figure.plot, Plot::Table(_))),
        });
        assert!(figure.bottom() <= pane.bottom() + 1.0, "{}: {figure:?} in {pane:?}", panel.info().id);
    }
    rooms
}

#[test]
fn figures_take_most_of_their_panel_and_begin_high() {
    let mut failed = Vec::new();
    for (size, zoom) in [([1440.0, 900.0], 1.0), ([1280.0, 720.0], 1.0), ([1440.0, 900.0], 1.3)] {
        for room in measured(size, zoom) {
            let most = if room.picture { room.area } else { room.height };
            if most < 0.6 || room.above > 0.25 {
                failed.push(format!("{}, {size:?} at {zoom}: {room:.3?}", room.panel));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// In a small window no control of a panel's rows is cut off: what has no room is under Options.
#[test]
fn every_control_is_reached_in_a_small_window() {
    let mut window = Window::bundled();
    window.harness.set_size(vec2(1024.0, 700.0));
    window.harness.run_steps(4);
    for panel in panels().iter().rev() {
        if panel.unavailable(window.state()).is_some() {
            continue;
        }
        for command in panel.pose(window.state()) {
            let ctx = window.harness.ctx.clone();
            window.harness.state_mut().as_mut().unwrap().apply(&ctx, command);
        }
        window.until(panel.info().id, |state| panel.is_posed(state));
        window.settle();
        window.harness.run_steps(6);
        let ctx = window.harness.ctx.clone();
        let (pane, figure) = (area::of(&ctx, area::PANE).unwrap(), area::of(&ctx, area::FIGURE).unwrap());
        assert!(figure.top() < pane.center().y && figure.height() > 200.0, "{}: {figure:?}", panel.info().id);
        let window_rect = ctx.content_rect();
        let mut count = 0;
        for node in window.harness.root().children_recursive() {
            let access = node.accesskit_node();
            if !crate::window::is_pressed(access.role()) {
                continue;
            }
            let rect = node.rect();
            if !(pane.top()..figure.top()).contains(&rect.center().y) || rect.left() < pane.left() {
                continue;
            }
            // What stands at the right side of the window is no part of the panel.
            if rect.left() > pane.right() + 8.0 {
                continue;
            }
            count += 1;
            let inside = rect.right() <= pane.right() + 1.0 && window_rect.contains_rect(rect);
            assert!(inside, "{}: {:?} {rect:?} in {pane:?}", panel.info().id, access.label());
        }
        assert!(count > 0, "{}: {count}", panel.info().id);
    }
}
