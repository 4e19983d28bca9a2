//! Lists that others wrote: which of their fields are ours.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// Our fields by what stands for them in a list of somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Map(Vec<(String, Stands)>);

/// What stands for a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
enum Stands {
    /// Another field.
    Field(String),
    /// A text with fields in it: what is outside of braces, and between them a field's name, by turns.
    Text(Vec<String>),
}

impl Map {
    /// `answer=attribute`, or `answer= {attribute}`: a text with the field in it. None of no pairs.
    ///
    /// # Errors
    /// One that has no `=`, no name, or an open brace.
    pub fn parse(pairs: &[String]) -> Result<Option<Self>, String> {
        let pairs = pairs.iter().map(|pair| Self::pair(pair)).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Self(pairs)).filter(|map| !map.0.is_empty()))
    }

    fn pair(pair: &str) -> Result<(String, Stands), String> {
        let wrong = || format!("{pair}: give OURS=THEIRS, or OURS=TEXT with {{THEIRS}} in it");
        let (name, stands) = pair
            .split_once('=')
            .filter(|(name, rest)| !name.is_empty() && !rest.is_empty())
            .ok_or_else(wrong)?;
        if !stands.contains(['{', '}']) {
            return Ok((name.into(), Stands::Field(stands.into())));
        }
        let mut parts = Vec::new();
        let mut rest = stands;
        while let Some((before, inside)) = rest.split_once('{') {
            let (field, behind) = inside.split_once('}').ok_or_else(wrong)?;
            if field.is_empty() || before.contains('}') || field.contains('{') {
                return Err(wrong());
            }
            parts.extend([before.to_owned(), field.to_owned()]);
            rest = behind;
        }
        if rest.contains('}') {
            return Err(wrong());
        }
        parts.push(rest.to_owned());
        Ok((name.into(), Stands::Text(parts)))
    }

    /// An entry of such a list. Of its own fields those with one of our names are taken, and no others.
    ///
    /// # Errors
    /// What is no object, lacks a field, or is not what it should be.
    pub fn read<T: DeserializeOwned>(&self, json: &str, ours: &[&str]) -> Result<T, String> {
        // As text: values that nobody asks for would take many times theirs.
        let theirs: BTreeMap<String, &RawValue> =
            serde_json::from_str(json).map_err(|error| error.to_string())?;
        let field = |name: &str| theirs.get(name).ok_or_else(|| format!("there is no field {name}"));
        let mut fields: BTreeMap<&str, String> = BTreeMap::new();
        for name in ours {
            if let Some(value) = theirs.get(*name) {
                fields.insert(name, value.get().to_owned());
            }
        }
        for (name, stands) in &self.0 {
            let value = match stands {
                Stands::Field(theirs) => field(theirs)?.get().to_owned(),
                Stands::Text(parts) => {
                    let part = |(at, part): (usize, &String)| match at % 2 {
                        0 => Ok(part.clone()),
                        _ => said(field(part)?).ok_or_else(|| format!("{part} is no text")),
                    };
                    let text = parts.iter().enumerate().map(part).collect::<Result<String, String>>()?;
                    quoted(&text)?
                }
            };
            fields.insert(name, value);
        }
        let pair = |(name, value): (&&str, &String)| Ok(format!("{}:{value}", quoted(name)?));
        let pairs = fields.iter().map(pair).collect::<Result<Vec<String>, String>>()?;
        serde_json::from_str(&format!("{{{}}}", pairs.join(","))).map_err(|error| error.to_string())
    }
}

/// A text, or a number as it is written.
fn said(value: &RawValue) -> Option<String> {
    let text = value.get();
    serde_json::from_str(text).ok().or_else(|| text.parse::<f64>().ok().map(|_| text.to_owned()))
}

/// A text as JSON has it.
fn quoted(text: &str) -> Result<String, String> {
    serde_json::to_string(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fact {
        prompt: String,
        answer: String,
    }

    #[test]
    fn others_names_stand_for_ours() {
        let map = Map::parse(&["answer= {attribute}!".into()]).unwrap().unwrap();
        let json = r#"{"prompt": "A is in", "attribute": "B", "known_id": 3}"#;
        let ours = ["prompt", "answer"];
        let fact: Fact = map.read(json, &ours).unwrap();
        assert_eq!(fact, Fact { prompt: "A is in".into(), answer: " B!".into() });
        let map = Map::parse(&["answer=attribute".into(), "prompt={a} {b}".into()]).unwrap().unwrap();
        let fact: Fact = map.read(r#"{"attribute": "x", "a": "y", "b": 2}"#, &ours).unwrap();
        assert_eq!(fact, Fact { prompt: "y 2".into(), answer: "x".into() });
        let lacks = map.read::<Fact>(r#"{"attribute": "x", "a": "y"}"#, &ours).unwrap_err();
        assert_eq!(lacks, "there is no field b");
        assert!(map.read::<Fact>("[1]", &ours).is_err());
        for wrong in ["answer", "=x", "a=", "a={", "a=}", "a={}", "a={b{c}}", "a={b}}"] {
            assert!(Map::parse(&[wrong.into()]).is_err(), "{wrong}");
        }
        assert_eq!(Map::parse(&[]), Ok(None));
    }
}
