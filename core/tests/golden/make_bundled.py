"""Golden values of the bundled checkpoint, from transformers: what its image tower sees, and the logits after a prompt.

    python make_bundled.py ../../../assets/bundled

Opened by transformers it is the all-big model: small FFNs and routers are tensors that it does not know.
"""

import sys
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoImageProcessor, AutoTokenizer, LlavaForConditionalGeneration

IMAGE = 1
PATCHES = 36
QUESTION = " Is there a red circle?"


def main(folder: Path) -> None:
    here = Path(__file__).parent / "bundled"
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder, use_fast=False)
    text = tokenizer(QUESTION)["input_ids"]
    assert text[0] == 0, "BOS"
    ids = torch.tensor([[0, *[IMAGE] * PATCHES, *text[1:]]])
    out = {"ids": ids[0].float()}
    with torch.no_grad():
        for name in ["exact", "large"]:
            picture = Image.open(here / f"{name}.png")
            pixels = processor(picture, return_tensors="pt")["pixel_values"]
            rows = model.model.get_image_features(pixel_values=pixels)
            rows = rows.pooler_output if hasattr(rows, "pooler_output") else rows
            rows = rows[0] if isinstance(rows, (tuple, list)) else rows
            out[f"{name}.pixels"] = pixels[0].contiguous()
            out[f"{name}.rows"] = rows.reshape(PATCHES, -1).contiguous()
            out[f"{name}.logits"] = model(input_ids=ids, pixel_values=pixels).logits[0].contiguous()
        story = tokenizer("Once upon a time")["input_ids"]
        out["story.ids"] = torch.tensor(story, dtype=torch.float32)
        out["story.logits"] = model(input_ids=torch.tensor([story])).logits[0].contiguous()
    save_file({name: value for name, value in out.items()}, here / "expected.safetensors")


main(Path(sys.argv[1]))
