"""Pictures, and what the PIL back end of transformers' CLIP preprocessor makes of them.

    python make_pictures.py

needs torch, pillow and transformers (made with 2.15, 13.0 and 5.24). Writes pictures/: smooth random PNGs of three sizes,
preprocessor_config.json, and expected.safetensors with the pixel values of each by name.
"""

import json
import pathlib

import numpy
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPImageProcessorPil

HERE = pathlib.Path(__file__).parent / "pictures"
SIZES = {"exact": (24, 24), "tall": (37, 52), "wide": (100, 61), "small": (20, 15)}

if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24})
    (HERE / "preprocessor_config.json").write_text(json.dumps(processor.to_dict(), indent=2, sort_keys=True) + "\n")
    expected = {}
    for seed, (name, (width, height)) in enumerate(SIZES.items()):
        noise = numpy.random.default_rng(seed).integers(0, 256, (height // 4 + 2, width // 4 + 2, 3), dtype=numpy.uint8)
        image = Image.fromarray(noise).resize((width, height), Image.Resampling.BILINEAR)
        image.save(HERE / f"{name}.png")
        expected[name] = processor(image, return_tensors="pt")["pixel_values"].to(torch.float32).contiguous()
    save_file(expected, HERE / "expected.safetensors")
