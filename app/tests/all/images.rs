//! Pictures in the window: the image well, the patches in strip and trace, and what is no picture.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eframe::egui::{ColorImage, DroppedFile, Event, HoveredFile, Key, Role, vec2};
use egui_kittest::kittest::Queryable as _;
use image::RgbImage;
use sluice::command::Command;
use sluice::gallery::SAMPLES;
use sluice::state::ChipColour;
use sluice_core::figure::Plot;
use sluice_core::method::fcct::FCCT;
use sluice_core::method::trace::{TRACE, TraceFound};
use sluice_core::method::view::StripAsk;
use sluice_core::worker::{Patch, Picture, Target, ViewData};
use sluice_core::world::paint::paint;
use sluice_core::world::talk::{DESCRIBE, is_there};
use sluice_core::world::{Split, World};

use crate::support::{Window, bits, golden};

/// A window on the small LLaVA checkpoint, which reads 3 x 3 patches, with a prompt of four ids.
fn llava() -> Window {
    let mut window = Window::new(Some(Target::Path(golden("llava"))));
    window.until("the checkpoint", |state| state.card.is_some());
    window.settle();
    window.type_prompt("1, 9, 11, 12");
    window.until("the prompt", |state| state.results.tokens.len() == 4);
    window.settle();
    window
}

fn picture(name: &str) -> PathBuf {
    golden("pictures").join(format!("{name}.png"))
}

fn apply(window: &mut Window, command: Command) {
    let ctx = window.harness.ctx.clone();
    window.harness.state_mut().as_mut().unwrap().apply(&ctx, command);
}

/// With a picture, everything computed.
fn with_picture(name: &str) -> Window {
    let mut window = llava();
    apply(&mut window, Command::OpenPicture(picture(name)));
    window.until("the patches", |state| state.results.tokens.len() == 13);
    window.settle();
    window
}

#[derive(Debug)]
struct Dropped(PathBuf);

impl DroppedFile for Dropped {
    fn path(&self) -> &Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        fs::read(&self.0).map_err(|error| error.to_string())
    }
}

fn drop_file(window: &mut Window, path: PathBuf) {
    window.harness.input_mut().dropped_files.push(Arc::new(Dropped(path)));
    window.harness.step();
}

#[test]
fn a_dropped_picture_becomes_patches_and_undo_takes_it_out() {
    let mut window = llava();
    assert!(window.harness.query_by_label("Add image").is_some());
    let before = bits(&window.next());
    drop_file(&mut window, picture("wide"));
    window.until("the patches", |state| state.results.tokens.len() == 13);
    window.settle();
    let tokens = window.state().results.tokens.clone();
    assert_eq!(tokens[0].patch, None, "BOS stays in front");
    assert_eq!(tokens[1].patch, Some(Patch::At { row: 0, col: 0 }));
    assert_eq!(tokens[9].patch, Some(Patch::At { row: 2, col: 2 }));
    assert!(window.harness.query_by_label("image wide.png").is_some());
    assert!(window.harness.query_by_label_contains("wide.png · 100 × 61 pixels").is_some());
    let with = bits(&window.next());
    assert_ne!(with, before);
    window.click("Undo");
    assert!(window.state().image.is_none());
    assert_eq!(bits(&window.next()), before);
    window.click("Redo");
    assert_eq!(bits(&window.next()), with, "the tower's rows were kept");
    window.click("Remove image");
    assert!(window.state().image.is_none());
    assert_eq!(bits(&window.next()), before);
}

