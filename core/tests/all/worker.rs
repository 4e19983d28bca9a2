//! The worker thread through its handle.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use sluice_core::method::fcct::{FCCT, FcctFound};
use sluice_core::method::trace::{Component, TRACE, TraceFound};
use sluice_core::method::view::{
    ActivationsAsk, AnswerPairAsk, AttentionAsk, FfnSite, LadderAsk, LensAsk, NeuronAsk, NextAsk, NextTokens,
    RoutingAsk, Side, StripAsk,
};
use sluice_core::method::{Asked, Findings, Subject};
use sluice_core::plan::{Change, Part, Plan, Positions, Skip, Sublayer};
use sluice_core::worker::*;

use crate::support::golden;

pub struct Client {
    pub worker: Worker,
    woken: mpsc::Receiver<()>,
}

impl Client {
    pub fn new() -> Self {
        let (send, woken) = mpsc::sync_channel(1);
        Self {
            worker: Worker::spawn(move || {
                let _ = send.try_send(());
            }),
            woken,
        }
    }

    /// Events until one that `pick` takes, or a failure of this test after a minute.
    pub fn until<T>(&self, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            let mut found = None;
            for event in self.worker.poll() {
                found = found.or_else(|| pick(event));
            }
            if let Some(found) = found {
                return found;
            }
            let _ = self.woken.recv_timeout(Duration::from_millis(50));
        }
        panic!("no such event in a minute");
    }

    pub fn open(&self, case: &str) -> std::sync::Arc<Card> {
        self.worker.send(Request::Open(Target::Path(golden().join(case))));
        self.until(|event| if let Event::Opened(_, card) = event { Some(card) } else { None })
    }

    fn next(&self, plan: &Plan) -> NextTokens {
        let view = View::from(NextAsk::default());
        let id = self.worker.send(Request::Scene(Scene {
            prompt: prompt(),
            plan: plan.clone(),
            views: vec![view],
        }));
        self.until(|event| match event {
            Event::View(got, _, data) if got == id => match &*data {
                ViewData::Next(next) => Some(next.clone()),
                _ => None,
            },
            _ => None,
        })
    }
}

/// A method about a prompt, with sets of positions.
fn asked(method: &'static sluice_core::method::Method, prompt: Prompt, picks: &[(&str, &[usize])]) -> Asked {
    let mut asked = Asked::new(method, Subject::Prompt(prompt), &Plan::default());
    asked.picks = picks.iter().map(|(name, at)| ((*name).to_owned(), at.to_vec())).collect();
    asked
}

/// Findings that are whole.
pub fn whole(event: Event) -> Option<std::sync::Arc<Findings>> {
    match event {
        Event::Findings(_, findings) if findings.done => Some(findings),
        Event::Failed(_, _, failure) => panic!("{failure:?}"),
        _ => None,
    }
}

fn prompt() -> Prompt {
    Words::Tokens(vec![3, 14, 15, 92, 65]).into()
}

fn without_ffn_1() -> Plan {
    let skip = Skip { sublayer: Sublayer { layer: 1, part: Part::Ffn }, positions: Positions::All };
    Plan { items: vec![Change::Skip(skip).into()], ..Plan::default() }
}

#[test]
fn a_toggle_changes_the_distribution_and_undo_brings_it_back() {
    let client = Client::new();
    let card = client.open("llama");
    assert_eq!((card.spec.n_layers(), card.tokenizer.as_str()), (2, "none"));
    let before = client.next(&Plan::default());
    assert_eq!(before.kl, 0.0);
    let changed = client.next(&without_ffn_1());
    assert!(changed.kl > 0.0);
    let after = client.next(&Plan::default());
    assert_eq!(before.rows, after.rows);
}

