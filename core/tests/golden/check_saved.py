"""Compare models that `sluice save` writes with transformers: its logits of the saved folder against ours under the plan.

    python check_saved.py SLUICE

Every kind of change on the committed checkpoints of several families, in f32. Needs torch and transformers; run by hand.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

GOLDEN = Path(__file__).parent
TOKENS = [1, 17, 42, 5, 90, 33, 8, 61, 12]
BOUND = 1e-4


def wave(width):
    return [0.3 * ((at * 7 + 3) % 11) / 11 - 0.15 for at in range(width)]


def skip(layer, part):
    return {"kind": "skip", "layer": layer, "part": part}


def ablate(site, **more):
    return {"kind": "ablate", "site": site, **more}


def scale(site, factor):
    return {"kind": "scale", "site": site, "factor": factor}


def add(site, width):
    return {"kind": "add", "site": site, "positions": "all", "source": {"values": wave(width)}}


def changes(width):
    return {
        "nothing": [],
        "block": [skip(1, "attn"), skip(1, "ffn")],
        "sublayers": [skip(0, "ffn"), skip(1, "attn")],
        "heads": [ablate("blocks.0.attn.hook_z", unit=1), ablate("blocks.1.attn.hook_v", unit=0)],
        "neurons": [ablate("blocks.1.mlp.hook_post", unit=3), ablate("blocks.1.mlp.hook_pre", unit=5)],
        "parts": [ablate("blocks.0.hook_attn_out", strength=0.25), scale("blocks.1.hook_mlp_out", 0.5)],
        "projections": [scale("blocks.0.attn.hook_q", 0.5), scale("blocks.1.attn.hook_k", 1.5)],
        "norm": [scale("ln_final.hook_normalized", 0.5)],
        "mean": [ablate("blocks.0.hook_mlp_out", to="mean")],
        "mean head": [ablate("blocks.1.attn.hook_z", unit=0, to="mean")],
        "add": [add("blocks.0.hook_resid_post", width)],
        "add between": [add("blocks.1.hook_resid_mid", width)],
        "add first": [add("blocks.0.hook_resid_pre", width)],
        "experts": [{"kind": "experts", "knock_out": [1]}],
        "fewer experts": [{"kind": "experts", "k": 1}],
        "part of an expert": [ablate("blocks.1.mlp.hook_expert_gates", unit=2)],
    }


CASES = [
    "dots1-one-group", "gemma2", "gemma3_text", "gpt2", "gpt_neo", "gpt_neox", "gpt_oss", "llama", "mistral", "mixtral",
    "olmo2", "olmoe", "opt", "opt-post-norm", "phi", "phi3", "qwen2", "qwen2_moe", "qwen3_moe", "stablelm", "starcoder2",
]


def main():
    sluice, worst, count, refused = sys.argv[1], 0.0, 0, []
    ids = ",".join(map(str, TOKENS))
    for case in CASES:
        config = json.loads((GOLDEN / case / "config.json").read_text())
        width = config.get("hidden_size", config.get("n_embd"))
        for name, items in changes(width).items():
            with tempfile.TemporaryDirectory() as folder:
                plan, out, logits = (Path(folder) / part for part in ["plan.json", "model", "logits.safetensors"])
                plan.write_text(json.dumps({"version": 1, "items": items}))
                common = [str(GOLDEN / case), "--plan", str(plan), "--tokens", ids]
                saved = subprocess.run(
                    [sluice, "save", *common, "--out", str(out), "--dtype", "f32"], capture_output=True, text=True
                )
                if saved.returncode == 1:
                    assert "plan.items[" in saved.stderr, saved.stderr
                    refused.append(f"{case}: {name}")
                    continue
                assert saved.returncode == 0, saved.stderr
                subprocess.run([sluice, "run", *common, "--out", str(logits)], check=True, capture_output=True)
                ours = load_file(logits)["logits"].reshape(len(TOKENS), -1)
                model, info = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, output_loading_info=True)
                missing = [key for key in info["missing_keys"] if "lm_head" not in key]
                assert not missing and not info["unexpected_keys"] and not info["mismatched_keys"], (case, name, info)
                with torch.no_grad():
                    theirs = model.eval()(torch.tensor([TOKENS])).logits[0]
                difference = (ours - theirs).abs().max().item()
                worst, count = max(worst, difference), count + 1
                if difference > BOUND:
                    print(f"{case}, {name}: {difference:.2e}")
    print(f"{count} models of {len(CASES)} checkpoints, largest difference of a logit {worst:.2e}")
    print(f"{len(refused)} refused: {', '.join(refused)}")
    sys.exit(worst > BOUND)


if __name__ == "__main__":
    main()
