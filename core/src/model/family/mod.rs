//! Families: config.json -> [`Spec`] and [`Layout`]. One file each, one line in [`FAMILIES`].

use serde_json::Value;

use super::fields::{Fields, MAX_EXPERTS_IN_ALL, MAX_HEADS, MAX_LAYERS};
use super::layout::Layout;
use crate::error::{Error, Fault, Result};
use crate::spec::*;

mod dots1;
mod duo;
mod experts;
mod gemma;
mod gpt2;
mod gpt_neo;
mod gpt_neox;
mod gpt_oss;
mod llama;
mod llava;
mod mixtral;
mod olmo2;
mod olmoe;
mod opt;
mod phi;
mod phi3;
mod qwen;
mod qwen_moe;
pub(crate) mod rope;
mod stablelm;
mod starcoder2;

pub(crate) use duo::router;

/// A family of checkpoints.
pub struct Family {
    /// `model_type` of config.json.
    pub model_type: &'static str,
    /// Reads the architecture.
    pub spec: fn(&Fields) -> Result<Spec>,
    /// Where the tensors are.
    pub layout: fn(&Spec) -> Layout,
}

/// Every family that opens.
pub const FAMILIES: &[Family] = &[
    dots1::FAMILY,
    gemma::GEMMA2,
    gemma::GEMMA3,
    gpt2::FAMILY,
    gpt_neo::FAMILY,
    gpt_neox::FAMILY,
    gpt_oss::FAMILY,
    llama::LLAMA_FAMILY,
    llama::MISTRAL,
    llava::FAMILY,
    mixtral::FAMILY,
    olmo2::FAMILY,
    olmoe::FAMILY,
    opt::FAMILY,
    phi::FAMILY,
    phi3::FAMILY,
    qwen::QWEN2,
    qwen::QWEN3,
    qwen_moe::QWEN2_MOE,
    qwen_moe::QWEN3_MOE,
    stablelm::FAMILY,
    starcoder2::FAMILY,
];

/// What config.json says.
#[derive(Debug)]
pub struct Read {
    /// The architecture.
    pub spec: Spec,
    /// Where the tensors are.
    pub layout: Layout,
    /// Fields that nobody read; they change nothing here or in transformers.
    pub ignored: Vec<String>,
}

/// Read a config.
pub fn read(config: &Value) -> Result<Read> {
    let fields = Fields::new(config)?;
    let model_type = fields.text("model_type")?.ok_or_else(|| fields.bad("model_type", "is required"))?;
    let family = FAMILIES.iter().find(|family| family.model_type == model_type).ok_or_else(|| {
        let supported: Vec<&str> = FAMILIES.iter().map(|family| family.model_type).collect();
        Error::Family { model_type: model_type.chars().take(60).collect(), supported: supported.join(", ") }
    })?;
    let spec = (family.spec)(&fields)?;
    fields.only("is_encoder_decoder", &Value::Bool(false))?;
    fields.only("add_cross_attention", &Value::Bool(false))?;
    not_quantised(&fields)?;
    Ok(Read { layout: (family.layout)(&spec), ignored: fields.ignored(), spec })
}

/// Quantised numbers are refused by the names that their writers give them.
fn not_quantised(fields: &Fields) -> Result<()> {
    // MLX's own name for it; others write other things there.
    let of_mlx = |value: &&Value| value.get("bits").is_some();
    let found = [
        ("quantization_config", fields.get("quantization_config")),
        ("compression_config", fields.get("compression_config")),
        ("quantization", fields.get("quantization").filter(of_mlx)),
    ];
    let Some((name, value)) = found.into_iter().find_map(|(name, value)| Some((name, value?))) else {
        return Ok(());
    };
    let method = value.get("quant_method").and_then(Value::as_str).map(|method| {
        format!(" by {}", method.chars().filter(|c| !c.is_control()).take(40).collect::<String>())
    });
    let bits = ["bits", "w_bit", "weight_bits"].iter().find_map(|field| value.get(field)?.as_u64());
    let loaded = |field: &str| value.get(field).and_then(Value::as_bool) == Some(true);
    let bits = bits.or(loaded("load_in_4bit").then_some(4)).or(loaded("load_in_8bit").then_some(8));
    let bits = bits.map(|bits| format!(" in {bits} bits"));
    let cause = format!(
        "{name}: the weights are quantised{}{}, which is not read",
        method.unwrap_or_default(),
        bits.unwrap_or_default()
    );
    Err(Error::faulty("config.json", Fault::Quantised, cause))
}

