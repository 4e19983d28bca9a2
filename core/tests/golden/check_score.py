"""Compare `sluice score` with transformers on the same windows: every token's nats, the mean, and the time.

    python check_score.py SLUICE CHECKPOINT TEXT [--split MARKER] [--items N] [--length N] [--stride S]

Needs torch and transformers; run by hand. Both read with two threads; loading counts for neither.
"""

import argparse
import csv
import json
import re
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def windows(count, length, stride):
    """Start, end and the places that a window scores."""
    done = 1
    for start in range(0, count, stride):
        end = min(start + length, count)
        if end > max(done, start + 1):
            yield start, end, max(done, start + 1)
        done = max(done, end)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sluice")
    parser.add_argument("checkpoint")
    parser.add_argument("text")
    parser.add_argument("--split")
    parser.add_argument("--items", type=int)
    parser.add_argument("--length", type=int)
    parser.add_argument("--stride", type=int)
    ask = parser.parse_args()
    torch.set_num_threads(2)
    tokenizer = AutoTokenizer.from_pretrained(ask.checkpoint)
    model = AutoModelForCausalLM.from_pretrained(ask.checkpoint, dtype=torch.float32).eval()
    length = ask.length or model.config.max_position_embeddings
    text = Path(ask.text).read_text()
    items = [text]
    if ask.split:
        items = [part.strip() for part in text.split(ask.split) if part.strip()][: ask.items]
    theirs, begin = [], time.perf_counter()
    with torch.no_grad():
        for number, item in enumerate(items):
            ids = tokenizer(item, verbose=False)["input_ids"]
            if ask.split:
                ids = ids[:length]
            for start, end, first in windows(len(ids), length, ask.stride or length):
                own = torch.tensor([ids[start:end]])
                logits = model(own).logits[0]
                log_p = torch.log_softmax(logits[first - start - 1 : -1], -1)
                nats = -log_p[range(end - first), own[0, first - start :]]
                theirs += [(number, first + at, x) for at, x in enumerate(nats.tolist())]
    seconds = time.perf_counter() - begin
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "tokens.csv"
        command = [ask.sluice, "score", ask.checkpoint, "--text", ask.text, "--json", "--per-token", str(table)]
        for flag in ["split", "items", "length", "stride"]:
            if getattr(ask, flag) is not None:
                command += [f"--{flag}", str(getattr(ask, flag))]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        score = json.loads(run.stdout)
        with table.open(newline="") as file:
            ours = [(int(row["item"]), int(row["position"]), float(row["nats"])) for row in csv.DictReader(file)]
    assert [one[:2] for one in ours] == [one[:2] for one in theirs], "other tokens are scored"
    worst = max(abs(one[2] - other[2]) for one, other in zip(ours, theirs))
    mean = sum(one[2] for one in theirs) / len(theirs)
    own_seconds = float(re.findall(r"([\d.]+) s\n", run.stderr)[-1])
    print(f"{len(theirs)} tokens: {score['nats']:.7f} nats, transformers {mean:.7f}")
    print(f"difference of the means {abs(score['nats'] - mean):.2e}, of a token at most {worst:.2e}")
    print(f"{own_seconds:.2f} s, transformers {seconds:.2f} s: {own_seconds / seconds:.2f}")


main()