#[test]
fn every_view_computes() {
    let client = Client::new();
    client.open("gpt2");
    let side = Side::Plan;
    let views = vec![
        NextAsk { position: Some(1), top: 5, answer: Answer::Id(7) }.into(),
        StripAsk {}.into(),
        ActivationsAsk { layer: 1, hook: FfnSite::Post, side, sort: true, top: Some(8) }.into(),
        NeuronAsk { layer: 0, neuron: 3 }.into(),
        AttentionAsk { layer: 0, head: None, side, root: false }.into(),
        AttentionAsk { layer: 1, head: Some(2), side: Side::Base, root: false }.into(),
        LensAsk { side }.into(),
        RoutingAsk {}.into(),
        LadderAsk {}.into(),
        AnswerPairAsk { answer: Answer::Top }.into(),
    ];
    let scene = Scene { prompt: prompt(), plan: without_ffn_1(), views: views.clone() };
    let id = client.worker.send(Request::Scene(scene));
    let mut seen = Vec::new();
    client.until(|event| match event {
        Event::View(_, view, _) => {
            seen.push(view);
            None
        }
        Event::Failed(_, _, failure) => panic!("{failure:?}"),
        Event::SceneDone(got, _) if got == id => Some(()),
        _ => None,
    });
    assert_eq!(seen, views);
}

#[test]
fn a_broken_checkpoint_keeps_the_open_one() {
    let client = Client::new();
    client.open("llama");
    client.worker.send(Request::Open(Target::Path("/nowhere".into())));
    let failure =
        client.until(|event| if let Event::Failed(_, Slot::Open, f) = event { Some(f) } else { None });
    assert!(failure.cause.contains("/nowhere") && !failure.next_step.is_empty());
    assert!(!client.next(&Plan::default()).rows.is_empty());
}

#[test]
fn a_trace_fills_its_grid_and_restoring_the_last_block_is_complete() {
    let client = Client::new();
    client.open("llama");
    let mut trace = asked(&TRACE, prompt(), &[("corrupt", &[1, 2])]);
    trace.ask.insert("seed".into(), 1.into());
    trace.ask.insert("restore".into(), Component::Residual.name().into());
    client.worker.send(Request::Study(Box::new(trace.into())));
    let findings = client.until(whole);
    let found: &TraceFound = findings.value().unwrap();
    assert_ne!(found.clean.prob, found.corrupted.prob);
    let sluice_core::figure::Plot::Map(map) = &found.figure.plot else { panic!("not a map") };
    assert!(map.values.iter().all(|x| x.is_finite()));
    // Last layer, last token: the clean stream goes straight to the unembedding.
    assert_eq!(map.values.last(), Some(&1.0));
    // Position 0 lies before the corruption: there is nothing to restore.
    assert_eq!((map.values[0], map.values[5]), (0.0, 0.0));
}

#[test]
fn an_fcct_grid_ends_whole_or_says_why_not() {
    let client = Client::new();
    client.open("llama");
    let mut fcct = asked(&FCCT, prompt(), &[("context", &[1, 2]), ("object", &[2])]);
    fcct.ask.insert("seed".into(), 1.into());
    client.worker.send(Request::Study(Box::new(fcct.clone().into())));
    let findings = client.until(whole);
    let found: &FcctFound = findings.value().unwrap();
    let [attention, ffn] = [Component::Attention, Component::Ffn].map(|component| found.last(component));
    assert_eq!((attention.len(), ffn.len()), (2, 2));
    assert!(attention.iter().all(|rate| rate.is_finite()));
    fcct.picks.remove("context");
    client.worker.send(Request::Study(Box::new(fcct.into())));
    let failure =
        client.until(|event| if let Event::Failed(_, Slot::Study, f) = event { Some(f) } else { None });
    assert!(failure.cause.contains("marked as context"), "{failure:?}");
}

#[test]
fn continuations_stream_and_cancel() {
    let client = Client::new();
    client.open("llama");
    let ask = |max_new_tokens| {
        Request::Generate(Generate {
            streams: [Plan::default(), without_ffn_1()]
                .map(|plan| (plan.summary(), Variant { prompt: prompt(), plan: plan.into() }))
                .into(),
            max_new_tokens,
            temperature: 1.0,
            seed: 5,
        })
    };
    client.worker.send(ask(8));
    let text = client.until(|event| match event {
        Event::Text(_, text) if text.done => Some(text),
        _ => None,
    });
    assert!(text.texts.iter().all(|of| of.tokens <= 8) && !text.texts[1].text.is_empty());
    assert_eq!(text.texts[0].name, "no plan");
    client.worker.send(ask(50));
    client.worker.cancel(Slot::Generate);
    client.until(|event| if let Event::Cancelled(_, Slot::Generate) = event { Some(()) } else { None });
}

