"""Causal traces and leave-one-out on the small fixtures, by plain forward hooks on transformers.

    python make_studies.py

writes studies.json beside this file: per family the prompt, the noise, the grids for several components and windows, and
what leaving out each sublayer does. The studies of sluice-core are tested against it.
"""

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

HERE = Path(__file__).parent
FAMILIES = ["gpt2", "llama", "gpt_neox", "qwen2-window"]
LENGTH, SAMPLES, CORRUPT = 8, 2, (2, 5)
CASES = [("resid", 1), ("resid", 2), ("attn", 1), ("ffn", 3)]

torch.set_grad_enabled(False)


def parts(model):
    """Per block: the block, its attention, its FFN."""
    body = getattr(model, "transformer", None) or getattr(model, "gpt_neox", None) or model.model
    blocks = getattr(body, "h", None) or body.layers
    attention = lambda block: getattr(block, "attn", None) or getattr(block, "attention", None) or block.self_attn
    return [{"resid": block, "attn": attention(block), "ffn": block.mlp} for block in blocks]


def first(output):
    return output[0] if isinstance(output, tuple) else output


def changed(output, value):
    return (value,) + output[1:] if isinstance(output, tuple) else value


def study(family):
    model = AutoModelForCausalLM.from_pretrained(HERE / family, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(7)
    vocab, width = model.config.vocab_size, model.config.hidden_size
    ids = torch.randint(0, vocab, (1, LENGTH), generator=generator)
    noise = torch.zeros(SAMPLES, LENGTH, width)
    noise[:, CORRUPT[0] : CORRUPT[1]] = torch.randn(SAMPLES, CORRUPT[1] - CORRUPT[0], width, generator=generator)
    noise = (noise * 512).round() / 512
    blocks = parts(model)
    kept = {}

    def keep(layer, part):
        def hook(module, inputs, output):
            kept[layer, part] = first(output).clone()

        return blocks[layer][part].register_forward_hook(hook)

    hooks = [keep(layer, part) for layer in range(len(blocks)) for part in ("resid", "attn", "ffn")]
    clean = model(ids).logits[0]
    for hook in hooks:
        hook.remove()
    answer = int(clean[-1].argmax())

    def followed(logits):
        return torch.stack([logits[answer], logits.softmax(-1)[answer]]).double()

    def restored(part, window, layer, position):
        hooks = []
        for at in range(max(0, layer - window // 2), min(len(blocks), layer + (window + 1) // 2)):

            def hook(module, inputs, output, at=at):
                value = first(output).clone()
                value[:, position] = kept[at, part][:, position]
                return changed(output, value)

            hooks.append(blocks[at][part].register_forward_hook(hook))
        found = followed(model(ids).logits[0, -1])
        for hook in hooks:
            hook.remove()
        return found

    corrupted = torch.zeros(2, dtype=torch.float64)
    grids = {case: torch.zeros(len(blocks), LENGTH, 2, dtype=torch.float64) for case in CASES}
    for sample in noise:
        hook = model.get_input_embeddings().register_forward_hook(lambda m, i, output: output + sample)
        corrupted += followed(model(ids).logits[0, -1]) / SAMPLES
        for (part, window), grid in grids.items():
            for layer in range(len(blocks)):
                for position in range(LENGTH):
                    grid[layer, position] += restored(part, window, layer, position) / SAMPLES
        hook.remove()

    left_out = []
    log_p = clean.double().log_softmax(-1)
    for layer in range(len(blocks)):
        for part in ("attn", "ffn"):
            zero = lambda module, inputs, output: changed(output, torch.zeros_like(first(output)))
            hook = blocks[layer][part].register_forward_hook(zero)
            logits = model(ids).logits[0]
            hook.remove()
            log_q = logits.double().log_softmax(-1)
            kl = (log_p.exp() * (log_p - log_q)).sum(-1)
            left_out.append({"kl": kl[-1].item(), "kl_mean": kl.mean().item(), "logit": logits[-1, answer].item()})
    return {
        "family": family,
        "tokens": ids[0].tolist(),
        "noise": noise.tolist(),
        "answer": answer,
        "clean": followed(clean[-1]).tolist(),
        "corrupted": corrupted.tolist(),
        "grids": [
            {"part": part, "window": window, "cells": grid.tolist()} for (part, window), grid in grids.items()
        ],
        "left_out": left_out,
    }


(HERE / "studies.json").write_text(json.dumps([study(family) for family in FAMILIES]))
