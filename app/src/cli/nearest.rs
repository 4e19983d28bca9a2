//! What was meant by a name that does not exist.

/// Similarity from which on a name is suggested, as clap suggests flags and subcommands.
const NEAR: f64 = 0.7;

/// The most similar of the names, where one is similar: by letters in common, or but for one slip of the fingers, which in a
/// short name leaves few in common.
pub fn nearest<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let similarity = |name: &str| match strsim::damerau_levenshtein(written, name) {
        1 if written.len() > 2 => 1.0,
        _ => strsim::jaro(written, name),
    };
    let near = names.into_iter().map(|name| (similarity(name), name));
    let best = near.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (best.0 > NEAR).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn similar_names_are_suggested() {
        let names = ["run", "trace", "tokens", "routes", "router", "leave-one-out"];
        for (written, meant) in [
            ("traec", Some("trace")),
            ("token", Some("tokens")),
            ("rnu", Some("run")),
            ("rotes", Some("routes")),
            ("leave_one_out", Some("leave-one-out")),
            ("Trace", Some("trace")),
            ("xyz", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, names), meant, "{written}");
        }
    }
}