fn about(name: &str) -> Prompt {
    let picture = Picture::read(&golden().join(format!("pictures/{name}.png"))).unwrap();
    Prompt { words: Words::Tokens(vec![1, 9, 11, 12]), image: Some(picture) }
}

#[test]
fn a_prompt_about_a_picture_says_which_token_is_which_patch() {
    let client = Client::new();
    let card = client.open("llava");
    assert_eq!(card.view(about("wide").image.as_ref().unwrap()).unwrap().dimensions(), (24, 24));
    let ask = |prompt: Prompt| {
        let views = vec![View::from(NextAsk::default()), StripAsk {}.into()];
        let id = client.worker.send(Request::Scene(Scene { prompt, plan: Plan::default(), views }));
        let (mut tokens, mut rows, mut strip) = (None, None, None);
        let cost = client.until(|event| {
            match event {
                Event::Tokens(got, shown) if got == id => tokens = Some(shown),
                Event::View(got, _, data) if got == id => match &*data {
                    ViewData::Next(next) => rows = Some(next.rows.clone()),
                    ViewData::Strip(shown) => strip = Some(shown.clone()),
                    _ => {}
                },
                Event::SceneDone(got, cost) if got == id => return Some(cost),
                _ => {}
            }
            None
        });
        (tokens.unwrap(), rows.unwrap(), strip.unwrap(), cost)
    };
    let (tokens, wide, strip, _) = ask(about("wide"));
    let grid: Vec<Option<Patch>> = tokens.iter().map(|token| token.patch).collect();
    let at = |row, col| Some(Patch::At { row, col });
    assert_eq!(grid[..5], [None, at(0, 0), at(0, 1), at(0, 2), at(1, 0)]);
    assert_eq!(grid[9..], [at(2, 2), None, None, None]);
    assert_eq!(tokens[5].text, "img 1,1");
    assert!(strip.surprisal_base[1..10].iter().all(|x| x.is_nan()));
    assert!(strip.figure.provenance.prompt.contains("wide.png"));
    // Asked again it is kept; another picture is another prompt; coming back gives the same bits.
    assert_eq!(ask(about("wide")).3.share, 0.0);
    assert_ne!(ask(about("tall")).1, wide);
    assert_eq!(ask(about("wide")).1, wide);
}

#[test]
fn a_text_only_checkpoint_says_that_it_takes_no_picture() {
    let client = Client::new();
    let card = client.open("llama");
    assert!(card.preprocessor().is_err());
    let scene = Scene { prompt: about("exact"), plan: Plan::default(), views: Vec::new() };
    let id = client.worker.send(Request::Scene(scene));
    let failure = client.until(|event| match event {
        Event::Failed(got, Slot::Scene, failure) if got == id => Some(failure),
        _ => None,
    });
    assert!(failure.cause.contains("reads text only"), "{failure:?}");
    assert!(failure.next_step.contains("open a checkpoint that reads images"), "{failure:?}");
    assert_eq!(client.next(&Plan::default()).kl, 0.0, "the worker goes on");
}

#[test]
fn a_trace_and_a_continuation_take_a_picture() {
    let client = Client::new();
    client.open("llava");
    let trace = asked(&TRACE, about("wide"), &[("corrupt", &[4, 5])]);
    client.worker.send(Request::Study(Box::new(trace.into())));
    let findings = client.until(whole);
    let found: &TraceFound = findings.value().unwrap();
    assert!(found.figure.notes.iter().any(|note| note.contains("after the tower")));
    let generate = |prompt| Generate {
        streams: vec![(String::new(), Variant { prompt, plan: Plan::default().into() })],
        max_new_tokens: 6,
        temperature: 0.0,
        seed: 0,
    };
    let text = |prompt| {
        let id = client.worker.send(Request::Generate(generate(prompt)));
        client.until(|event| match event {
            Event::Text(got, text) if got == id && text.done => Some(text.texts[0].text.clone()),
            _ => None,
        })
    };
    assert_eq!(text(about("wide")), text(about("wide")));
}