#[test]
fn the_patches_fold_and_lock_the_inspector() {
    let mut window = with_picture("exact");
    window.click("patch 1,2");
    assert_eq!(window.state().choices.position, Some(6));
    window.click("patch 1,2");
    assert_eq!(window.state().choices.position, None);
    // The same patch on the picture.
    let at = window.harness.get_by_role_and_label(Role::Image, "image exact.png").rect();
    let patch = at.left_top() + vec2(5.0, 3.0) / 6.0 * at.size();
    window.harness.drag_at(patch);
    window.harness.drop_at(patch);
    window.settle();
    assert_eq!(window.state().choices.position, Some(6));
    window.click("image 3×3");
    assert!(window.harness.query_by_label("patch 1,2").is_none());
    window.click("image 3×3");
    window.harness.get_by_label("patch 0,1").hover();
    window.harness.run_steps(3);
    assert_eq!(window.state().hovered, Some(2), "the picture outlines it");
    window.harness.state_mut().as_mut().unwrap().state.choices.colour = ChipColour::Surprisal;
    window.settle();
    let Some(ViewData::Strip(strip)) = window.state().data(&StripAsk {}.into()) else { panic!("no strip") };
    assert!(strip.surprisal_base[1..10].iter().all(|x| x.is_nan()), "no token predicts a part of a picture");
    assert!(strip.surprisal_base[10..].iter().all(|x| x.is_finite()));
}

#[test]
fn arrow_keys_go_from_patch_to_patch() {
    let mut window = with_picture("exact");
    window.harness.get_by_role_and_label(Role::Image, "image exact.png").focus();
    window.harness.run_steps(3);
    for key in [Key::ArrowDown, Key::ArrowRight, Key::ArrowRight] {
        window.harness.key_press(key);
        window.harness.run_steps(2);
    }
    assert_eq!(window.state().hovered, Some(6));
    window.harness.key_press(Key::Enter);
    window.settle();
    assert_eq!(window.state().choices.position, Some(6));
}

#[test]
fn a_trace_corrupts_drawn_patches() {
    let mut window = with_picture("tall");
    window.click("Trace panel");
    let at = window.harness.get_by_role_and_label(Role::Image, "image tall.png").rect();
    let patch = |row: f32, col: f32| at.left_top() + vec2(2.0 * col + 1.0, 2.0 * row + 1.0) / 6.0 * at.size();
    window.harness.drag_at(patch(0.0, 0.0));
    window.harness.step();
    for col in [1.0, 2.0] {
        window.harness.hover_at(patch(0.0, col));
        window.harness.step();
    }
    window.harness.drop_at(patch(0.0, 2.0));
    window.settle();
    assert_eq!(window.marked(&TRACE, "corrupt"), [1, 2, 3]);
    // A click on one takes its mark away.
    window.click("patch 0,1");
    assert!(!window.marked(&TRACE, "corrupt").contains(&2));
    window.click("Whole image");
    assert_eq!(window.marked(&TRACE, "corrupt").len(), 9);
    window.harness.get_by_label("Run trace").click();
    let findings = window.found(&TRACE);
    let findings = findings.value::<TraceFound>().unwrap();
    assert_ne!(findings.corrupted.prob, findings.clean.prob);
    let Plot::Map(map) = &findings.figure.plot else { panic!("not a map") };
    assert_eq!(map.cols.labels[1], "img 0,0*");
    assert!(findings.figure.notes.iter().any(|note| note.contains("after the tower")));
    assert!(window.notes("after the tower"));
    window.click("Whole image");
    assert!(window.marked(&TRACE, "corrupt").is_empty());
}

#[test]
fn drawing_over_patches_marks_the_object_of_a_picture_trace() {
    let mut window = with_picture("exact");
    window.click("Picture trace panel");
    let rect = window.harness.get_by_role_and_label(Role::Image, "image exact.png").rect();
    let patch = |row: f32, col: f32| rect.min + rect.size() * vec2((col + 0.5) / 3.0, (row + 0.5) / 3.0);
    window.harness.drag_at(patch(0.0, 0.0));
    window.harness.step();
    window.harness.hover_at(patch(1.0, 0.0));
    window.harness.step();
    window.harness.drop_at(patch(1.0, 0.0));
    window.settle();
    assert_eq!(window.marked(&FCCT, "object").len(), 2);
}

