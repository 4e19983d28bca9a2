//! Sample pictures that come with Sluice, each with a prompt that suits it.

/// A sample.
pub struct Sample {
    /// What it shows.
    pub name: &'static str,
    /// A prompt about it.
    pub prompt: &'static str,
    /// The PNG file.
    pub png: &'static [u8],
    /// Patches of the object that the prompt asks about, row and column, at six patches a side; none where there is none.
    pub object: &'static [[usize; 2]],
}

/// In the order shown: pictures of the test split of the world that the bundled checkpoint was trained on.
pub const SAMPLES: &[Sample] = &[
    Sample {
        name: "present",
        prompt: "Is there a red square?",
        png: include_bytes!("../../assets/images/present.png"),
        object: &[[4, 4], [4, 5], [5, 4], [5, 5]],
    },
    Sample {
        name: "described",
        prompt: "Describe the picture.",
        png: include_bytes!("../../assets/images/described.png"),
        object: &[],
    },
    // What nearly always stands beside it is there, it is not.
    Sample {
        name: "missing half",
        prompt: "Is there a yellow square?",
        png: include_bytes!("../../assets/images/missing-half.png"),
        object: &[],
    },
];
