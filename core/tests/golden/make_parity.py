"""Tiny random checkpoints of every family, with what Hugging Face transformers computes for them.

    python make_parity.py [CASE ...]

needs torch and transformers (made with 2.15 and 5.24). Each case becomes a folder with config.json and
model.safetensors as transformers saves them, and expected.safetensors: `tokens`, `logits`, `greedy` (8 tokens of
generate), and every site that a forward hook can reach, under its TransformerLens name, without a batch axis. Cases that
read images also hold `pixels` and `image_rows`, what the projector makes of them.
"""

import importlib
import json
import pathlib
import shutil
import sys
import types

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

HERE = pathlib.Path(__file__).parent
T = 16
COMMON = dict(vocab_size=96, pad_token_id=0, bos_token_id=1, eos_token_id=2)
LLAMA = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=64, **COMMON)
NEOX = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=64, **COMMON)
OPT = dict(hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64,
           word_embed_proj_dim=32, **COMMON)
GPT2 = dict(n_embd=32, n_layer=2, n_head=4, n_positions=64, **COMMON)
GPT_NEO = dict(hidden_size=32, num_layers=4, num_heads=4, max_position_embeddings=64, window_size=5,
               attention_types=[[["global", "local"], 2]], **COMMON)
CLIP = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=24, patch_size=8,
            model_type="clip_vision_model")
LLAVA = dict(text_config=dict(LLAMA, model_type="llama"), image_token_index=3)
GEMMA = dict(LLAMA, head_dim=16, query_pre_attn_scalar=24, sliding_window=6)


EXPERTS = dict(LLAMA, moe_intermediate_size=20, num_experts=6, num_experts_per_tok=2)
DOTS = dict(LLAMA, num_hidden_layers=3, head_dim=16, moe_intermediate_size=20, n_routed_experts=8, num_experts_per_tok=3,
            n_shared_experts=2, first_k_dense_replace=1)


# Smaller: what is new in these cases is how experts are stored and chosen.
SMALL = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
             max_position_embeddings=64, **COMMON)
SMALL_EXPERTS = dict(SMALL, moe_intermediate_size=12, num_experts=4, num_experts_per_tok=2)
SMALL_DOTS = dict(SMALL, head_dim=8, moe_intermediate_size=12, n_routed_experts=8, num_experts_per_tok=3, n_shared_experts=1,
                  first_k_dense_replace=1)
SMALL_NEOX = dict(hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                  max_position_embeddings=64, **COMMON)
# As transformers 5 names and stacks tensors itself, instead of as the published files have them.
OWN = {"own": True}


def rope(kind, theta=10000.0, **more):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **more}}


YARN = dict(factor=4.0, original_max_position_embeddings=16)
PHI3 = dict(LLAMA, max_position_embeddings=64)
LONG = dict(short_factor=[1.0, 1.1, 1.3, 1.7], long_factor=[1.5, 2.0, 3.0, 5.0])

