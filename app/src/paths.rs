//! Paths as people type them, and files as they are called.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sluice_core::files::read_within;

/// Bytes of the file of user directories at most.
const MOST: u64 = 1 << 16;
/// A session that is kept, in a folder that is called by when it began, in milliseconds, and a number.
pub const SESSION: &str = "session.json";

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

/// The person's folder for pictures.
pub fn pictures() -> PathBuf {
    let home = std::env::home_dir().unwrap_or_default();
    let config = std::env::var_os("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
    // Desktops of the XDG sort call it by the person's language and say how.
    let said = read_within(&config.join("user-dirs.dirs"), MOST).ok();
    let said = said.and_then(|(text, _)| pictures_of(&String::from_utf8_lossy(&text), &home));
    said.unwrap_or_else(|| home.join("Pictures"))
}

/// As a file of the XDG user directories has it.
fn pictures_of(text: &str, home: &Path) -> Option<PathBuf> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("XDG_PICTURES_DIR="))?;
    let path = line.trim().strip_prefix('"')?.strip_suffix('"')?;
    let path = path.strip_prefix("$HOME/").map_or_else(|| PathBuf::from(path), |rest| home.join(rest));
    path.is_absolute().then_some(path)
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

/// Whether a session is one that is only kept, in a folder of ours.
pub fn is_kept(path: &Path) -> bool {
    begun(path).is_some()
}

/// When a session that is only kept began, since 1970.
fn begun(path: &Path) -> Option<Duration> {
    let folder = path.parent().filter(|_| path.ends_with(SESSION))?.file_name()?;
    let millis = folder.to_str()?.split_once('-')?.0.parse().ok()?;
    Some(Duration::from_millis(millis))
}

/// The path with `.json` behind its whole name.
pub fn with_json(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".json");
    path.with_file_name(name)
}

/// What a session's file is called: of one that was never saved, how long ago it began.
pub fn session_name(path: &Path) -> String {
    let Some(begun) = begun(path) else {
        return path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH + begun).unwrap_or_default().as_secs();
    let ago = match since {
        0..60 => "a moment".to_owned(),
        60..3600 => format!("{} min", since / 60),
        3600..172_800 => format!("{} h", since / 3600),
        _ => format!("{} days", since / 86_400),
    };
    format!("unsaved, begun {ago} ago")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{address, pictures_of, session_name, typed, with_json};

    #[test]
    fn addresses_hold_any_name() {
        assert_eq!(address(Path::new("/a/my é#1")), "file:///a/my%20%C3%A9%231");
    }

    #[test]
    fn the_folder_for_pictures_is_the_desktops() {
        let of = |text: &str| pictures_of(text, Path::new("/home/me"));
        let text =
            "# by xdg-user-dirs-update\nXDG_MUSIC_DIR=\"$HOME/Musik\"\nXDG_PICTURES_DIR=\"$HOME/Bilder\"\n";
        assert_eq!(of(text), Some("/home/me/Bilder".into()));
        assert_eq!(of("XDG_PICTURES_DIR=\"/srv/p\""), Some("/srv/p".into()));
        assert_eq!(
            (of("XDG_PICTURES_DIR=\"relative\""), of("XDG_PICTURES_DIR=x"), of("")),
            (None, None, None)
        );
    }

    #[test]
    fn sessions_are_called_by_their_file_or_their_age() {
        assert_eq!(session_name(Path::new("/a/my work.json")), "my work");
        assert_eq!(session_name(Path::new("/a/session.json")), "session");
        assert_eq!(with_json(Path::new("/a/llama3.1")), Path::new("/a/llama3.1.json"));
        assert!(session_name(Path::new("/a/1764288639000-77/session.json")).starts_with("unsaved, begun "));
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
