//! Every panel does its work by label, on the bundled checkpoint.

use eframe::egui::Role;
use egui_kittest::kittest::Queryable as _;
use sluice::command::Command;
use sluice::panels::{find, routing};
use sluice_core::figure::{Format, Plot};
use sluice_core::method::fcct::{FCCT, FcctFound};
use sluice_core::method::oracle::{ORACLE, OracleFound};
use sluice_core::method::router::{ROUTER, RouterFound};
use sluice_core::method::trace::{Component, TRACE, TraceFound};
use sluice_core::method::view::StripAsk;
use sluice_core::plan::{Change, Lane};
use sluice_core::worker::{Answer, ViewData};

use crate::support::{Window, bits, name};

#[test]
fn every_panel_shows_its_figure() {
    let mut window = Window::bundled();
    for (panel, figure) in [
        ("routing", "routing-map"),
        ("sublayers", "sublayers"),
        ("activations", "activations"),
        ("attention", "attention"),
        ("lens", "lens"),
    ] {
        window.click(&format!("{} panel", find(panel).unwrap().info().name));
        assert_eq!(name(&window.figure(panel)), figure);
        assert!(window.harness.query_by_label(&format!("Export {figure}")).is_some());
    }
}

#[test]
fn painting_a_stroke_routes_tokens_and_is_one_step() {
    let mut window = Window::bundled();
    let before = bits(&window.next());
    window.click("Routing panel");
    let map = window.harness.get_by_role_and_label(Role::Image, "Routing map map").rect();
    let cols = window.state().results.tokens.len() + 1;
    let at =
        |col: usize| map.left_top() + eframe::egui::vec2((col as f32 + 0.5) * map.width() / cols as f32, 6.0);
    window.harness.drag_at(at(0));
    for col in 0..4 {
        window.harness.hover_at(at(col));
        window.harness.step();
    }
    window.harness.drop_at(at(3));
    window.settle();
    for col in 0..4 {
        assert_eq!(window.state().lane(0, Some(col)), Lane::Small, "column {col}");
    }
    assert_eq!(window.state().lane(0, Some(4)), Lane::Big);
    assert_ne!(bits(&window.next()), before);
    window.click("Undo");
    assert!(window.state().history.plan().items.is_empty());
    assert_eq!(bits(&window.next()), before);
}

#[test]
fn a_click_on_the_activation_map_opens_the_neuron() {
    let mut window = Window::bundled();
    window.click("Activations panel");
    let map = window.harness.get_by_role_and_label(Role::Image, "FFN activations, layer 0 map").rect();
    window.harness.drag_at(map.center());
    window.harness.drop_at(map.center());
    window.settle();
    let (layer, neuron) = window.state().choices.neuron.unwrap();
    let title = format!("Neuron {neuron} of layer {layer}");
    assert!(window.harness.query_by_label(&title).is_some());
    assert!(window.harness.query_by_label("promotes").is_some());
    window.click("Set to zero");
    assert!(
        matches!(&window.state().history.plan().items[0].change, Change::Ablate(ablate) if ablate.target.unit == Some(neuron))
    );
}

#[test]
fn a_trace_runs_and_its_cell_goes_into_the_plan() {
    let mut window = Window::bundled();
    window.click("Trace panel");
    window.click("token 7: ·Taren");
    window.harness.get_by_label("Run trace").click();
    let findings = window.found(&TRACE);
    let findings = findings.value::<TraceFound>().unwrap();
    assert!(findings.corrupted.prob < findings.clean.prob);
    let Plot::Map(map) = &findings.figure.plot else { panic!("not a map") };
    assert_eq!(map.values.last(), Some(&1.0), "the last block's stream at the last token is the answer");
    window.click("Corruption into the plan");
    let corrupted = window.next().answer.plan;
    assert!((corrupted - findings.draws[0].prob).abs() < 1e-6, "the first draw's");
    window.click("Undo");
    let picture = format!("{} map", findings.figure.title);
    let map = window.harness.get_by_role_and_label(Role::Image, &picture).rect();
    let last = map.right_bottom() - eframe::egui::vec2(4.0, 4.0);
    window.harness.drag_at(last);
    window.harness.drop_at(last);
    window.settle();
    assert_eq!(window.state().history.plan().items.len(), 2);
    let next = window.next();
    assert_eq!(next.answer.plan.to_bits(), next.answer.base.to_bits(), "restored");
    assert!(
        window.harness.query_by_label_contains("of an earlier").is_none(),
        "the trace is still of this plan"
    );
    window.click("Undo");
    assert!(window.state().history.plan().items.is_empty(), "one step");
}

