"""Conversations as transformers' apply_chat_template writes them: chat/cases.json.

Run in this folder: python make_chat.py. The templates beside it are ours, in the styles of well-known ones.
"""

import json
import tempfile
from pathlib import Path

import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, decoders
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).parent
SPECIAL = ["<s>", "</s>", "<image>", "<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>", "<|end|>"]


def tokenizer():
    """One token a byte, and a few special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")


def say(role, content):
    return {"role": role, "content": content}


TALKS = {
    "one": [say("user", "Who lives in the\n  old mill?")],
    "system": [say("system", "Be brief.\nBe kind."), say("user", " Is it red? ")],
    "turns": [
        say("system", "Be brief."),
        say("user", "Hello"),
        say("assistant", "<think>a greeting</think>\n\nhello there"),
        say("user", ""),
        say("assistant", " yes "),
        say("user", "Straße, 漢字, 🙂 & <b>\"quoted\"</b> {{ not a template }}"),
    ],
    "wrong": [say("user", "a"), say("user", "b"), say("tool", "c")],
    "parts": [say("user", [{"type": "image"}, {"type": "text", "text": "What is it?"}])],
}


def main():
    with tempfile.TemporaryDirectory() as folder:
        reader = tokenizer()
        reader.save_pretrained(folder)
        (HERE / "chat" / "tokenizer.json").write_text((Path(folder) / "tokenizer.json").read_text())
    cases = []
    for path in sorted((HERE / "chat").glob("*.jinja")):
        for name, talk in TALKS.items():
            # The list form is what templates of image models read, and others do not.
            if (name == "parts") != (path.stem == "parts") and not (name == "parts" and path.stem == "loops"):
                continue
            case = {"template": path.name, "messages": talk}
            try:
                given = dict(chat_template=path.read_text(), add_generation_prompt=True)
                case["text"] = reader.apply_chat_template(talk, tokenize=False, **given)
                ids = reader.apply_chat_template(talk, tokenize=True, return_dict=False, **given)
                case["ids"] = ids
            except Exception as error:
                case["error"] = str(error)
            cases.append(case)
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    made = f'{{"transformers": "{transformers.__version__}", "cases": [\n{lines}\n]}}\n'
    (HERE / "chat" / "cases.json").write_text(made)


if __name__ == "__main__":
    main()