/// The ids of `bos_token_id` and `eos_token_id`; transformers generates with what is written, not with its class's.
pub(crate) fn special_ids(fields: &Fields) -> (Option<u32>, Vec<u32>) {
    let bos = fields.get("bos_token_id").and_then(|value| ids(value).first().copied());
    (bos, fields.get("eos_token_id").map(ids).unwrap_or_default())
}

/// One id or a list of them.
pub(crate) fn ids(value: &Value) -> Vec<u32> {
    let one = std::slice::from_ref(value);
    let list = value.as_array().map_or(one, Vec::as_slice);
    list.iter().filter_map(Value::as_u64).filter_map(|id| u32::try_from(id).ok()).collect()
}

/// Heads and their width; `d_model` must divide where `head_dim` is left out.
pub(crate) fn d_head(fields: &Fields, d_model: usize, heads: usize) -> Result<usize> {
    if let Some(d_head) = fields.count_opt("head_dim")? {
        return Ok(d_head);
    }
    if d_model.is_multiple_of(heads) {
        Ok(d_model / heads)
    } else {
        Err(Error::config("num_attention_heads", heads, format!("does not divide the width {d_model}")))
    }
}

/// Some config classes refuse this even where `head_dim` is given.
pub(crate) fn heads_divide(fields: &Fields, common: &Common) -> Result<()> {
    if common.d_model.is_multiple_of(common.heads) {
        Ok(())
    } else {
        Err(fields.bad("num_attention_heads", format!("does not divide the width {}", common.d_model)))
    }
}

/// Key and value heads; must divide the query heads.
fn kv_heads(fields: &Fields, heads: usize, class: Option<usize>) -> Result<usize> {
    // Written as null they follow the query heads, whatever the class says.
    let default = class.filter(|_| !fields.has("num_key_value_heads")).unwrap_or(heads);
    let kv_heads = fields.count_or("num_key_value_heads", default)?;
    if heads.is_multiple_of(kv_heads) {
        Ok(kv_heads)
    } else {
        Err(fields.bad("num_key_value_heads", format!("does not divide the {heads} query heads")))
    }
}

/// What a config class of transformers says where config.json is silent.
#[derive(Clone, Copy)]
pub(crate) struct Class {
    /// `hidden_size`
    pub d_model: usize,
    /// `num_attention_heads`
    pub heads: usize,
    /// `num_key_value_heads`; `None` follows the query heads.
    pub kv_heads: Option<usize>,
    /// `num_hidden_layers`
    pub n_layers: usize,
    /// `intermediate_size`
    pub d_mlp: usize,
    /// `max_position_embeddings`
    pub context: usize,
    /// `sliding_window`
    pub window: Option<usize>,
    /// `vocab_size`
    pub vocab: usize,
    /// `tie_word_embeddings`
    pub tied: bool,
}

/// What most families after Llama share; a family changes a few fields of its layers.
pub(crate) struct Common {
    /// `hidden_size`
    pub d_model: usize,
    /// `num_attention_heads`
    pub heads: usize,
    /// `num_key_value_heads`
    pub kv_heads: usize,
    /// `head_dim`, or `hidden_size` / `num_attention_heads`
    pub d_head: usize,
    /// `num_hidden_layers`
    pub n_layers: usize,
    /// `intermediate_size`
    pub d_mlp: usize,
    /// `max_position_embeddings`
    pub trained: usize,
    /// `sliding_window`; the families decide which layers have one.
    pub window: Option<usize>,
    class: &'static Class,
}

impl Common {
    /// The fields, or the config class's values.
    pub(crate) fn read(fields: &Fields, class: &'static Class) -> Result<Self> {
        Self::with_window(fields, class, fields.count_opt("sliding_window")?)
    }

