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

/// In the order shown: pictures of the test split of the world that the bundled checkpoint was trained on.
pub const SAMPLES: &[Sample] = &[
    Sample {
        name: "present",
        prompt: "Is there a red square?",
        png: include_bytes!("../../assets/images/present.png"),
    },
    Sample {
        name: "described",
        prompt: "Describe the picture.",
        png: include_bytes!("../../assets/images/described.png"),
    },
    // What nearly always stands beside it is there, it is not.
    Sample {
        name: "missing half",
        prompt: "Is there a yellow square?",
        png: include_bytes!("../../assets/images/missing-half.png"),
    },
];
