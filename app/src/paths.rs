//! Paths as people type them.

use std::path::{Path, PathBuf};

/// A typed or pasted path: quotes around it go, a leading `~` is the home folder.
pub fn typed(text: &str) -> PathBuf {
    let text = text.trim();
    let quoted = ['"', '\''].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote));
    let text = quoted.unwrap_or(text);
    let home = match text.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => std::env::home_dir().zip(Some(rest)),
        _ => None,
    };
    match home {
        Some((home, rest)) => home.join(rest.trim_start_matches('/')),
        None => PathBuf::from(text),
    }
}

/// An absolute path as an address that the desktop opens.
pub fn address(path: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let letter = |&byte: &u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .map(letter)
        .fold("file://".to_owned(), |address, part| address + &part)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{address, typed};

    #[test]
    fn addresses_hold_any_name() {
        assert_eq!(address(Path::new("/a/my é#1")), "file:///a/my%20%C3%A9%231");
    }

    #[test]
    fn quotes_and_the_home_folder() {
        assert_eq!(typed(" \"/models/my llama\" "), Path::new("/models/my llama"));
        assert_eq!(typed("'/a'"), Path::new("/a"));
        assert_eq!(typed("\"/a'"), Path::new("\"/a'"), "quotes that do not match are part of the name");
        let home = std::env::home_dir().unwrap();
        assert_eq!((typed("~"), typed("~/x y")), (home.clone(), home.join("x y")));
        assert_eq!(typed("~x"), Path::new("~x"), "somebody else's home is not looked up");
    }
}
