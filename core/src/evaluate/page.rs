//! The report card as a page.

use std::fmt::Write as _;

use super::Card;
use crate::method::oracle::table::WORTH;
use crate::statistics::{Mean, Share};
use crate::world::Split;

fn percent(share: &Share) -> String {
    let [low, high] = share.interval;
    format!(
        "{:.1} % [{:.1}, {:.1}] ({} of {})",
        100.0 * share.share,
        100.0 * low,
        100.0 * high,
        share.hits,
        share.of
    )
}

fn nats(mean: &Mean) -> String {
    format!("{:.4} [{:.4}, {:.4}]", mean.mean, mean.interval[0], mean.interval[1])
}

fn spread(mean: &Mean) -> String {
    format!("{:.2} [{:.2}, {:.2}]", mean.mean, mean.interval[0], mean.interval[1])
}

/// Markdown; intervals are 95 %.
pub fn page(card: &Card) -> String {
    let mut text = String::new();
    // Writing into a string cannot fail.
    let _ = write(&mut text, card);
    text
}

fn write(text: &mut String, card: &Card) -> std::fmt::Result {
    let [name, fingerprint] = &card.checkpoint;
    writeln!(text, "# Report card of the checkpoint {name}\n")?;
    writeln!(
        text,
        "Made by `{}` in {:.0} s. Content {fingerprint}, world seed {}, {} parameters, {:.1} MB, licence {}.\nEverything \
         is measured on the {} split, every FFN big unless said otherwise; intervals are 95 % (Wilson for shares, \
         bootstrap for means).\n",
        card.command,
        card.seconds,
        card.seed,
        card.parameters,
        card.bytes as f64 / 1e6,
        card.licence,
        match card.amount.split {
            Split::Train => "training",
            Split::Validation => "validation",
            Split::Test => "test",
        },
    )?;
    let presence = &card.presence;
    writeln!(text, "## Pictures\n\n| measure | value |\n|---|---|")?;
    writeln!(text, "| presence, balanced accuracy | {:.2} % |", 100.0 * presence.balanced_accuracy)?;
    writeln!(text, "| present objects answered yes | {} |", percent(&presence.present))?;
    for (cover, share) in ["nothing", "a third", "two thirds"].iter().zip(&presence.present_by_cover) {
        writeln!(text, "| … of which {cover} is covered | {} |", percent(share))?;
    }
    writeln!(text, "| absent kinds answered no | {} |", percent(&presence.absent))?;
    writeln!(text, "| captions: objects named | {} |", percent(&card.captions.recall))?;
    writeln!(text, "| captions: named but not there (CHAIR_i) | {} |", percent(&card.captions.invented))?;
    writeln!(text, "| captions with one of those (CHAIR_s) | {} |", percent(&card.captions.with_invented))?;
    writeln!(
        text,
        "| … whose frequent companion is there | {} |\n",
        percent(&card.captions.invented_by_company)
    )?;
    writeln!(
        text,
        "### Where expectation misleads\n\nEach scene shows half of a frequent pair without the other. False yes for the \
         missing half, and for a kind that nothing in the same scene suggests:\n"
    )?;
    writeln!(text, "| heaviest cover in the scene | missing half | unsuggested kind |\n|---|---|---|")?;
    writeln!(
        text,
        "| any | {} | {} |",
        percent(&presence.adversarial_false_yes),
        percent(&presence.random_false_yes)
    )?;
    for (cover, [missing, stranger]) in ["nothing", "a third", "two thirds"].iter().zip(&presence.by_cover) {
        writeln!(text, "| {cover} | {} | {} |", percent(missing), percent(stranger))?;
    }
    let gap = &presence.gap;
    writeln!(
        text,
        "\nGap, scene by scene: {:.1} points [{:.1}, {:.1}].\n",
        100.0 * gap.mean,
        100.0 * gap.interval[0],
        100.0 * gap.interval[1]
    )?;
    writeln!(text, "Descriptions, there and said:\n")?;
    for [there, said] in &card.captions.samples {
        writeln!(text, "- {there} / {said}")?;
    }
    writeln!(text, "\n## Facts\n\n| pairs of fact and phrasing | recalled |\n|---|---|")?;
    writeln!(text, "| trained | {} |", percent(&card.facts.trained))?;
    writeln!(text, "| held out | {} |\n", percent(&card.facts.held_out))?;
    routes(text, card)
}