    /// The same with the window that the file says.
    pub(crate) fn with_window(fields: &Fields, class: &'static Class, window: Option<usize>) -> Result<Self> {
        let d_model = fields.count_or("hidden_size", class.d_model)?;
        let heads = fields.count_up_to_or("num_attention_heads", MAX_HEADS, class.heads)?;
        Ok(Self {
            d_model,
            heads,
            kv_heads: kv_heads(fields, heads, class.kv_heads)?,
            d_head: d_head(fields, d_model, heads)?,
            n_layers: fields.count_up_to_or("num_hidden_layers", MAX_LAYERS, class.n_layers)?,
            d_mlp: fields.count_or("intermediate_size", class.d_mlp)?,
            trained: fields.context_or("max_position_embeddings", class.context)?,
            window: if fields.has("sliding_window") { window } else { class.window },
            class,
        })
    }

    /// A pre-norm block with a gated, bias-free FFN and attention without biases.
    pub(crate) fn layer(&self, norm: NormSpec, act: Activation, rope: &RopeSpec) -> LayerSpec {
        LayerSpec {
            residual: Residual::Sequential,
            ln1: Some(norm),
            ln1_post: None,
            ln2: Some(norm),
            ln2_post: None,
            attn: AttnSpec {
                heads: self.heads,
                kv_heads: self.kv_heads,
                d_head: self.d_head,
                scale: 1.0 / (self.d_head as f32).sqrt(),
                qkv_bias: false,
                out_bias: false,
                clip: None,
                qk_norm: None,
                rope: (rope.dims > 0).then(|| rope.clone()),
                window: None,
                soft_cap: None,
                sinks: false,
            },
            ffn: FfnSpec { d_mlp: self.d_mlp, gated: true, act, in_bias: false, out_bias: false },
            small: None,
            experts: None,
        }
    }

    /// The whole spec around the layers.
    pub(crate) fn spec(
        &self,
        fields: &Fields,
        model_type: &str,
        layers: Vec<LayerSpec>,
        norm: NormSpec,
    ) -> Result<Spec> {
        let (bos, eos) = special_ids(fields);
        let experts: usize =
            layers.iter().filter_map(|layer| layer.experts).map(|experts| experts.count).sum();
        if experts > MAX_EXPERTS_IN_ALL {
            return Err(fields.bad(
                "num_hidden_layers",
                format!("{experts} experts in all are more than {MAX_EXPERTS_IN_ALL}"),
            ));
        }
        let rope = layers.first().and_then(|layer| layer.attn.rope.as_ref());
        Ok(Spec {
            model_type: model_type.into(),
            d_model: self.d_model,
            vocab: fields.count_or("vocab_size", self.class.vocab)?,
            context: rope.map_or(self.trained, |rope| rope.context(self.trained)),
            embed: EmbedSpec { width: self.d_model, scale: None, positions: None },
            layers,
            ln_final: Some(norm),
            unembed: UnembedSpec {
                tied: fields.flag_or("tie_word_embeddings", self.class.tied)?,
                bias: false,
                soft_cap: None,
            },
            bos,
            eos,
            vision: None,
            routers: Vec::new(),
        })
    }

    /// Which layers attend through the window: `layer_types` where given, else `by_default`.
    pub(crate) fn windowed(&self, fields: &Fields, by_default: impl Fn(usize) -> bool) -> Result<Vec<bool>> {
        let windowed = self.layer_types(fields, by_default)?;
        if self.window.is_none() && windowed.contains(&true) {
            return Err(fields.bad("sliding_window", "the layers with sliding_attention need one"));
        }
        Ok(windowed)
    }

    fn layer_types(&self, fields: &Fields, by_default: impl Fn(usize) -> bool) -> Result<Vec<bool>> {
        let Some(types) = fields.texts("layer_types")? else {
            return Ok((0..self.n_layers).map(by_default).collect());
        };
        if types.len() != self.n_layers {
            return Err(fields.bad("layer_types", format!("must name all {} layers", self.n_layers)));
        }
        let windowed = |kind: &str| match kind {
            "sliding_attention" => Ok(true),
            "full_attention" => Ok(false),
            _ => Err(fields.bad("layer_types", format!("\"{kind}\" is not supported"))),
        };
        types.into_iter().map(windowed).collect()
    }
}