#[test]
fn a_picture_of_the_clipboard_is_taken() {
    let mut window = llava();
    let half = ColorImage::from_rgba_unmultiplied([30, 20], &[200, 0, 0, 128].repeat(600));
    window.harness.event(Event::PasteImage(Arc::new(half)));
    window.until("the patches", |state| state.results.tokens.len() == 13);
    let image = window.state().image.clone().unwrap();
    assert_eq!(image.picture.name(), "pasted picture");
    assert_eq!(image.picture.pixels().get_pixel(3, 3).0, [227, 127, 127], "on white");
}

#[test]
fn samples_bring_their_picture() {
    let mut window = llava();
    window.until("the gallery", |state| state.gallery.len() == SAMPLES.len());
    window.harness.run_steps(2);
    window.harness.get_by_label("Add image").click();
    window.harness.run_steps(3);
    let label = format!("sample {}", SAMPLES[0].name);
    window.harness.get_by_label(&label).click();
    window.until("the patches", |state| state.results.tokens.len() == 13);
    assert_eq!(window.state().image.as_ref().unwrap().picture.name(), SAMPLES[0].name);
    assert_eq!(window.state().prompt, "1, 9, 11, 12", "a checkpoint without a tokenizer keeps its ids");
}

#[test]
fn a_sample_brings_its_prompt_in_the_same_step() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(golden("llava").join(name), folder.path().join(name)).unwrap();
    }
    let tokenizer = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"[UNK]": 5}, "unk_token": "[UNK]"}}"#;
    fs::write(folder.path().join("tokenizer.json"), tokenizer).unwrap();
    let mut window = Window::new(Some(Target::Path(folder.path().to_owned())));
    window.until("the checkpoint", |state| state.card.is_some() && state.gallery.len() == SAMPLES.len());
    window.settle();
    assert!(!window.state().ids_only(), "{:?}", window.state().card.as_ref().unwrap().warnings);
    let before = (window.state().prompt.clone(), bits(&window.next()));
    let sample = &SAMPLES[1];
    window.harness.get_by_label("Add image").click();
    window.harness.run_steps(3);
    window.harness.get_by_label(&format!("sample {}", sample.name)).click();
    window.until("the patches", |state| state.image_positions().len() == 9);
    window.settle();
    assert_eq!(window.state().prompt, sample.prompt);
    assert_eq!(window.state().results.tokens.len(), 9 + sample.prompt.split_whitespace().count());
    window.click("Undo");
    window.until("the prompt before", |state| state.image_positions().is_empty());
    window.settle();
    assert!(window.state().image.is_none());
    assert_eq!((window.state().prompt.clone(), bits(&window.next())), before);
}

#[test]
fn every_sample_is_a_small_picture_with_a_prompt() {
    for sample in SAMPLES {
        let picture = Picture::decode(sample.name, sample.png).unwrap();
        let (width, height) = picture.pixels().dimensions();
        assert!(width == height && width <= 64, "{}: {width} x {height}", sample.name);
        assert!(!sample.prompt.is_empty());
    }
}

#[test]
fn what_is_no_picture_says_why_and_changes_nothing() {
    let mut window = with_picture("exact");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let whole = fs::read(picture("wide")).unwrap();
    // The header of a PNG of 20,000 x 20,000 pixels; its checksum belongs to it.
    let huge = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x4e\x20\0\0\x4e\x20\x08\x02\0\0\0\x6c\x12\xd1\x6e\0\0\0\x04IDAT";
    let before = bits(&window.next());
    for (path, cause, next_step) in [
        (file("notes.png", b"not a picture at all"), "neither PNG nor JPEG", "choose a PNG or JPEG"),
        (file("empty.png", b""), "the file is empty", "choose a PNG or JPEG"),
        (file("huge.png", huge), "huge.png", "make the picture smaller"),
        (file("half.png", &whole[..whole.len() / 2]), "half.png", "choose a PNG or JPEG"),
        (folder.path().join("gone.png"), "gone.png", "check the path"),
    ] {
        drop_file(&mut window, path);
        window.until("the failure", |state| state.results.failure.is_some());
        window.harness.run_steps(2);
        let failure = window.state().results.failure.clone().unwrap().1;
        assert!(failure.cause.contains(cause) && failure.next_step.contains(next_step), "{failure:?}");
        assert_eq!(window.harness.query_all_by_label(&failure.cause).count(), 1, "said once");
        assert_eq!(window.state().image.as_ref().unwrap().picture.name(), "exact.png");
        window.click("Close message");
        assert_eq!(bits(&window.next()), before);
    }
}

