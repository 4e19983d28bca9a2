//! Sample pictures that come with Sluice, each with a prompt that suits it.

/// A sample.
pub struct Sample {
    /// What it shows.
    pub name: &'static str,
    /// A prompt about it.
    pub prompt: &'static str,
    /// The PNG file.
    pub png: &'static [u8],
    /// Where the object that the prompt asks about is, where there is one: left, top, right and bottom, as shares of the sides.
    pub object: Option<[f32; 4]>,
}

impl Sample {
    /// Whether the middle of a patch lies on the object, `side` patches to a side.
    pub fn is_on_object(&self, row: usize, col: usize, side: usize) -> bool {
        let middle = |index: usize| (index as f32 + 0.5) / side.max(1) as f32;
        let (x, y) = (middle(col), middle(row));
        self.object.is_some_and(|[left, top, right, bottom]| {
            (left..=right).contains(&x) && (top..=bottom).contains(&y)
        })
    }
}

/// In the order shown: pictures of the test split of the world that the bundled checkpoint was trained on.
pub const SAMPLES: &[Sample] = &[
    Sample {
        name: "present",
        prompt: "Is there a red square?",
        png: include_bytes!("../../assets/images/present.png"),
        object: Some([0.66, 0.66, 1.0, 1.0]),
    },
    Sample {
        name: "described",
        prompt: "Describe the picture.",
        png: include_bytes!("../../assets/images/described.png"),
        object: None,
    },
    // What nearly always stands beside it is there, it is not.
    Sample {
        name: "missing half",
        prompt: "Is there a yellow square?",
        png: include_bytes!("../../assets/images/missing-half.png"),
        object: None,
    },
    Sample {
        name: "seen",
        prompt: "Is there an orange triangle?",
        png: include_bytes!("../../assets/images/seen.png"),
        object: Some([0.66, 0.66, 1.0, 1.0]),
    },
    // It is not there; the model says yes.
    Sample {
        name: "imagined",
        prompt: "Is there an orange circle?",
        png: include_bytes!("../../assets/images/imagined.png"),
        object: None,
    },
];