#[test]
fn an_injection_follows_its_controls() {
    let mut window = Window::bundled();
    window.click("Inject a vector panel");
    window.click("Add injection");
    assert_eq!(window.state().history.plan().items.len(), 1);
    assert!(window.next().kl > 0.0);
    let before = bits(&window.next());
    window.harness.get_by_role_and_label(Role::CheckBox, "keep the norm").click();
    window.settle();
    assert_eq!(window.state().history.plan().items.len(), 1, "the item is changed, not added");
    assert_ne!(bits(&window.next()), before);
    window.click("Remove injection");
    assert!(window.state().history.plan().items.is_empty());
}

/// Marks a context with its subject, and runs the grid.
fn grid(window: &mut Window) {
    window.click("Picture trace panel");
    window.click("token 7: ·Taren");
    window.click("object in it");
    window.click("token 7: ·Taren");
    window.click("object words");
    window.click("token 8: ·comes");
    window.harness.get_by_role_and_label(Role::Button, "Run picture trace").click();
    window.found(&FCCT);
}

#[test]
fn an_fcct_grid_of_marked_tokens_fills_three_maps() {
    let mut window = Window::bundled();
    window.click("Picture trace panel");
    assert!(window.harness.query_by_label_contains("mark what is context first").is_some());
    window.click("object in it");
    window.click("token 3: ·Taren");
    assert!(window.state().said().contains("inside the context"), "{}", window.state().said());
    window.click("context up to here");
    grid(&mut window);
    let findings = window.found(&FCCT);
    let findings = findings.value::<FcctFound>().unwrap();
    assert_eq!(findings.categories, [6, 1, 0, 0, 1, 0, 1]);
    assert!(findings.corrupted.prob < findings.clean.prob);
    for figure in &findings.figures {
        let label = format!("{} map", figure.title);
        assert!(window.harness.query_by_role_and_label(Role::Image, &label).is_some(), "{label}");
        assert!(window.harness.query_by_label(&format!("Export {}", figure.name)).is_some());
    }
    let Plot::Map(map) = &findings.figures[0].plot else { panic!("not a map") };
    assert_eq!(map.values.last(), Some(&1.0), "the last token's last stream is the answer");
    assert!(map.value(0, 2).is_nan(), "no late context");
    assert!(window.notes("text surrogate of FCCT: vis"));
    // Another mark makes them findings of an earlier marking; another prompt takes the marks away.
    window.click("token 8: ·comes");
    assert!(window.harness.query_by_label_contains("of an earlier marking").is_some());
    window.type_prompt("Moren lives in");
    window.until("the tokens", |state| state.results.tokens.last().is_some_and(|token| token.text == "·in"));
    window.settle();
    assert!(window.marked(&FCCT, "context").is_empty());
    assert!(window.harness.query_by_label_contains("of an earlier prompt").is_some());
}

#[test]
fn iri_takes_the_rates_of_the_grid_and_follows_its_controls() {
    let mut window = Window::bundled();
    window.click("Repair an answer panel");
    assert!(window.harness.query_by_label("No recovery rates yet").is_some());
    window.click("Open Picture trace");
    grid(&mut window);
    window.click("Repair an answer panel");
    window.click("Add IRI");
    let held = |window: &Window| match &window.state().history.plan().items[0].change {
        Change::Iri(iri) => iri.clone(),
        other => panic!("{other:?}"),
    };
    let findings = window.found(&FCCT);
    let findings = findings.value::<FcctFound>().unwrap();
    assert_eq!(held(&window).attn.recovery, findings.last(Component::Attention));
    assert_eq!(held(&window).ffn.recovery, findings.last(Component::Ffn));
    let next = window.next();
    assert_ne!(next.answer.plan.to_bits(), next.answer.base.to_bits());
    let view = find("iri").unwrap().view(window.state()).unwrap();
    let Some(ViewData::AnswerPair(verdict)) = window.state().data(&view).cloned() else {
        panic!("no answers")
    };
    assert!(!verdict.yes_no);
    assert_ne!(verdict.rows[0].token, verdict.rows[1].token);
    assert_eq!(verdict.rows[0].plan.to_bits(), window.next().answer.plan.to_bits());
    assert!(verdict.drift.unwrap() < 1e-6, "{verdict:?}");
    assert!(window.harness.query_by_label_contains("norms kept").is_some());
    let label = "Recovery rates of the last token bars";
    assert!(window.harness.query_by_role_and_label(Role::Image, label).is_some());
    let names: Vec<String> =
        find("iri").unwrap().figures(window.state()).iter().map(|figure| figure.name.clone()).collect();
    assert_eq!(names, ["verdict", "iri"], "Ctrl+E writes them");
    window.export("iri", &[Format::Csv]);
    let csv = crate::support::records(&window.file("iri.csv"));
    let columns = "Layer,attention,FFN,attention text,FFN text";
    assert_eq!((csv.lines().next(), csv.lines().count()), (Some(columns), 1 + window.state().layers()));
    let before = bits(&window.next());
    window.fill(Role::SpinButton, "k2 targets", "1");
    window.harness.key_press(eframe::egui::Key::Enter);
    window.settle();
    assert_eq!((held(&window).attn.targets, held(&window).ffn.targets), (Some(1), Some(1)));
    assert_eq!(window.state().history.plan().items.len(), 1, "the item is changed, not added");
    assert_ne!(bits(&window.next()), before);
    window.harness.get_by_role_and_label(Role::CheckBox, "IRI on").click();
    window.settle();
    assert_eq!(window.next().kl, 0.0, "switched off");
    window.click("Remove IRI");
    assert!(window.state().history.plan().items.is_empty());
    assert!(window.harness.query_by_label("Add IRI").is_some());
}