# case: (model_type, config fields, extras)
CASES = {
    "gpt2": ("gpt2", GPT2, {}),
    "gpt2-inverse-layer": ("gpt2", dict(GPT2, scale_attn_by_inverse_layer_idx=True, n_inner=40,
                                        activation_function="gelu", tie_word_embeddings=False), {}),
    "gpt2-unscaled": ("gpt2", dict(GPT2, scale_attn_weights=False, activation_function="quick_gelu"), {}),
    "gpt_neo": ("gpt_neo", GPT_NEO, {}),
    "gpt_neox": ("gpt_neox", dict(NEOX, **rope("default", partial_rotary_factor=0.5)), {"old": True}),
    "gpt_neox-sequential": ("gpt_neox", dict(NEOX, use_parallel_residual=False, attention_bias=False,
                                             hidden_act="relu", **rope("linear", factor=2.0, partial_rotary_factor=1.0)), {}),
    "opt": ("opt", OPT, {}),
    "opt-post-norm": ("opt", dict(OPT, do_layer_norm_before=False, word_embed_proj_dim=24), {}),
    "opt-bare": ("opt", dict(OPT, enable_bias=False, layer_norm_elementwise_affine=False,
                             activation_function="gelu", _remove_final_layer_norm=True), {}),
    "llama": ("llama", LLAMA, {"old": True}),
    "llama-bias": ("llama", dict(LLAMA, attention_bias=True, mlp_bias=True, head_dim=12, tie_word_embeddings=True),
                   {"shards": True}),
    "llama-llama3": ("llama", dict(LLAMA, **rope("llama3", 500000.0, factor=8.0, low_freq_factor=1.0,
                                                 high_freq_factor=4.0, original_max_position_embeddings=16)), {"old": True}),
    "llama-linear": ("llama", dict(LLAMA, **rope("linear", factor=3.0)), {"old": True}),
    "llama-dynamic": ("llama", dict(LLAMA, max_position_embeddings=10, **rope("dynamic", factor=4.0)), {"old": True}),
    "llama-yarn": ("llama", dict(LLAMA, **rope("yarn", **YARN)), {"old": True}),
    "llama-yarn-mscale": ("llama", dict(LLAMA, **rope("yarn", mscale=0.7, mscale_all_dim=0.9, beta_fast=20.0,
                                                      beta_slow=2.0, truncate=False, **YARN)), {}),
    "llama-yarn-factor": ("llama", dict(LLAMA, **rope("yarn", attention_factor=1.3, **YARN)), {}),
    # The class rotates whole heads and ignores the share.
    "llama-partial": ("llama", dict(LLAMA, **rope("default", partial_rotary_factor=0.5)), {"old": True}),
    "llama-bf16": ("llama", LLAMA, {"dtype": torch.bfloat16}),
    "llama-f16": ("llama", LLAMA, {"dtype": torch.float16}),
    "llava": ("llava", dict(LLAVA, vision_config=CLIP), {}),
    "llava-full": ("llava", dict(LLAVA, vision_config=dict(CLIP, hidden_act="gelu", layer_norm_eps=1e-3),
                                 vision_feature_layer=-1, vision_feature_select_strategy="full",
                                 multimodal_projector_bias=False, projector_hidden_act="gelu_pytorch_tanh"), {}),
    "mistral": ("mistral", dict(LLAMA, sliding_window=6, head_dim=12), {"old": True}),
    "qwen2": ("qwen2", LLAMA, {}),
    "qwen2-window": ("qwen2", dict(LLAMA, num_hidden_layers=3, use_sliding_window=True, sliding_window=5,
                                   max_window_layers=1), {}),
    # Past max_position_embeddings, as Qwen 2.5 is stretched.
    "qwen2-yarn-past": ("qwen2", dict(LLAMA, max_position_embeddings=12,
                                      **rope("yarn", factor=4.0, original_max_position_embeddings=12)), {"old": True}),
    "qwen3": ("qwen3", dict(LLAMA, head_dim=16, attention_bias=True), {}),
    "gemma2": ("gemma2", dict(GEMMA, attn_logit_softcapping=2.0, final_logit_softcapping=3.0), {"old": True}),
    "gemma2-gelu": ("gemma2", dict(GEMMA, attn_logit_softcapping=None, final_logit_softcapping=None,
                                   hidden_activation="gelu", attention_bias=True), {}),
    "gemma3_text": ("gemma3_text", dict(GEMMA, num_hidden_layers=3,
                                        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                                        rope_parameters={
                                            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 50000.0},
                                            "sliding_attention": {"rope_type": "default", "rope_theta": 1000.0}}), {"old": True}),
    # Gemma 3 has no cap in attention and ignores the field; it reads `truncate` where nobody writes it.
    "gemma3_text-ignored": ("gemma3_text", dict(GEMMA, attn_logit_softcapping=2.0, final_logit_softcapping=3.0,
                                                layer_types=["sliding_attention", "full_attention"],
                                                rope_parameters={
                                                    "full_attention": {"rope_type": "yarn", "rope_theta": 10000.0,
                                                                       "truncate": False, **YARN},
                                                    "sliding_attention": {"rope_type": "default", "rope_theta": 1000.0}}), {}),
    "phi": ("phi", dict(LLAMA, **rope("default", partial_rotary_factor=0.5)), {"old": True}),
    "phi-qk-norm": ("phi", dict(LLAMA, qk_layernorm=True, **rope("default", partial_rotary_factor=0.5)), {}),
    "phi3": ("phi3", dict(PHI3, sliding_window=7), {}),
    "phi3-short": ("phi3", dict(PHI3, original_max_position_embeddings=32,
                                **rope("longrope", partial_rotary_factor=1.0, **LONG)), {"old": True}),
    "phi3-long": ("phi3", dict(PHI3, original_max_position_embeddings=12, tie_word_embeddings=True,
                               **rope("longrope", partial_rotary_factor=1.0, **LONG)), {}),
    "starcoder2": ("starcoder2", dict(LLAMA, sliding_window=6), {"old": True}),
    "starcoder2-no-bias": ("starcoder2", dict(LLAMA, use_bias=False, tie_word_embeddings=False), {}),
    "olmo2": ("olmo2", dict(LLAMA, attention_bias=False), {}),
    "mixtral": ("mixtral", dict(LLAMA, num_local_experts=4, head_dim=12, sliding_window=6), {"old": True}),
    "qwen2_moe": ("qwen2_moe", dict(EXPERTS, num_hidden_layers=3, shared_expert_intermediate_size=28,
                                    mlp_only_layers=[1]), {}),
    "qwen3_moe": ("qwen3_moe", dict(EXPERTS, num_hidden_layers=4, head_dim=16, norm_topk_prob=True, decoder_sparse_step=2,
                                    num_experts_per_tok=3), {"old": True}),
    "olmoe": ("olmoe", dict(LLAMA, num_experts=5, num_experts_per_tok=2, intermediate_size=20), {"old": True}),
    "dots1": ("dots1", dict(DOTS, n_group=4, topk_group=2, norm_topk_prob=True, routed_scaling_factor=2.5), {}),
    "dots1-one-group": ("dots1", dict(DOTS, sliding_window=5, max_window_layers=1), {}),
    "gpt_oss": ("gpt_oss", dict(LLAMA, head_dim=12, num_local_experts=5, num_experts_per_tok=2, sliding_window=6,
                                intermediate_size=20, swiglu_limit=1.5), {}),
    # The experts of a block in two tensors, and other names of transformers 5's own.
    "mixtral-own": ("mixtral", dict(SMALL, num_local_experts=4), OWN),
    "olmoe-own": ("olmoe", dict(SMALL, num_experts=4, num_experts_per_tok=2, intermediate_size=12), OWN),
    "qwen2_moe-own": ("qwen2_moe", dict(SMALL_EXPERTS, shared_expert_intermediate_size=20, mlp_only_layers=[0]), OWN),
    "qwen3_moe-own": ("qwen3_moe", dict(SMALL_EXPERTS, head_dim=12, norm_topk_prob=True), OWN),
    "dots1-own": ("dots1", dict(SMALL_DOTS, n_group=4, topk_group=2), OWN),
    "gpt_neox-own": ("gpt_neox", dict(SMALL_NEOX, **rope("default", partial_rotary_factor=0.5)), OWN),
    "llava-own": ("llava", dict(text_config=dict(SMALL, model_type="llama"), image_token_index=3,
                                vision_config=dict(CLIP, hidden_size=8, intermediate_size=12)), OWN),
    # Queries, keys and values bounded after the norms.
    "olmoe-clip": ("olmoe", dict(SMALL, num_experts=4, num_experts_per_tok=2, intermediate_size=12, attention_bias=True,
                                 clip_qkv=0.6), {}),
    # Open groups have fewer experts than a token goes through: closed ones fill up.
    "dots1-narrow": ("dots1", dict(SMALL_DOTS, n_group=4, topk_group=1, norm_topk_prob=True), {}),
    "dots1-narrower": ("dots1", dict(SMALL_DOTS, n_routed_experts=12, n_group=4, topk_group=1, num_experts_per_tok=7), {}),
    # An odd number of dimensions turned, 3 or 5 of 12 and 3 of 8, and none.
    "gpt_neox-odd": ("gpt_neox", dict(SMALL_NEOX, **rope("default", partial_rotary_factor=0.25)), {"old": True}),
    "gpt_neox-odd-dynamic": ("gpt_neox", dict(dict(SMALL_NEOX, max_position_embeddings=10),
                                              **rope("dynamic", factor=4.0, partial_rotary_factor=0.42)), {}),
    "gpt_neox-odd-yarn": ("gpt_neox", dict(SMALL_NEOX, **rope("yarn", partial_rotary_factor=0.25, **YARN)), {}),
    "gpt_neox-unturned": ("gpt_neox", dict(SMALL_NEOX, **rope("default", partial_rotary_factor=0.05)), {}),
    "phi3-odd": ("phi3", dict(SMALL, original_max_position_embeddings=12,
                              **rope("longrope", partial_rotary_factor=0.375, short_factor=[1.2], long_factor=[2.5])), {}),
    "stablelm": ("stablelm", dict(LLAMA, use_qkv_bias=True, **rope("default", partial_rotary_factor=0.25)), {"old": True}),
    "stablelm-parallel": ("stablelm", dict(LLAMA, use_parallel_residual=True, qk_layernorm=True,
                                           **rope("default", partial_rotary_factor=0.5)), {}),
}


