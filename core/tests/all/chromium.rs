//! Figures and pages in a browser, by hand where there is one:
//! `cargo test --release -p sluice-core --test all -- --ignored chromium --nocapture`

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use sluice_core::engine::never;
use sluice_core::figure::page::{Part, to_html};
use sluice_core::figure::{Figure, Format, Ground, Sheet, export};
use sluice_core::method::{METHODS, Running};

use crate::methods::Bench;

/// A channel that differs by more is another colour, not a smoother edge.
const OTHER: u8 = 64;
/// Mean difference of a channel, of 255, and share of the pixels that are of another colour: edges of letters, which each
/// program smooths in its own way.
const MEAN: f64 = 6.0;
const SHARE: f64 = 0.05;

/// A home with the two fonts that figures name, and nothing else.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let fonts = home.path().join(".fonts");
    std::fs::create_dir_all(&fonts).unwrap();
    std::fs::write(fonts.join("ubuntu.ttf"), epaint_default_fonts::UBUNTU_LIGHT).unwrap();
    std::fs::write(fonts.join("hack.ttf"), epaint_default_fonts::HACK_REGULAR).unwrap();
    home
}

fn chromium(home: &Path, arguments: &[&str]) -> Output {
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
        ])
        .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=2000"])
        .args(arguments)
        .env("HOME", home)
        .current_dir(home)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Figures of every method's first sample on the bundled checkpoint.
fn figures() -> Vec<Arc<Figure>> {
    let mut bench = Bench::new("../../../assets/bundled");
    let mut all: Vec<Arc<Figure>> = Vec::new();
    for method in METHODS {
        let Ok(asked) = bench.sample(method.id, "{}") else { continue };
        let (engine, card) = (&mut bench.opened.engine, &bench.opened.card);
        let mut run = Running::start(asked, engine, card, &never).unwrap();
        while !run.step(engine, &never).unwrap() {}
        all.extend(run.findings(engine).found.figures().into_iter().take(1));
    }
    all
}

#[test]
#[ignore = "needs chromium"]
fn chromium_draws_what_the_program_draws() {
    let home = home();
    let sheet = Sheet { ground: Ground::Print, width: Some(170), dpi: 96 };
    let (mut worst_mean, mut worst_share) = (0.0_f64, 0.0_f64);
    for figure in figures() {
        let own =
            image::load_from_memory(&export::bytes(&figure, Format::Png, sheet).unwrap()).unwrap().to_rgb8();
        let file = home.path().join(format!("{}.svg", figure.stem()));
        std::fs::write(&file, export::bytes(&figure, Format::Svg, sheet).unwrap()).unwrap();
        let (width, height) = own.dimensions();
        let size = format!("--window-size={width},{height}");
        let shot = format!("--screenshot={}", home.path().join("shot.png").display());
        chromium(home.path(), &[&size, &shot, &file.display().to_string()]);
        let theirs = image::open(home.path().join("shot.png")).unwrap().to_rgb8();
        assert_eq!(theirs.dimensions(), own.dimensions(), "{}", figure.name);
        let (mut sum, mut other) = (0_u64, 0_u64);
        for (a, b) in own.pixels().zip(theirs.pixels()) {
            let most = a.0.iter().zip(b.0).map(|(a, b)| a.abs_diff(b)).max().unwrap();
            sum += a.0.iter().zip(b.0).map(|(a, b)| u64::from(a.abs_diff(b))).sum::<u64>();
            other += u64::from(most > OTHER);
        }
        let pixels = f64::from(width) * f64::from(height);
        let (mean, share) = (sum as f64 / (3.0 * pixels), other as f64 / pixels);
        println!("{}: mean {mean:.2} of 255, {:.2} % of another colour", figure.stem(), 100.0 * share);
        (worst_mean, worst_share) = (worst_mean.max(mean), worst_share.max(share));
        assert!(mean < MEAN && share < SHARE, "{}: {mean} {share}", figure.stem());
    }
    println!("at most: mean {worst_mean:.2} of 255, {:.2} % of another colour", 100.0 * worst_share);
}

#[test]
#[ignore = "needs chromium"]
fn chromium_opens_a_page_without_the_network() {
    let home = home();
    let parts: Vec<Part> =
        figures().into_iter().map(|figure| Part { figure, facts: vec!["loss: 1 nats".into()] }).collect();
    let file = home.path().join("page.html");
    std::fs::write(&file, to_html("bundled: People call Taren", &parts, Ground::Light.into())).unwrap();
    let address = file.display().to_string();
    let output = chromium(home.path(), &["--dump-dom", "--enable-logging=stderr", &address]);
    let document = String::from_utf8_lossy(&output.stdout);
    for element in ["<svg ", "<table>", "<h2 "] {
        assert_eq!(document.matches(element).count(), parts.len(), "{element}");
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("CONSOLE") && !said.contains("ERR_"), "{said}");
    if let Some(keep) = std::env::var_os("KEEP") {
        let shot = format!("--screenshot={}", Path::new(&keep).join("page.png").display());
        chromium(home.path(), &["--window-size=1200,3000", &shot, &address]);
    }
}
