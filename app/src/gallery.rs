//! Sample pictures that come with Sluice, each with a prompt that suits it.

/// A sample.
pub struct Sample {
    /// What it shows.
    pub name: &'static str,
    /// A prompt about it.
    pub prompt: &'static str,
    /// The PNG file.
    pub png: &'static [u8],
}

/// In the order shown.
pub const SAMPLES: &[Sample] = &[
    Sample {
        name: "red circle",
        prompt: "The picture shows a",
        png: include_bytes!("../../assets/images/red-circle.png"),
    },
    Sample {
        name: "blue square above",
        prompt: "Above the yellow square stands a",
        png: include_bytes!("../../assets/images/blue-square-above.png"),
    },
];