def randomise(model, generator):
    """Weights of a spread at which every term matters: norms off 1, biases off 0, attention off uniform."""
    for name, p in [*model.named_parameters(), *((n, b) for n, b in model.named_buffers() if "correction" in n)]:
        noise = torch.randn(p.shape, generator=generator)
        if p.dim() == 1 and "norm" in name or "ln_" in name:
            scale = 0.3 * noise
            p.data = p.data + scale
        elif p.dim() == 1:
            p.data = 0.3 * noise
        elif "embed" in name or "wte" in name or "wpe" in name:
            p.data = 0.7 * noise
        elif ".experts." in name and name.endswith("_bias"):
            p.data = 0.3 * noise
        elif p.dim() == 3 and ".experts." in name:  # [experts, out, in]; gpt-oss: [experts, in, out]
            p.data = 1.3 * noise / p.shape[1 if model.config.model_type == "gpt_oss" else 2] ** 0.5
        else:
            fan_in = p.shape[0] if "c_" in name and "gpt2" in model.config.model_type else p[0].numel()
            p.data = 1.3 * noise / fan_in**0.5


class Recorder:
    """Sites of one forward pass."""

    def __init__(self, model):
        inner = getattr(getattr(model, "model", None), "language_model", None)
        self.module = importlib.import_module(type(inner or model).__module__)
        if inner is not None:
            model = types.SimpleNamespace(config=inner.config, model=inner)
        self.model, self.sites, self.hooks = model, {}, []
        c = model.config
        self.kind = c.model_type
        self.heads = getattr(c, "num_attention_heads", None) or getattr(c, "n_head", None) or c.num_heads

    def put(self, name, value):
        value = value.detach().float()
        if value.dim() == 2:  # OPT flattens batch and positions in its FFN
            value = value[None]
        assert value.shape[0] == 1, (name, value.shape)
        self.sites[name] = value[0].contiguous().clone()

    def out(self, module, f):
        def hook(m, i, o):
            f(o[0] if isinstance(o, tuple) else o)
        self.hooks.append(module.register_forward_hook(hook))

    def inp(self, module, f):
        def hook(m, args, kwargs):
            f(args[0] if args else kwargs["hidden_states"])
        self.hooks.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def norm(self, module, name):
        """Scale and normalised value, computed here from the module's input."""
        if module is None:
            return
        layer = isinstance(module, torch.nn.LayerNorm)
        eps = getattr(module, "eps", None) or getattr(module, "variance_epsilon", None)

        def record(x):
            x = x.float()
            x = x - x.mean(-1, keepdim=True) if layer else x
            scale = (x.pow(2).mean(-1, keepdim=True) + eps).sqrt()
            self.put(f"{name}.hook_scale", scale)
            self.put(f"{name}.hook_normalized", x / scale)
        self.inp(module, record)

    def heads_of(self, x):
        d_head = x.shape[-1] // self.heads if self.d_head is None else self.d_head
        return x.reshape(x.shape[0], x.shape[1], -1, d_head)

    def attach(self):
        m, kind = self.model, self.kind
        c = m.config
        self.d_head = getattr(c, "head_dim", None)
        get = lambda root, *names: next((getattr(root, n) for n in names if getattr(root, n, None) is not None), None)
        base = get(m, "transformer", "gpt_neox", "model")
        base = getattr(base, "decoder", base)
        blocks = get(base, "h", "layers")
        final = get(base, "ln_f", "final_layer_norm", "final_layernorm", "norm")
        embed = get(base, "wte", "embed_in", "embed_tokens")
        width = c.hidden_size if hasattr(c, "hidden_size") else c.n_embd
        self.d_head = self.d_head or width // self.heads
        if kind in ("gpt2", "gpt_neo"):
            self.out(embed, lambda o: self.put("hook_embed", o))
            self.out(base.wpe, lambda o: self.put("hook_pos_embed", o if o.dim() == 3 else o[None]))
        elif kind == "opt":
            self.out(base.project_in or embed, lambda o: self.put("hook_embed", o))
            self.out(base.embed_positions, lambda o: self.put("hook_pos_embed", o))
        else:
            self.inp(blocks[0], lambda x: self.put("hook_embed", x))
        if final is not None:
            self.norm(final, "ln_final")
        self.current = None
        for i, b in enumerate(blocks):
            self.block(i, b, kind)
        if hasattr(self.module, "eager_attention_forward"):
            original = self.module.eager_attention_forward

            def eager(module, query, key, value, attention_mask, *args, **kwargs):
                result, weights = original(module, query, key, value, attention_mask, *args, **kwargs)
                p = f"blocks.{self.current}.attn"
                if self.has_rope:
                    self.put(f"{p}.hook_rot_q", query.transpose(1, 2))
                    self.put(f"{p}.hook_rot_k", key.transpose(1, 2))
                self.put(f"{p}.hook_pattern", weights)
                scaling = kwargs.get("scaling", args[0] if args else None) or module.head_dim**-0.5
                groups = query.shape[1] // key.shape[1]
                scores = query @ key.repeat_interleave(groups, 1).transpose(2, 3) * scaling
                if kwargs.get("softcap") is not None:
                    scores = torch.tanh(scores / kwargs["softcap"]) * kwargs["softcap"]
                if attention_mask is not None:
                    scores = scores.masked_fill(attention_mask[:, :, :, : key.shape[2]] < -1, float("-inf"))
                    if torch.allclose(scores.softmax(-1), weights.float(), atol=1e-6):
                        self.put(f"{p}.hook_attn_scores", scores)
                return result, weights
            self.module.eager_attention_forward = eager
            self.restore = lambda: setattr(self.module, "eager_attention_forward", original)
        else:
            self.restore = lambda: None
        share = (getattr(c, "rope_parameters", None) or {}).get("partial_rotary_factor", 1.0)
        self.has_rope = kind not in ("gpt2", "gpt_neo", "opt") and int(self.d_head * share) > 0

    def block(self, i, b, kind):
        p = f"blocks.{i}"
        get = lambda root, *names: next((getattr(root, n) for n in names if getattr(root, n, None) is not None), None)

        def enter(x):
            self.current = i
            self.put(f"{p}.hook_resid_pre", x)
        self.inp(b, enter)
        self.out(b, lambda o: self.put(f"{p}.hook_resid_post", o))
        attn = get(b, "attn", "attention", "self_attn")
        inner = get(attn, "attention") or attn
        mlp = get(b, "mlp")
        post_normed = kind in ("gemma2", "gemma3_text", "olmo2")
        parallel = getattr(b, "use_parallel_residual", kind == "phi")
        opt_post = kind == "opt" and not b.do_layer_norm_before

        # Norms.
        ln1 = get(b, "ln_1", "input_layernorm", "self_attn_layer_norm")
        self.norm(ln1, f"{p}.ln1")
        if post_normed:
            self.norm(b.post_attention_layernorm, f"{p}.ln1_post")
            self.norm(b.post_feedforward_layernorm, f"{p}.ln2_post")
            self.norm(get(b, "pre_feedforward_layernorm"), f"{p}.ln2")
        else:
            self.norm(get(b, "ln_2", "post_attention_layernorm", "final_layer_norm"), f"{p}.ln2")

        # Projections.
        if kind == "gpt2":
            self.out(inner.c_attn, lambda o: [self.put(f"{p}.attn.hook_{n}", self.heads_of(x))
                                              for n, x in zip("qkv", o.chunk(3, -1))])
        elif kind == "gpt_neox":
            def split(o):
                o = o.reshape(o.shape[0], o.shape[1], self.heads, 3, self.d_head)
                for j, n in enumerate("qkv"):
                    self.put(f"{p}.attn.hook_{n}", o[:, :, :, j])
            self.out(inner.query_key_value, split)
        elif kind == "phi3":
            def split(o):
                q, kv = self.heads * self.d_head, self.model.config.num_key_value_heads * self.d_head
                for n, x in zip("qkv", o.split([q, kv, kv], -1)):
                    self.put(f"{p}.attn.hook_{n}", self.heads_of(x))
            self.out(inner.qkv_proj, split)
        else:
            for n in "qkv":
                self.out(getattr(inner, f"{n}_proj"), lambda o, n=n: self.put(f"{p}.attn.hook_{n}", self.heads_of(o)))
        out = get(inner, "c_proj", "dense", "out_proj", "o_proj")
        self.inp(out, lambda x: self.put(f"{p}.attn.hook_z", self.heads_of(x)))

        def attn_out(o):
            self.put(f"{p}.hook_attn_out", o)
            if not parallel and not opt_post:
                self.sites[f"{p}.hook_resid_mid"] = self.sites[f"{p}.hook_resid_pre"] + self.sites[f"{p}.hook_attn_out"]
        self.out(b.post_attention_layernorm if post_normed else out, attn_out)
        if opt_post:
            self.out(b.self_attn_layer_norm, lambda o: self.put(f"{p}.hook_resid_mid", o))

        # FFN.
        router = get(mlp, "gate", "router") if mlp is not None else None
        if router is not None and get(mlp, "experts") is not None:
            self.experts(p, mlp, router)
            return
        root = b if kind == "opt" else mlp
        down = get(root, "c_proj", "dense_4h_to_h", "fc2", "down_proj")
        if kind == "phi3":
            def fused(o):
                gate, up = o.chunk(2, -1)
                self.put(f"{p}.mlp.hook_pre", gate)
                self.put(f"{p}.mlp.hook_pre_linear", up)
            self.out(mlp.gate_up_proj, fused)
            self.out(mlp.activation_fn, lambda o: self.put(f"{p}.mlp.hook_gate_post", o))
        elif get(root, "gate_proj") is not None:
            self.out(mlp.gate_proj, lambda o: self.put(f"{p}.mlp.hook_pre", o))
            self.out(mlp.up_proj, lambda o: self.put(f"{p}.mlp.hook_pre_linear", o))
            self.out(mlp.act_fn, lambda o: self.put(f"{p}.mlp.hook_gate_post", o))
        else:
            up = get(root, "c_fc", "dense_h_to_4h", "fc1")
            self.out(up, lambda o: self.put(f"{p}.mlp.hook_pre", o))
        self.inp(down, lambda x: self.put(f"{p}.mlp.hook_post", x))
        self.out(b.post_feedforward_layernorm if post_normed else down, lambda o: self.put(f"{p}.hook_mlp_out", o))

    def experts(self, p, mlp, router):
        scores = torch.sigmoid if self.kind == "dots1" else lambda x: x.softmax(-1)

        def routed(m, i, o):
            logits, weights, chosen = o
            self.chosen = chosen
            self.put(f"{p}.mlp.hook_router_logits", logits)
            self.put(f"{p}.mlp.hook_expert_weights", scores(logits))
            self.put(f"{p}.mlp.hook_expert_gates", torch.zeros_like(logits).scatter(1, chosen, weights))
        self.hooks.append(router.register_forward_hook(routed))

        def norms(m, args):
            x, chosen = args[0], self.chosen
            # Each of the chosen alone, with weight 1.
            one = [m.forward(x, chosen[:, [j]], torch.ones_like(x[:, :1])).norm(dim=-1) for j in range(chosen.shape[1])]
            count = self.sites[f"{p}.mlp.hook_router_logits"].shape[1]
            self.put(f"{p}.mlp.hook_expert_norms", x.new_zeros(len(x), count).scatter(1, chosen, torch.stack(one, 1)))
        self.hooks.append(mlp.experts.register_forward_pre_hook(norms))
        self.out(mlp, lambda o: self.put(f"{p}.hook_mlp_out", o))

    def detach(self):
        for h in self.hooks:
            h.remove()
        self.restore()