#[test]
fn continuations_stream_side_by_side() {
    let mut window = Window::bundled();
    window.choose("Fill", "All small");
    let ctx = window.harness.ctx.clone();
    window.harness.state_mut().as_mut().unwrap().apply(&ctx, Command::Generate);
    window.until("the text", |state| state.results.text.as_ref().is_some_and(|text| text.done));
    window.settle();
    let text = window.state().results.text.clone().unwrap();
    assert!(text.texts.len() == 2 && text.texts.iter().all(|of| !of.text.is_empty()));
    assert!(window.harness.query_by_label_contains(text.texts[0].text.trim()).is_some());
    assert!(window.harness.query_by_label("Export text").is_some());
}

#[test]
fn a_typed_answer_is_followed() {
    let mut window = Window::bundled();
    window.click("Trace panel");
    window.fill(Role::TextInput, "Answer", " Dunmere");
    window.settle();
    assert_eq!(window.state().choices.answer, Answer::Text(" Dunmere".into()));
    assert_eq!(window.next().answer.token.text, "·Dunmere");
    window.click("next ·Dunwick");
    assert_eq!(window.next().answer.token.text, "·Dunwick");
}

#[test]
fn transposing_swaps_the_axes_of_screen_and_export() {
    let mut window = Window::bundled();
    window.click("Routing panel");
    window.click("Transpose");
    window.export("routing-map", &[Format::Csv]);
    let csv = crate::support::records(&window.file("routing-map.csv"));
    let (rows, cols) = (csv.lines().count() - 1, csv.lines().next().unwrap().split(',').count() - 1);
    assert!(rows >= window.state().results.tokens.len() && cols == window.state().layers(), "{csv}");
}

#[test]
fn actions_have_one_name_and_one_key_each() {
    let window = Window::bundled();
    let actions = &window.app().actions;
    let mut names: Vec<&str> = actions.iter().map(|action| &*action.text).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), actions.len());
    let mut keys: Vec<String> =
        actions.iter().filter_map(|action| action.keys).map(|keys| format!("{keys:?}")).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), actions.iter().filter(|action| action.keys.is_some()).count());
}

#[test]
fn hovering_a_token_shows_what_was_expected() {
    let mut window = Window::bundled();
    window.harness.get_by_label("token 3: ·Taren").hover();
    window.until("the strip", |state| matches!(state.data(&StripAsk {}.into()), Some(ViewData::Strip(_))));
    // Tooltips wait for the pointer to rest.
    window.harness.run_steps(60);
    assert!(window.harness.query_by_label_contains("expected next").is_some());
}

#[test]
fn panels_show_a_plan_that_no_token_goes_big_under() {
    let mut window = Window::bundled();
    window.choose("Fill", "All small");
    window.click("Activations panel");
    assert!(window.state().results.failure.is_none(), "{:?}", window.state().results.failure);
    let Plot::Map(map) = &window.figure("activations").plot.clone() else { panic!("not a map") };
    assert!(map.values.iter().all(|x| x.is_nan()), "no token went through the big FFN");
}

