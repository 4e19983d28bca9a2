//! Long jobs made of many runs: one file per method. A study advances one sublayer per step, so that whoever drives it
//! can slice, cancel and serve others in between.

mod ablation;
mod beam;
mod calibration;
mod curves;
mod distance;
mod duo;
mod estimate;
mod experts;
mod fcct;
mod foresight;
mod greedy;
mod grid;
pub mod oracle;
mod prune;
mod restore;
mod rivals;
mod router;
mod routes;
mod text_routes;
mod trace;

pub use ablation::{Ablation, LeftOut, ablate};
pub use beam::{Beam, BeamRun};
pub use calibration::{pieces, pieces_at_most, reading};
pub use distance::Distance;
pub use duo::OracleRun;
pub use estimate::estimate;
pub use experts::{
    Agreement, BlockUse, EXPERT_SITES, ExpertFindings, ExpertUse, block_use, entropy, experts,
};
pub use fcct::{FcctRun, iri_table};
pub use greedy::{Greedy, GreedyRun};
pub use grid::{Cells, Estimate, Grid, GridAsk, GridNoise, grid};
pub use prune::{Candidate, Method, PruneAsk, Pruning, Removal, prune};
pub use restore::{Batch, Case, Disturbance, Followed, Restorer};
pub use rivals::{Rivals, RivalsRun, Routed};
pub use router::RouterRun;
pub use routes::{MOST_PATTERNS, Oracle, RouteLosses, RouteTree, TokenRoute, every_route};
pub use text_routes::{TextRoutes, text_routes};
pub use trace::{PATCH_NOISE, TraceRun};