fn routes(text: &mut String, card: &Card) -> std::fmt::Result {
    let routes = &card.routes;
    writeln!(
        text,
        "## Routes (Duo-LLM)\n\n{} tokens of text, {} layers. The whole sequence runs with one pattern (our reading; \
         the paper does not say which pattern the context has). Nats per token: all big {}, all small {}, a fair coin per \
         token and layer {}.\n",
        routes.tokens,
        routes.layers,
        nats(&routes.all_big),
        nats(&routes.all_small),
        nats(&routes.coins)
    )?;
    writeln!(
        text,
        "| big | patterns | oracle | fixed | which | mean | random ≤ 100, by token | random ≤ 100, by mean | wrong label: oracle / all big | gain over control |\n|---|---|---|---|---|---|---|---|---|---|"
    )?;
    for budget in &routes.by_budget {
        writeln!(
            text,
            "| {} | {} | {} | {:.4} | {} | {:.4} | {:.4} | {:.4} | {:.3} / {:.3} | {} |",
            budget.big,
            budget.patterns,
            nats(&budget.oracle),
            budget.fixed,
            budget.fixed_pattern,
            budget.mean,
            budget.random_by_token,
            budget.random_by_mean,
            budget.wrong_label[0],
            budget.wrong_label[1],
            nats(&budget.gain_over_control)
        )?;
    }
    let [oracle, wrong] = routes.whole;
    writeln!(
        text,
        "\nOver all patterns: oracle {:.4} (all big {:.4}), for wrong labels {:.4} ({:.4}). The wrong label is a token of \
         similar frequency; its gain is what choosing the least of many gives by itself, on losses of another scale. \
         Patterns have B for a big layer, s for a small one, the first layer first.\n",
        oracle.oracle, oracle.all_big, wrong.oracle, wrong.all_big
    )?;
    writeln!(
        text,
        "What the oracle gains over the mean of its budget's patterns, token by token in standard deviations of their losses, \
         for the next tokens and for two controls: another token of similar frequency in the whole text, and a token drawn \
         from the model's own prediction with every FFN big. On this scale losses of unlike size can be compared.\n"
    )?;
    writeln!(text, "| big | true labels | wrong labels | own prediction |\n|---|---|---|---|")?;
    // Of one pattern there is nothing to choose.
    for budget in routes.by_budget.iter().filter(|budget| budget.patterns > 1) {
        let [next, wrong, drawn] = budget.gain_sd.each().map(|(_, gain)| spread(gain));
        writeln!(text, "| {} | {next} | {wrong} | {drawn} |", budget.big)?;
    }
    writeln!(text)?;
    let list = |values: &[f64]| values.iter().map(|x| format!("{x:.2}")).collect::<Vec<_>>().join(", ");
    let points: Vec<String> = routes.best_of.iter().map(|(k, loss)| format!("{k}: {loss:.4}")).collect();
    writeln!(text, "Best of K random patterns, token by token: {}.\n", points.join(", "))?;
    writeln!(
        text,
        "How often the oracle of half the budget takes a layer's big FFN, by layer: {}.\n",
        list(&routes.oracle_choice)
    )?;
    if let Some(half) = routes.by_budget.get(routes.layers / 2) {
        writeln!(
            text,
            "Over the {} of {} tokens to which that choice is worth {WORTH} nats or more (mean loss of the budget's patterns \
             less the least): {}. On the other tokens the patterns' losses are nearly equal, and the shares above say which \
             of them is least by how little. {} tokens have more than one best pattern; the one with the lowest number is \
             taken. Cards made before losses near 0 kept their digits show other shares: rounding made ties of them, which \
             went to patterns that are big in the first layers.\n",
            half.worth,
            routes.tokens,
            list(&routes.oracle_choice_worth),
            half.ties
        )?;
    }
    writeln!(
        text,
        "| router | argmax | mixture, last tau | gap | shares | first lane by layer |\n|---|---|---|---|---|---|"
    )?;
    for router in &routes.routers {
        writeln!(
            text,
            "| {} | {} | {:.4} | {:+.4} | {} | {} |",
            router.name,
            nats(&router.hard),
            router.soft,
            router.hard.mean - router.soft,
            list(&router.shares),
            list(&router.choice)
        )?;
    }
    writeln!(
        text,
        "\n{{big, skip}} is zero-shot: stage 1 never skipped. Skip bypasses the FFN alone (our reading). By number of big \
         layers from 0: fixed {}; oracle {}.\n",
        list(&routes.skip_fixed),
        list(&routes.skip_oracle)
    )?;
    writeln!(
        text,
        "## The paper and this model\n\n| the paper (1.4 B parameters) | here | |\n|---|---|---|"
    )?;
    for claim in &card.claims {
        writeln!(
            text,
            "| {} | {} | {} |",
            claim.paper,
            claim.here,
            if claim.holds { "holds" } else { "does not hold" }
        )?;
    }
    Ok(())
}