def old_form(config):
    """config.json as transformers 4.x wrote it."""
    config = dict(config)
    config["torch_dtype"] = config.pop("dtype", "float32")
    rope = config.pop("rope_parameters", None) or {}
    kind = config["model_type"]
    config["transformers_version"] = "4.50.0"
    if kind == "gemma3_text":
        full, local = rope["full_attention"], rope["sliding_attention"]
        config["rope_theta"], config["rope_local_base_freq"] = full["rope_theta"], local["rope_theta"]
        config["rope_scaling"] = {k: v for k, v in full.items() if k != "rope_theta"}
        return config
    theta, partial = rope.pop("rope_theta", 10000.0), rope.pop("partial_rotary_factor", None)
    if kind == "gpt_neox":
        config["rotary_emb_base"], config["rotary_pct"] = theta, partial
    else:
        config["rope_theta"] = theta
        if partial is not None:
            config["partial_rotary_factor"] = partial
    name = rope.pop("rope_type", "default")
    config["rope_scaling"] = None if name == "default" else {"type": name, **rope}
    return config


def prompt(config, generator):
    """Random tokens, how many, and an image where the model reads one: its tokens stand between others."""
    if not hasattr(config, "vision_config"):
        return torch.randint(3, config.vocab_size, (1, T), generator=generator), T, {}
    vision, text = config.vision_config, config.text_config
    rows = (vision.image_size // vision.patch_size) ** 2 + (config.vision_feature_select_strategy == "full")
    tokens = torch.randint(4, text.vocab_size, (1, T), generator=generator)
    tokens = torch.cat([tokens[:, :4], torch.full((1, rows), config.image_token_index), tokens[:, 4:]], 1)
    pixels = torch.randn(1, 3, vision.image_size, vision.image_size, generator=generator)
    return tokens, T + rows, {"pixel_values": pixels}


def make(case):
    model_type, fields, extras = CASES[case]
    folder = HERE / case
    shutil.rmtree(folder, ignore_errors=True)
    seed = sum(map(ord, case))
    generator = torch.Generator().manual_seed(seed)
    config = AutoConfig.for_model(model_type, **fields)
    config._attn_implementation = "eager"
    torch.manual_seed(seed)
    sees = hasattr(config, "vision_config")
    auto = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    model = auto.from_config(config).eval()
    randomise(model, generator)
    model.tie_weights()
    model = model.to(extras.get("dtype", torch.float32))
    how = {"max_shard_size": "20KB"} if extras.get("shards") else {}
    model.save_pretrained(folder, save_original_format=not extras.get("own"), **how)
    (folder / "generation_config.json").unlink(missing_ok=True)
    model = auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tokens, length, more, extra = *prompt(config, generator), {}
    if more:
        rows = model.get_image_features(**more)
        rows = getattr(rows, "pooler_output", rows)
        extra = {"pixels": more["pixel_values"], "image_rows": rows[0].detach().reshape(-1, rows[0].shape[-1]).contiguous()}
    with torch.no_grad():
        recorder = Recorder(model)
        recorder.attach()
        logits = model(tokens, use_cache=False, **more).logits
        recorder.detach()
        greedy = model.generate(tokens, max_new_tokens=8, min_new_tokens=8, do_sample=False, use_cache=False, **more)[0, length:]
    expected = dict(recorder.sites, logits=logits[0].contiguous(), tokens=tokens[0].to(torch.int64), greedy=greedy, **extra)
    save_file(expected, folder / "expected.safetensors")
    if extras.get("old"):
        new = json.loads((folder / "config.json").read_text())
        (folder / "config_4x.json").write_text(json.dumps(old_form(new), indent=2) + "\n")
    print(f"{case}: {len(recorder.sites)} sites, largest logit {logits.abs().max():.2f}", flush=True)


if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        make(case)