#[test]
fn a_failing_view_leaves_the_others() {
    let mut window = Window::bundled();
    window.click("Pruning panel");
    let ctx = window.harness.ctx.clone();
    window.harness.state_mut().as_mut().unwrap().apply(&ctx, Command::Follow(Answer::Id(9999)));
    window.until("the failure", |state| state.results.failure.is_some());
    window.settle();
    assert!(window.state().data(&window.state().next_view()).is_none(), "nothing old is shown as new");
    assert_eq!(name(&window.figure("sublayers")), "sublayers");
    window.click("FFN 1");
    let Some(ViewData::Strip(strip)) = window.state().data(&StripAsk {}.into()) else { panic!("no strip") };
    assert!(strip.kl.iter().any(|kl| *kl > 0.0), "the strip follows the plan");
}

#[test]
fn findings_of_an_earlier_prompt_are_marked_and_not_clickable() {
    let mut window = Window::bundled();
    window.click("Trace panel");
    window.click("token 7: ·Taren");
    window.harness.get_by_label("Run trace").click();
    window.found(&TRACE);
    window.type_prompt("Moren lives in");
    window.until("the tokens", |state| state.results.tokens.last().is_some_and(|token| token.text == "·in"));
    window.settle();
    assert!(window.harness.query_by_label_contains("of an earlier prompt").is_some());
    let picture = format!("{} map", window.figure(TRACE.id).title);
    let map = window.harness.get_by_role_and_label(Role::Image, &picture).rect();
    window.harness.drag_at(map.center());
    window.harness.drop_at(map.center());
    window.settle();
    assert!(window.state().history.plan().items.is_empty());
}

#[test]
fn any_intervention_can_be_added_as_json() {
    let mut window = Window::bundled();
    window.click("Add a change as JSON");
    // The box's fold-out is animated.
    window.harness.run_steps(20);
    let ablate = r#"{"kind": "ablate", "site": "blocks.1.attn.hook_z", "unti": 0}"#;
    let label = "one item of a plan; docs/plan.md has an example of each kind";
    window.fill(Role::MultilineTextInput, label, ablate);
    assert!(window.harness.query_by_label_contains("unti is not a field").is_some());
    window.fill(Role::MultilineTextInput, label, &ablate.replace("unti", "unit"));
    window.click("Add to the plan");
    assert!(matches!(&window.state().history.plan().items[0].change, Change::Ablate(_)));
    assert!(window.next().kl > 0.0);
}

#[test]
fn the_oracle_fills_its_map_and_its_routes_go_into_the_plan() {
    let mut window = Window::bundled();
    let before = bits(&window.next());
    window.click("Best routes panel");
    window.harness.get_by_role_and_label(Role::Button, "Run best routes").click();
    let findings = window.found(&ORACLE);
    let found = findings.value::<OracleFound>().unwrap();
    let names: Vec<&str> = found.figures.iter().map(|figure| figure.detail.as_str()).collect();
    let all = [
        "map",
        "difficulty",
        "along",
        "choice",
        "choice-worth",
        "budgets",
        "controls",
        "controls-deviations",
        "best-of",
    ];
    assert_eq!(names, all);
    let Plot::Map(map) = &found.figures[0].plot else { panic!("no map") };
    let tokens = window.state().results.tokens.len();
    let missing = map.values.iter().filter(|value| value.is_nan()).count();
    assert_eq!(missing, map.rows.labels.len(), "only the last token has no next one, of {tokens}");
    for tab in ["Difficulty", "Budgets", "Controls", "Best of K", "Routes"] {
        window.click_role(Role::ComboBox, "Figure");
        window.click_role(Role::Button, tab);
        assert!(window.harness.query_by_label("Export oracle").is_some(), "{tab}");
    }
    window.click("Routes into the plan");
    assert_eq!(window.state().history.plan().items.len(), 1);
    for layer in 0..window.state().layers() {
        for position in 0..tokens {
            let lane = window.state().lane(layer, Some(position));
            assert_eq!(lane, found.route.lane(layer, position, tokens));
        }
    }
    assert!(window.harness.query_by_label_contains("of an earlier plan").is_none());
    window.click("Undo");
    assert_eq!(bits(&window.next()), before);
}

