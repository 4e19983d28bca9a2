//! The things that pictures show.

/// How many kinds there are.
pub const KINDS: usize = SHAPES.len() * COLOURS.len();

/// Shapes by name.
pub const SHAPES: [&str; 5] = ["circle", "square", "triangle", "cross", "ring"];

/// Colours by name, with their paint.
pub const COLOURS: [(&str, [u8; 3]); 8] = [
    ("red", [222, 40, 44]),
    ("green", [44, 168, 62]),
    ("blue", [48, 84, 232]),
    ("yellow", [238, 222, 52]),
    ("purple", [146, 52, 190]),
    ("orange", [246, 138, 30]),
    ("cyan", [62, 212, 224]),
    ("pink", [248, 136, 196]),
];

/// A shape in a colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(usize);

impl Kind {
    /// Kind `index` of [`KINDS`].
    pub fn new(index: usize) -> Self {
        Self(index % KINDS)
    }

    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..KINDS).map(Self)
    }

    /// Its number.
    pub fn index(self) -> usize {
        self.0
    }

    /// Its place in [`SHAPES`].
    pub fn shape(self) -> usize {
        self.0 % SHAPES.len()
    }

    /// Its place in [`COLOURS`].
    pub fn colour(self) -> usize {
        self.0 / SHAPES.len()
    }

    /// `circle`
    pub fn shape_name(self) -> &'static str {
        SHAPES.get(self.shape()).copied().unwrap_or_default()
    }

    /// `red`
    pub fn colour_name(self) -> &'static str {
        COLOURS.get(self.colour()).map_or("", |colour| colour.0)
    }

    /// Its paint.
    pub fn paint(self) -> [u8; 3] {
        COLOURS.get(self.colour()).map_or([0; 3], |colour| colour.1)
    }

    /// `a red circle`, `an orange ring`
    pub fn with_article(self) -> String {
        let colour = self.colour_name();
        let article = if colour.starts_with('o') { "an" } else { "a" };
        format!("{article} {colour} {}", self.shape_name())
    }
}