#[test]
fn a_text_only_checkpoint_says_that_it_takes_no_picture() {
    let mut window = Window::new(Some(Target::Path(golden("llama"))));
    window.until("the checkpoint", |state| state.card.is_some());
    window.settle();
    assert!(window.harness.query_by_label("Add image").is_none());
    let before = bits(&window.next());
    drop_file(&mut window, picture("exact"));
    window.until("the failure", |state| state.results.failure.is_some());
    window.harness.run_steps(2);
    assert!(window.harness.query_by_label_contains("reads text only").is_some());
    assert!(window.harness.query_by_label_contains("open a checkpoint that reads images").is_some());
    assert_eq!(bits(&window.next()), before);
}

#[test]
fn a_picture_asked_for_at_the_start_waits_for_its_checkpoint() {
    let mut window = Window::new(Some(Target::Path(golden("llava"))));
    window.harness.step();
    apply(&mut window, Command::OpenPicture(picture("small")));
    window.until("the picture", |state| state.image.is_some());
    window.settle();
    assert!(window.state().image_positions().len() == 9);
    // Another checkpoint that reads none lets it go, and undo does not bring it back.
    apply(&mut window, Command::Open(golden("llama")));
    window.until("the checkpoint", |state| state.card.as_ref().is_some_and(|card| card.name == "llama"));
    window.settle();
    assert!(window.state().image.is_none());
    apply(&mut window, Command::Undo);
    window.settle();
    assert!(window.state().image.is_none());
}

#[test]
fn dragging_a_picture_over_the_window_says_what_dropping_does() {
    let mut window = llava();
    let path = Some(picture("exact"));
    window.harness.input_mut().hovered_files.push(HoveredFile { path, ..HoveredFile::default() });
    window.harness.run_steps(2);
    assert!(window.state().image.is_none() && window.state().results.failure.is_none());
}

/// The samples as the trainer's world gives them, all of its test split: file, picture, prompt.
fn drawn() -> [(&'static str, RgbImage, String); 5] {
    let scenes = World::new(1).scenes;
    let present = scenes.present(Split::Test, 7);
    let described = scenes.draw(Split::Test, 12);
    let [missing, _] = scenes.broken(Split::Test, 3);
    let seen = scenes.present(Split::Test, 51);
    // The wrong answer that core's search for repairs (`repairs.rs`) finds turned most clearly.
    let [imagined, _] = scenes.broken(Split::Test, 1024);
    [
        ("present", paint(&present.scene).image, is_there(present.asked)),
        ("described", paint(&described).image, DESCRIBE.into()),
        ("missing-half", paint(&missing.scene).image, is_there(missing.asked)),
        ("seen", paint(&seen.scene).image, is_there(seen.asked)),
        ("imagined", paint(&imagined.scene).image, is_there(imagined.asked)),
    ]
}

#[test]
fn the_samples_are_of_the_test_split() {
    for (sample, (name, picture, prompt)) in SAMPLES.iter().zip(drawn()) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../assets/images/{name}.png"));
        assert_eq!(std::fs::read(path).unwrap(), sample.png);
        assert_eq!(sluice_core::checkpoint::decode_image(Path::new(name), sample.png).unwrap(), picture);
        assert_eq!(sample.prompt, prompt);
    }
}

#[test]
#[ignore = "writes into assets/images"]
fn draw_the_samples() {
    for (name, picture, _) in drawn() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../assets/images/{name}.png"));
        picture.save(path).unwrap();
    }
    let prompts = drawn().map(|(_, _, prompt)| prompt);
    assert_eq!(
        prompts.to_vec(),
        SAMPLES.iter().map(|sample| sample.prompt).collect::<Vec<_>>(),
        "see gallery.rs"
    );
}