#[test]
fn a_learned_router_routes_and_its_map_is_shown() {
    let mut window = Window::bundled();
    window.click("Routing panel");
    let before = bits(&window.next());
    window.click_role(Role::ComboBox, "Router");
    window.click_role(Role::Button, "big50_small50");
    assert!(
        matches!(&window.state().history.plan().items[0].change, Change::Router(router) if router.file.is_none())
    );
    assert_ne!(bits(&window.next()), before);
    let figure = window.figure("routing");
    assert!(figure.notes.iter().any(|note| note.contains("learned router")), "{:?}", figure.notes);
    let Plot::Map(map) = &figure.plot else { panic!("no map") };
    assert!(map.values.contains(&0.0) && map.values.contains(&1.0));
    assert!(figure.notes.iter().any(|note| note.contains("FFN FLOPs over the prompt")));
}

#[test]
fn a_router_is_trained_in_the_window_saved_and_routed_by() {
    let mut window = Window::bundled();
    window.click("Learned router panel");
    {
        let state = &mut window.harness.state_mut().as_mut().unwrap().state;
        let ask = &mut state.studies.get_mut(ROUTER.id).ask;
        ask.insert("big".into(), 40.into());
        ask.insert("steps".into(), 12.into());
    }
    window.harness.get_by_role_and_label(Role::Button, "Run learned router").click();
    let findings = window.found(&ROUTER);
    let saved = findings.value::<RouterFound>().unwrap().router.file.clone().unwrap();
    assert!(saved.is_file() && saved.starts_with(window.folder.path()), "{}", saved.display());
    assert!(window.notes("hard choices on"));
    window.click("Routing panel");
    window.click_role(Role::ComboBox, "Router");
    window.click_role(Role::Button, "big40_small60 (trained here)");
    let routed =
        |change: &Change| matches!(change, Change::Router(router) if router.file.as_ref() == Some(&saved));
    assert!(routed(&window.state().history.plan().items[0].change));
    assert!(window.state().results.failure.is_none());
}

#[test]
fn the_brush_paints_whole_layers_and_tokens() {
    let mut window = Window::bundled();
    window.click("Routing panel");
    for (brush, lanes) in [("layers", [(0, 5), (0, 1)]), ("tokens", [(5, 1), (7, 1)])] {
        let choices = &mut window.harness.state_mut().as_mut().unwrap().state.choices;
        let brush = routing::Brush::ALL.into_iter().find(|shape| shape.name() == brush).unwrap();
        choices.set(routing::Choice { brush, ..choices.of() });
        let map = window.harness.get_by_role_and_label(Role::Image, "Routing map map").rect();
        let cols = window.state().results.tokens.len() + 1;
        let at = map.left_top() + eframe::egui::vec2(1.5 * map.width() / cols as f32, 6.0);
        window.harness.drag_at(at);
        window.harness.drop_at(at);
        window.settle();
        for (layer, position) in lanes {
            assert_eq!(
                window.state().lane(layer, Some(position)),
                Lane::Small,
                "{brush:?} {layer} {position}"
            );
        }
        assert_eq!(window.state().lane(3, Some(5)), Lane::Big);
        window.click("Undo");
        assert!(window.state().history.plan().items.is_empty());
    }
}

#[test]
fn difficulty_colours_the_strip_and_a_greedy_oracle_fills_its_map() {
    let mut window = Window::bundled();
    window.click("Best routes panel");
    window.click_role(Role::Button, "Run best routes");
    let findings = window.found(&ORACLE);
    let [loss, gap] = findings.value::<OracleFound>().unwrap().difficulty.clone().unwrap();
    assert_eq!(loss.len(), window.state().results.tokens.len());
    assert!(loss[0].is_nan() && loss[1..].iter().all(|x| x.is_finite()));
    assert!(gap[1..].iter().zip(&loss[1..]).all(|(gap, loss)| *gap >= -1e-6 && gap <= loss));
    for search in ["greedy", "beam"] {
        let state = &mut window.harness.state_mut().as_mut().unwrap().state;
        state.studies.get_mut(ORACLE.id).ask.insert("search".into(), search.into());
        window.click_role(Role::Button, "Run best routes");
        let findings = window.found(&ORACLE);
        let routes = findings.value::<OracleFound>().unwrap();
        assert_eq!((routes.figures.len(), routes.difficulty.is_some()), (1, false), "{search}");
        let Plot::Map(map) = &routes.figures[0].plot else { panic!("no map") };
        let cols = map.cols.labels.len();
        assert!(
            map.values.iter().enumerate().all(|(i, x)| x.is_finite() == (i % cols + 1 < cols)),
            "{search}"
        );
    }
}