fn named(variants: Vec<Variant>) -> Vec<(String, Variant)> {
    ('A'..).map(String::from).zip(variants).collect()
}

/// What is shown of variants is what runs of their own show, to the bit; a variant that cannot be run takes no other with it.
#[test]
fn columns_are_runs_of_their_own() {
    let client = Client::new();
    client.open("llava");
    let words: Prompt = Words::Tokens(vec![1, 9, 11, 12]).into();
    let other: Prompt = Words::Tokens(vec![3, 14, 15, 92, 65]).into();
    let variants = vec![
        Variant { prompt: other.clone(), plan: Plan::default().into() },
        Variant { prompt: other.clone(), plan: without_ffn_1().into() },
        Variant { prompt: words, plan: without_ffn_1().into() },
        Variant { prompt: about("wide"), plan: without_ffn_1().into() },
        Variant { prompt: other, plan: without_ffn_1().into() },
    ];
    let view = View::from(LensAsk { side: Side::Plan });
    let columns = |variants: Vec<Variant>, against| {
        let count = variants.len();
        let ask = Columns { variants: named(variants), view: view.clone(), against };
        let id = client.worker.send(Request::Columns(ask));
        let mut all: Vec<Option<std::sync::Arc<Column>>> = vec![None; count];
        let mut figures = 0;
        client.until(|event| {
            match event {
                Event::Column(got, index, column) if got == id => all[index] = Some(column.unwrap()),
                Event::Compared(got, compared) if got == id => {
                    figures = compared.figures.iter().flatten().count();
                }
                Event::Failed(_, _, failure) => panic!("{failure:?}"),
                _ => {}
            }
            (figures == count && all.iter().all(Option::is_some)).then_some(())
        });
        all.into_iter().flatten().collect::<Vec<_>>()
    };
    let all = columns(variants.clone(), 1);
    for (variant, column) in variants.iter().zip(&all) {
        let Variant { prompt, plan } = variant.clone();
        let plan = (*plan).clone();
        let views = vec![NextAsk::default().into(), StripAsk {}.into(), view.clone()];
        let id = client.worker.send(Request::Scene(Scene { prompt, plan, views }));
        let mut shown = Vec::new();
        client.until(|event| match event {
            Event::View(got, _, data) if got == id => {
                shown.push(data);
                None
            }
            Event::SceneDone(got, _) if got == id => Some(()),
            Event::Failed(_, _, failure) => panic!("{failure:?}"),
            _ => None,
        });
        let own = [&column.next, &column.strip, &column.view];
        for (own, scene) in own.into_iter().zip(&shown) {
            let csv = |data: &ViewData| sluice_core::figure::csv::to_csv(data.figure());
            assert_eq!(csv(own), csv(scene));
        }
    }
    assert_eq!(all[1].kl, 0.0);
    assert_eq!(all[4].kl, 0.0);
    let ViewData::Next(next) = &*all[1].next else { panic!("next tokens") };
    assert!(next.kl > 0.0 && all[0].kl > 0.0 && all[0].kl != next.kl, "the other way round");
    // Too long a prompt among them.
    let long: Prompt = Words::Tokens(vec![1; 5000]).into();
    let ask = Columns {
        variants: named(vec![
            variants[0].clone(),
            Variant { prompt: long, plan: Plan::default().into() },
            variants[2].clone(),
        ]),
        view,
        against: 0,
    };
    client.worker.send(Request::Columns(ask));
    let (mut failed, mut last) = (false, false);
    client.until(|event| {
        match event {
            Event::Column(_, 1, column) => {
                assert!(column.unwrap_err().cause.contains("5000 tokens"));
                failed = true;
            }
            Event::Column(_, _, column) => last |= column.is_ok(),
            Event::Compared(_, compared) => {
                assert!(compared.figures[1].is_none());
            }
            _ => {}
        }
        (failed && last).then_some(())
    });
}
