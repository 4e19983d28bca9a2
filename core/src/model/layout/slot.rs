//! The parameters of a model, and a tensor that holds one of them.

/// Where in the model a tensor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    /// Block, or `None` outside.
    pub layer: Option<usize>,
    /// Which parameter.
    pub role: Role,
    /// Weight or bias.
    pub part: WeightPart,
}

/// Weight or bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WeightPart {
    /// The matrix, or a norm's factor.
    Weight,
    /// The bias.
    Bias,
}

/// The parameters of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Role {
    Embed,
    Positions,
    ProjectIn,
    ProjectOut,
    Ln1,
    Ln1Post,
    Ln2,
    Ln2Post,
    Query,
    Key,
    Value,
    /// Fused query, key and value.
    Qkv,
    Out,
    QueryNorm,
    KeyNorm,
    /// StableLM: the norm of one query head.
    QueryNormHead(usize),
    KeyNormHead(usize),
    Gate,
    Up,
    /// Fused gate and up.
    GateUp,
    Down,
    SmallGate,
    SmallUp,
    SmallDown,
    ExpertRouter,
    ExpertCorrection,
    ExpertGate(usize),
    ExpertUp(usize),
    ExpertDown(usize),
    /// All experts in one tensor.
    ExpertsGateUp,
    ExpertsDown,
    SharedGate,
    SharedUp,
    SharedDown,
    /// What the shared expert's output is multiplied by.
    SharedShare,
    Sinks,
    LnFinal,
    Unembed,
    /// Image tower and projector.
    Vision(VisionRole),
    /// Matrix of a learned router, by its place in [`crate::spec::Spec::routers`].
    Router(usize),
}

/// A tensor that a checkpoint of some spec must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Decl {
    /// Where it goes.
    pub slot: Slot,
    /// Its name in the file, without the family's prefix if `prefixed`.
    pub name: String,
    /// Whether the family's prefix stands before the name.
    pub prefixed: bool,
    /// Its shape in the file.
    pub shape: Vec<usize>,
}

impl Decl {
    /// Number of parameters; [`u64::MAX`] stands for more.
    pub fn len(&self) -> u64 {
        self.shape.iter().fold(1, |all, &side| all.saturating_mul(side as u64))
    }

    /// Whether the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Parameters of tower and projector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum VisionRole {
    Class,
    Patches,
    Positions,
    NormPre,
    Ln1,
    Query,
    Key,
    Value,
    Out,
    Ln2,
    Up,
    Down,
    NormPost,
    Project1,
    Project2,
}
