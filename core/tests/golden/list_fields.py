"""Every field of the config classes that Sluice reads, with its default, and parameter counts of real configs.

    python list_fields.py

needs torch and transformers (made with 2.15 and 5.24). Writes configs/fields.json: the version of transformers, then
for each model_type what a default instance's to_dict() holds and the aliases of the class (`attribute_map`). Prints the
number of parameters of each config in configs/, tied ones once, as transformers instantiates it without memory.
"""

import json
import pathlib

import torch
import transformers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForImageTextToText

HERE = pathlib.Path(__file__).parent / "configs"
FAMILIES = ("dots1 gemma2 gemma3_text gpt2 gpt_neo gpt_neox gpt_oss llama llava mistral mixtral olmo2 olmoe opt phi phi3 "
            "qwen2 qwen2_moe qwen3 qwen3_moe stablelm starcoder2").split()
# What a class cannot be built without.
REQUIRED = {"dots1": dict(n_routed_experts=128, num_experts_per_tok=6, n_shared_experts=2)}


def fields(model_type):
    config = CONFIG_MAPPING[model_type](**REQUIRED.get(model_type, {}))
    # Set by the library while it runs, never written to a file.
    defaults = {name: value for name, value in config.to_dict().items() if name != "transformers_version"}
    return {"defaults": defaults, "aliases": dict(config.attribute_map)}


def parameters(path):
    values = json.loads(path.read_text())
    config = CONFIG_MAPPING[values["model_type"]].from_dict(values)
    with torch.device("meta"):
        kind = AutoModelForImageTextToText if values["model_type"] == "llava" else AutoModelForCausalLM
        model = kind.from_config(config)
    model.tie_weights()
    # DeepSeek's corrections are stored like parameters.
    stored = [b for name, b in model.named_buffers() if "correction" in name]
    return sum(p.numel() for p in [*model.parameters(), *stored])


if __name__ == "__main__":
    table = {"transformers": transformers.__version__, "families": {name: fields(name) for name in FAMILIES}}
    (HERE / "fields.json").write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
    for path in sorted(HERE.glob("*.json")):
        if path.stem != "fields":
            print(path.stem, parameters(path))
