"""Token ids of transformers for folders with many kinds of tokenizer files.

    python make_tokenizers.py VOCABULARIES

VOCABULARIES holds gpt2/, gpt-neox-20b/ and llama2/ with their real files, which are not committed. Every case is a folder
with some of them, other files as given in `CASES`, and changed parts of tokenizer.json. Written to tokenizers/: texts.json,
and a file a case with what makes the folder and the ids of every text as AutoTokenizer gives them.

Run it once with transformers 5.24.0, which makes most cases, and once with 4.57.1 for those marked so: there transformers 5
takes the splitting of the class instead of tokenizer.json's own, or ignores `add_bos_token`, which Llama's classes read.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import transformers
from transformers import AutoTokenizer

HERE = Path(__file__).parent / "tokenizers"

TEXTS = [
    # Plain, empty, spaces in front and behind, runs of them, tabs, line ends of every kind.
    "", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\r", "\t", "\t\t", " \n", "\n ", "\r\n\r\n", " \t ", "    \n    ",
    "Hello world", " Hello world", "  Hello world", "Hello world ", "Hello world  ", "Hello  world", "Hello   world",
    "Hello\tworld", "Hello\nworld", "Hello\r\nworld", "Hello\n\n\nworld", "Hello \n world", "\nHello", "\tHello",
    "a", " a", "A", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "hello", "HELLO WORLD", "HeLLo", "helloWorldCamelCase",
    "one two  three   four    five     six      seven",
    "def f(x):\n    if x > 0:\n        return x\n\treturn -x\n",
    "int main(void) {\r\n\tprintf(\"%d\\n\", 42);\r\n}\r\n",
    "trailing spaces   \nand tabs\t\t\nand more \r\n \r\n",
    "line\u2028separator and\u2029paragraph", "form\x0cfeed and\x0bvertical tab", "a\u0085next line",
    # Digits.
    "0", "7", "42", "1998", "In 1998", "In 1998, 2001 and 12345.", "3.14159", "1,000,000", "1234567890123456789012345",
    "00000000000000000000", "2024-02-29T12:34:56Z", "x1y2z3", "1st 2nd 3rd", "10%", "$9.99", "1e-5", "0x1F", "v5.24.0",
    "१२३", "٣٤٥", "５６", "Ⅷ ½ ²", "９８7", "phone +49 (0)30 1234-5678",
    # Contractions and apostrophes in either case.
    "don't", "Don't", "DON'T", "I'm", "I'M", "we're WE'RE", "they've THEY'VE", "he'd HE'D", "she'll SHE'LL",
    "it's IT'S", "o'clock", "'s", "'S", "'t'T'd'D", "rock 'n' roll", "‘it’s’", "can’t CAN’T", "y'all'd've", "'ſ", "''", "'l",
    # Composed and decomposed accents, compatibility forms, case folding.
    "café", "cafe\u0301", "re\u0301sume\u0301", "résumé", "A\u030angstro\u0308m", "\u212bngström", "naïve na\u0131ve",
    "u\u0308ber", "n\u0303", "\u0301", "e\u0301\u0302", "ﬁne ﬂow", "Straße STRASSE", "İstanbul", "ǅ", "ﬀ", "\u1e9b\u0323",
    "한국어", "\u1112\u1161\u11ab\u1100\u116e\u11a8", "Việt Nam", "Vie\u0323\u0302t",
    # Scripts.
    "漢字", "日本語のテキスト", "你好，世界！", "我们在 2024 年见面。", "ｆｕｌｌｗｉｄｔｈ", "　全角空白　", "안녕하세요 세계", "Привет, мир!",
    "Γειά σου Κόσμε", "שלום עולם", "שָׁלוֹם", "السلام عليكم", "مرحبا بالعالم ١٢٣", "ﷺ", "नमस्ते दुनिया", "สวัสดีชาวโลก",
    "မင်္ဂလာပါ", "ﺍﻟﻌﺮﺑﻴﺔ", "ქართული", "Հայերեն", "አማርኛ", "ᚠᛇᚻ", "𝕳𝖊𝖑𝖑𝖔", "𐍈", "㍿", "꧁꧂",
    # Emoji, joiners, marks without a picture.
    "🙂", "🙂🙂", " 🙂", "a🙂b", "👩\u200d👩\u200d👧\u200d👦", "👍🏽", "🇩🇪🇫🇷", "❤️", "❤", "1️⃣", "🏴\U000e0067\U000e0062\U000e007f",
    "zero\u200bwidth", "zero\u200djoiner", "\u200d", "non\u200cjoiner", "\ufeffmark", "soft\u00adhyphen", "right\u200fto left",
    "no\u00a0break", "thin\u2009space", "\u3000", "\u00a0", "word\u2060joiner", "�", "\x00", "\x01\x02", "\x7f", "a\x00b",
    # Signs.
    "!", "?!", "...", "…", "Hello, world!", "Hello,world", "(parens)", "[brackets]", "{braces}", "a_b_c", "snake_case_name",
    "a-b--c---d", "“quotes”", "«guillemets»", "a/b\\c", "https://example.org/a?b=c&d=e#f", "me@example.org", "#tag @user",
    "x=1;y=2", "a+b=c", "<html><body>", "</div>", "&amp;", "~`^|", "*bold* _it_", "```py\nx\n```", "€£¥", "±×÷≤≥≠", "→←↑↓",
    "!!!!!!!!", "========", "--------\n", "?\n!\n", ".\r\n.", "\"\n\n\"", "▁", "▁▁ ▁", "Ġ", "Ċ", "<0x0A>", "<unk>",
    # Special tokens inside of text.
    "<|endoftext|>", "<|endoftext|>start", "end<|endoftext|>", "a <|endoftext|> b", "a<|endoftext|><|endoftext|>b",
    "<|endoftext|> <|endoftext|>", "<|endoftext", "|endoftext|>", "<|ENDOFTEXT|>",
    "<|im_start|>user\nHi 1998<|im_end|>\n<|im_start|>assistant\n", "a <|im_start|> b", "x<|im_end|>",
    "<s>", "</s>", "<s>Hello</s>", "a </s> b", "</s>Hello", "</s> Hello", "<pad>", "a<pad>b", "<mask>", "a <mask> b",
    "a<mask>b", "<|padding|>", "<tool_call>{}</tool_call>", "<image>", "a <image> b", "USER: <image>\nWhat is it?",
    "<new>", "a <new> b", "new<new>new", "the café <cafe\u0301> token", "word", "a word b", "swords",
    # Longer ones.
    "The quick brown fox jumps over the lazy dog. 0123456789",
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park.",
    "Zürich's 3 Zebras zogen 12'345 Züge — “schnell”, über 98.6 km/h!\n\n\tNächste Zeile…",
    "SELECT name, COUNT(*) FROM users WHERE age >= 21 GROUP BY name HAVING COUNT(*) > 1;",
    "{\"key\": [1, 2.5, null, true], \"text\": \"line\\nbreak\"}",
    "Mixed 漢字 and кириллица with العربية and 🙂 in 1 line,\tok?",
]
SOME = 3  # Cases that differ from another one in little take every third text, and all with special tokens.
MARKS = ("<", "word")

GPT2 = {"vocabulary": "gpt2", "take": ["vocab.json", "merges.txt"]}
GPT2_JSON = {"vocabulary": "gpt2", "take": ["tokenizer.json"]}
NEOX_JSON = {"vocabulary": "gpt-neox-20b", "take": ["tokenizer.json"]}
LLAMA_JSON = {"vocabulary": "llama2", "take": ["tokenizer.json"]}
NO_TEMPLATE = {"post_processor": None}


def token(content, special=False, **flags):
    plain = {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": special}
    return {**plain, **flags}


def typed(content, **flags):
    """As slow tokenizers wrote it."""
    plain = token(content, normalized=True, **flags)
    del plain["special"]
    return {"__type": "AddedToken", **plain}


def config(name, **fields):
    return {"tokenizer_config.json": {"tokenizer_class": name, **fields}}


CHAT = {
    "50256": token("<|endoftext|>", True),
    "50257": token("<|im_start|>", True),
    "50258": token("<|im_end|>", True),
    "50259": token("<tool_call>"),
    "50260": token("</tool_call>"),
}
QWEN = dict(
    add_prefix_space=False,
    added_tokens_decoder=CHAT,
    additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    bos_token=None,
    eos_token="<|im_end|>",
    pad_token="<|endoftext|>",
    unk_token=None,
    split_special_tokens=False,
)
OPT = dict(
    errors="replace",
    unk_token=typed("</s>"),
    bos_token=typed("</s>"),
    eos_token=typed("</s>"),
    pad_token="<pad>",
    add_prefix_space=False,
    add_bos_token=True,
)
ODD = {
    "50256": token("<|endoftext|>", True, normalized=True),
    "50257": token("<new>", lstrip=True),
    "50258": token("<mask>", True, rstrip=True),
    "50259": token("word", single_word=True, normalized=True),
    "50260": token("<caf\u00e9>", normalized=True),
}
OWN = {"image_token": "<image>", "boi_token": "<new>", "lst_token": {"__type": "AddedToken", **token("<tool_call>", True, lstrip=True)}}
SPACE = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
LLAMA = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>")

# name: (what makes the folder, other files, whether all texts, transformers' major version)
CASES = {
    "gpt2": (GPT2, config("GPT2Tokenizer"), True, 5),
    "gpt2-fast-config-class": (GPT2, {"config.json": {"model_type": "gpt2", "tokenizer_class": "GPT2TokenizerFast"}}, False, 5),
    "gpt2-model-type": (GPT2, {"config.json": {"model_type": "phi"}}, False, 5),
    "gpt2-prefix": (GPT2, config("GPT2Tokenizer", add_prefix_space=True), True, 5),
    "gpt2-bos-eos": (GPT2, config("GPT2Tokenizer", add_bos_token=True, add_eos_token=True), False, 5),
    "gpt2-added-json": (
        GPT2,
        {
            **config("GPT2Tokenizer", eos_token="<|endoftext|>"),
            "added_tokens.json": {"<new>": 50258, "<|endoftext|>": 50256, "</s>": 50257},
            "special_tokens_map.json": {"bos_token": "<|endoftext|>", "eos_token": "</s>", "pad_token": "<pad>"},
        },
        False,
        5,
    ),
    "gpt2-special-map": (
        GPT2,
        {
            "config.json": {"model_type": "gpt2"},
            "special_tokens_map.json": {
                "bos_token": token("<s>", normalized=True),
                "eos_token": {"content": "</s>", "lstrip": True, "rstrip": True, "normalized": False, "single_word": False},
                "unk_token": "<|endoftext|>",
                "mask_token": token("<mask>", lstrip=True),
                "additional_special_tokens": ["<image>", "<new>"],
            },
        },
        False,
        5,
    ),
    "gpt2-odd-tokens": (GPT2, config("GPT2Tokenizer", added_tokens_decoder=ODD), False, 5),
    "gpt2-extra": (
        GPT2,
        config("GPT2Tokenizer", extra_special_tokens={"image_token": "<image>"}, eoi_token="<new>", pad_token="<pad>"),
        False,
        5,
    ),
    "gpt2-split-special": (GPT2, config("GPT2Tokenizer", split_special_tokens=True), False, 5),
    "qwen2": (GPT2, config("Qwen2Tokenizer", **QWEN), True, 5),
    "qwen2-model-type": (GPT2, {"config.json": {"model_type": "qwen3"}}, False, 5),
    "qwen2-another-class": (GPT2, {**config("GPT2Tokenizer"), "config.json": {"model_type": "qwen2"}}, False, 5),
    "qwen2-prefix": (GPT2, config("Qwen2TokenizerFast", **{**QWEN, "add_prefix_space": True}), False, 5),
    "opt": (
        GPT2,
        {
            **config("GPT2Tokenizer", **OPT),
            "config.json": {"model_type": "opt"},
            "special_tokens_map.json": {
                "bos_token": token("</s>", normalized=True),
                "eos_token": token("</s>", normalized=True),
                "unk_token": token("</s>", normalized=True),
                "pad_token": "<pad>",
            },
        },
        True,
        5,
    ),
    "codegen-bos": (GPT2, config("CodeGenTokenizer", add_bos_token=True), False, 5),
    "gpt-neox": (GPT2, config("GPTNeoXTokenizer", extra_special_tokens=["<new>"]), True, 5),
    "gpt-neox-bos": (GPT2, {**config("GPTNeoXTokenizerFast", add_bos_token=True), "config.json": {"model_type": "olmoe"}}, False, 5),
    "roberta": (GPT2, config("RobertaTokenizer"), True, 5),
    "bart": (GPT2, config("BartTokenizer", add_prefix_space=True), False, 5),
    # Special tokens of the model's own roles: apart, beside other names (which take their place), and in two files.
    "gpt2-own": (GPT2, config("GPT2Tokenizer", model_specific_special_tokens=OWN, pad_token="<pad>"), False, 5),
    "gpt2-own-beside": (
        GPT2,
        config(
            "GPT2Tokenizer",
            model_specific_special_tokens={"mask_token": "<mask>"},
            z_token="<pad>",
            b_token="<image>",
            extra_special_tokens={"y_token": "<tool_call>", "a_token": "<new>", "z_token": "</s>"},
        ),
        False,
        5,
    ),
    "gpt2-own-two-files": (
        GPT2,
        {
            **config("GPT2Tokenizer", model_specific_special_tokens=OWN),
            "special_tokens_map.json": {"z_token": token("<pad>"), "boi_token": "<|im_start|>", "extra_special_tokens": {"eoi_token": "</s>"}},
            "added_tokens.json": {"<new>": 50258, "<s>": 50257},
        },
        False,
        5,
    ),
    # Beside a tokenizer.json.
    "json-gpt2": (GPT2_JSON, config("GPT2Tokenizer"), False, 5),
    "json-gpt2-prefix": (GPT2_JSON, config("GPT2Tokenizer", add_prefix_space=True), True, 5),
    "json-gpt2-bos": (GPT2_JSON, config("GPT2Tokenizer", add_bos_token=True, bos_token="<|endoftext|>"), False, 5),
    "json-any-bos": (GPT2_JSON, config("PreTrainedTokenizerFast", add_bos_token=True, bos_token="<|endoftext|>"), False, 5),
    "json-any-tokens": (
        GPT2_JSON,
        config(
            "PreTrainedTokenizerFast",
            added_tokens_decoder=ODD,
            additional_special_tokens=["<image>"],
            image_token="<pad>",
            bos_token="<s>",
        ),
        False,
        5,
    ),
    "json-no-config": (GPT2_JSON, {"config.json": {"model_type": "mistral"}}, False, 5),
    "json-any-own": (
        GPT2_JSON,
        config(
            "PreTrainedTokenizerFast",
            model_specific_special_tokens=OWN,
            added_tokens_decoder={"50256": token("<|endoftext|>", True), "50257": token("<new>"), "50258": token("<image>", rstrip=True)},
        ),
        False,
        5,
    ),
    # A general class is whatever the file says, for any model.
    "json-any-prefix": (
        GPT2_JSON,
        {**config("PreTrainedTokenizerFast", add_prefix_space=True), "config.json": {"model_type": "gpt2"}},
        False,
        5,
    ),
    "json-any-prefix-off": (
        {**GPT2_JSON, "json": {"pre_tokenizer": SPACE}},
        {**config("PreTrainedTokenizerFast", add_prefix_space=False), "config.json": {"model_type": "opt"}},
        False,
        5,
    ),
    "json-any-metaspace": (
        {**LLAMA_JSON, "json": {"normalizer": None, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}}},
        {**config("PreTrainedTokenizerFast", **LLAMA, add_prefix_space=False), "config.json": {"model_type": "llama"}},
        False,
        5,
    ),
    "json-any-metaspace-never": (
        {**LLAMA_JSON, "json": {"normalizer": None, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": False}}},
        {**config("PreTrainedTokenizerFast", **LLAMA, add_prefix_space=True), "config.json": {"model_type": "llama"}},
        False,
        5,
    ),
    "json-any-template": (
        LLAMA_JSON,
        {"tokenizer_config.json": LLAMA, "config.json": {"model_type": "gpt_neox", "tokenizer_class": "PreTrainedTokenizerFast"}},
        False,
        5,
    ),
    "json-gpt-neox": (NEOX_JSON, config("GPTNeoXTokenizer"), True, 5),
    "json-llama": (LLAMA_JSON, config("PreTrainedTokenizerFast", **LLAMA), True, 5),
    "json-llama-image": (
        LLAMA_JSON,
        {
            **config("LlamaTokenizerFast", **LLAMA, added_tokens_decoder={"32000": token("<image>", True)}),
            "config.json": {"model_type": "llava"},
        },
        False,
        5,
    ),
    "json-gpt2-line-end-split": (
        {**GPT2_JSON, "json": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        ]}}},
        config("GPT2TokenizerFast"),
        False,
        4,
    ),
    "json-gpt2-prefix-off": (
        {**GPT2_JSON, "json": {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}}},
        {**config("GPT2TokenizerFast"), "config.json": {"model_type": "gpt2"}},
        False,
        4,
    ),
    **{
        f"json-llama-{name}": (
            {**LLAMA_JSON, "json": changed},
            {**config("LlamaTokenizerFast", **LLAMA, **flags), "config.json": {"model_type": "llama"}},
            False,
            4,
        )
        for name, changed, flags in [
            ("no-template", NO_TEMPLATE, {}),
            ("no-template-bos", NO_TEMPLATE, {"add_bos_token": True}),
            ("no-template-no-bos", NO_TEMPLATE, {"add_bos_token": False}),
            ("no-template-eos", NO_TEMPLATE, {"add_eos_token": True}),
            ("no-bos", {}, {"add_bos_token": False}),
            ("eos", {}, {"add_eos_token": True}),
        ]
    },
    "json-gemma-no-template": (
        {**LLAMA_JSON, "json": NO_TEMPLATE},
        {**config("GemmaTokenizerFast", **LLAMA, pad_token="</s>"), "config.json": {"model_type": "gemma2"}},
        False,
        4,
    ),
}


def build(folder, vocabularies, made, files):
    for name in made["take"]:
        shutil.copy(vocabularies / made["vocabulary"] / name, folder / name)
    if changed := made.get("json"):
        path = folder / "tokenizer.json"
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changed}), encoding="utf-8")
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value), encoding="utf-8")


def main():
    vocabularies = Path(sys.argv[1])
    HERE.mkdir(exist_ok=True)
    assert len(set(TEXTS)) == len(TEXTS)
    (HERE / "texts.json").write_text(json.dumps(TEXTS, ensure_ascii=True, indent=0) + "\n")
    for name, (made, files, whole, major) in CASES.items():
        if not transformers.__version__.startswith(f"{major}."):
            continue
        with tempfile.TemporaryDirectory() as folder:
            build(Path(folder), vocabularies, made, files)
            tokenizer = AutoTokenizer.from_pretrained(folder)
            take = [i for i, text in enumerate(TEXTS) if whole or i % SOME == 0 or any(mark in text for mark in MARKS)]
            ids = [[i, *tokenizer(TEXTS[i])["input_ids"]] for i in take]
        case = {"transformers": transformers.__version__, "class": type(tokenizer).__name__, **made, "files": files}
        # A text's number, then its ids.
        rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in ids)
        head = json.dumps(case, ensure_ascii=True, indent=1)
        (HERE / f"{name}.json").write_text(f'{head[:-2]},\n "ids": [\n{rows}\n]}}\n')
        print(name, case["class"], len(ids))


if __name__ == "__main__":
    main()
