//! The list of methods. The one place that names them all.

use super::Method;

/// Every method, in the order shown.
pub static METHODS: &[&Method] = &[
    &super::view::NEXT_TOKENS,
    &super::view::TOKENS,
    &super::view::ACTIVATIONS,
    &super::view::NEURON,
    &super::view::ATTENTION,
    &super::view::LENS,
    &super::view::EXPERTS_VIEW,
    &super::view::ROUTING_MAP,
    &super::view::SUBLAYERS,
    &super::view::ANSWER_PAIR,
    &super::trace::TRACE,
    &super::fcct::FCCT,
    &super::oracle::ORACLE,
    &super::oracle::ROUTES,
    &super::router::ROUTER,
    &super::experts::EXPERTS,
    &super::prune::PRUNE,
    &super::leave_one_out::LEAVE_ONE_OUT,
    &super::head_sweep::HEAD_SWEEP,
    &super::plan_cost::PLAN_COST,
];

/// The method of an id, or of an alias.
pub fn find(id: &str) -> Option<&'static Method> {
    METHODS.iter().copied().find(|method| method.id == id || method.aliases.contains(&id))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::method::view::VIEWS;

    #[test]
    fn names_are_unique() {
        let names = || METHODS.iter().flat_map(|method| method.aliases.iter().copied().chain([method.id]));
        assert_eq!(names().collect::<BTreeSet<_>>().len(), names().count());
    }

    #[test]
    fn every_view_is_a_method() {
        assert!(VIEWS.iter().all(|view| METHODS.contains(view)));
    }
}
