//! Words of the window that a newcomer cannot know, explained in a sentence or two each.

/// A word.
pub struct Word {
    /// As the window writes it, with other names of the field.
    pub name: &'static str,
    /// What it means.
    pub text: &'static str,
}

const fn word(name: &'static str, text: &'static str) -> Word {
    Word { name, text }
}

/// In the order of the alphabet.
pub const WORDS: &[Word] = &[
    word("ablate", "Set an activation to zero or to its mean, to see what depended on it."),
    word(
        "answer",
        "The token that is followed: the most likely one after the prompt, or one that you choose.",
    ),
    word(
        "attention",
        "The sublayer in which a token reads earlier tokens. Each layer has one, of several heads.",
    ),
    word(
        "CATS, CHESS",
        "Methods that set FFN activations below a threshold to zero, so that their weights need not be read.",
    ),
    word(
        "causal trace",
        "Corrupt a run, put one value of the clean run back, and see how much of the answer returns.",
    ),
    word("checkpoint", "The files of a model: weights, architecture and tokenizer."),
    word(
        "corrupt",
        "Add noise to the embeddings of tokens, so that the model no longer sees what they were.",
    ),
    word(
        "expert",
        "One of several FFNs beside each other in a layer; a router sends each token through a few of them.",
    ),
    word(
        "FFN, MLP",
        "The feed-forward sublayer: a matrix up, a non-linearity, a matrix down. Most weights are here.",
    ),
    word(
        "fingerprint",
        "A hash of a checkpoint's content: figures carry it, so that one can tell what they are of.",
    ),
    word("head", "A part of attention with queries, keys and values of its own."),
    word(
        "IRI",
        "Inject what the layers of the highest recovery rates wrote into later ones, to repair an answer.",
    ),
    word(
        "JSD",
        "Jensen-Shannon divergence: how far two distributions lie apart, in nats, symmetric and at most ln 2.",
    ),
    word(
        "KL",
        "Kullback-Leibler divergence: what is lost when the plan's distribution stands for the model's, in nats.",
    ),
    word("lane", "The way of a token through a layer: big FFN, small FFN, FFN skipped, or layer skipped."),
    word("logit", "The score of a token before the softmax makes probabilities of the scores."),
    word("logit lens", "Read the stream after a layer as if it were the last: final norm, then unembedding."),
    word(
        "loss",
        "-ln p of the token that really follows, in nats: 0 is certain, 0.69 one in two, 2.3 one in ten.",
    ),
    word("nat", "The unit of information with the natural logarithm; 1 nat is 1.44 bits."),
    word("neuron", "One value inside an FFN, between its two matrices."),
    word("patch (intervention)", "Put a value of another run in a value's place."),
    word("patch (picture)", "A square of the picture; it becomes one token of the prompt."),
    word("plan", "The list of changes to the forward pass. Without one the model runs as it is."),
    word(
        "prune, ablate, skip",
        "Prune takes weights out for good, ablate sets values to zero or a mean, skip runs past a sublayer.",
    ),
    word(
        "recovery rate",
        "The share of what the corruption took from the answer that comes back when one value is restored.",
    ),
    word(
        "residual stream",
        "What every sublayer reads and adds to: one vector per token, from the embedding to the last norm.",
    ),
    word("router", "What chooses the lane or the experts of a token."),
    word("seed", "The number that random draws start from: the same seed gives the same numbers."),
    word(
        "σ, sigma",
        "Standard deviation; noise of 3 σ is three times as wide as the embeddings of that sort are.",
    ),
    word("site", "A named place of the forward pass, by TransformerLens names: blocks.3.mlp.hook_post."),
    word(
        "small FFN",
        "A cheaper FFN beside the big one. Where a checkpoint has none, a share of the big one's neurons stands for it.",
    ),
    word("sublayer", "An attention or an FFN. A model of 8 layers has 16."),
    word("surprisal", "-ln p of a token given those before it: how little it was expected, in nats."),
    word(
        "surrogate",
        "Something that stands for what a checkpoint does not have; the window says so wherever it is used.",
    ),
    word("threshold", "The size below which an activation is set to zero."),
    word("token", "A piece of text, or a patch of a picture, that the model reads as one."),
    word(
        "unembedding",
        "The matrix that turns the last vector into a score for every token of the vocabulary.",
    ),
];

#[cfg(test)]
mod tests {
    use super::WORDS;

    #[test]
    fn words_stand_in_the_order_of_the_alphabet() {
        let key = |name: &str| name.to_lowercase().replace(['σ'], "si");
        assert!(WORDS.is_sorted_by_key(|word| key(word.name)));
        assert!(WORDS.iter().all(|word| word.text.ends_with('.') && word.text.len() < 160));
    }
}
