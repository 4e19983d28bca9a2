//! One part of the items of a list.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Every `of`-th item, from the `number`-th on: item i belongs to shard (i mod `of`) + 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    number: u64,
    of: u64,
}

impl Shard {
    /// All items.
    pub const ALL: Self = Self { number: 1, of: 1 };

    /// Shard `number` of `of`, from 1; none where there is no such shard.
    pub fn new(number: u64, of: u64) -> Option<Self> {
        (1..=of).contains(&number).then_some(Self { number, of })
    }

    /// Whether an item belongs to it.
    pub fn has(self, item: u64) -> bool {
        item % self.of == self.number - 1
    }

    /// How many of so many items belong to it.
    pub fn share(self, items: u64) -> u64 {
        (items + self.of).saturating_sub(self.number) / self.of
    }

    /// Its number, from 1.
    pub fn number(self) -> u64 {
        self.number
    }

    /// How many shards there are.
    pub fn of(self) -> u64 {
        self.of
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self::ALL
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
        let shard = parts.and_then(|(number, of)| Self::new(number, of));
        shard.ok_or_else(|| format!("{text}: a shard is K/N with K from 1 to N, such as 2/4"))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl TryFrom<String> for Shard {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_the_items_out() {
        for text in ["3/2", "0/2", "1/0", "1", "a/b", "-1/2", "1/2/3"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
        for item in 0..20 {
            let owners: Vec<u64> =
                (1..=3).filter(|number| Shard::new(*number, 3).unwrap().has(item)).collect();
            assert_eq!(owners, [item % 3 + 1]);
            let shares: Vec<u64> = (1..=3).map(|number| Shard::new(number, 3).unwrap().share(item)).collect();
            let own =
                |number| (0..item).filter(|item| Shard::new(number, 3).unwrap().has(*item)).count() as u64;
            assert_eq!(shares, [own(1), own(2), own(3)]);
        }
        assert_eq!("2/4".parse::<Shard>().unwrap().to_string(), "2/4");
    }
}
