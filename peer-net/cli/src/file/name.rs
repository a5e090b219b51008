//! What received files are called.

/// Longest file name, in bytes; what common file systems take, less room for a number or a part of
/// the checksum.
const NAME_MAX: usize = 230;
/// How many ` (1)`, ` (2)` … are tried before the name gets a part of the checksum.
const NUMBERS_MAX: u32 = 100;
/// How many names are tried in all.
const TRIED_MAX: u32 = 1000;
/// Names that Windows keeps for devices.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "com", "lpt"];

/// The part of a remote's file name that may be used here; where nothing is left, a name of the
/// checksum.
///
/// Folders, control characters, those that turn text around, leading dots and dashes, and what
/// Windows forbids go.
pub(super) fn safe_name(name: &str, sha256: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String = last
        .chars()
        .filter(|c| {
            !crate::shown::steers(*c)
                && !matches!(c, ':' | '*' | '?' | '"' | '<' | '>' | '|' | '\u{FEFF}')
        })
        .collect();
    let mut kept = kept
        .trim()
        .trim_start_matches(['.', '-', ' '])
        .trim_end_matches(['.', ' ']);
    while kept.len() > NAME_MAX {
        let cut = kept.char_indices().next_back().map_or(0, |(at, _)| at);
        kept = &kept[..cut];
    }
    let stem = kept
        .split('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let device = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    if kept.is_empty() {
        format!("file-{}", part(sha256))
    } else if DEVICES.contains(&device) && stem.len() <= device.len() + 1 {
        format!("_{kept}")
    } else {
        kept.to_owned()
    }
}

/// Enough of a checksum to tell files apart.
fn part(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

/// `name`, `name (1)`, `name (2)` …, with the number before the extension; after so many with a
/// part of the checksum, too. `None` when enough were tried.
pub(super) fn numbered(name: &str, number: u32, sha256: &str) -> Option<String> {
    let mark = match number {
        0 => return Some(name.to_owned()),
        1..NUMBERS_MAX => format!(" ({number})"),
        NUMBERS_MAX => format!(" {}", part(sha256)),
        number if number < TRIED_MAX => format!(" {} ({number})", part(sha256)),
        _ => return None,
    };
    Some(match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => format!("{stem}{mark}.{extension}"),
        _ => format!("{name}{mark}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_strangers_stay_in_the_folder() {
        let safe = |name: &str| safe_name(name, "0123456789abcdef");
        assert_eq!(safe("../../etc/passwd"), "passwd");
        assert_eq!(safe("C:\\boot.ini"), "boot.ini");
        assert_eq!(safe(".bashrc"), "bashrc");
        assert_eq!(safe("a\0\nb"), "ab");
        assert_eq!(safe("-rf"), "rf");
        assert_eq!(safe("--.-x"), "x");
        assert_eq!(safe("photo\u{202e}gpj.exe"), "photogpj.exe");
        assert_eq!(safe("a\u{2066}b\u{200f}c"), "abc");
        assert_eq!(safe("nul.txt"), "_nul.txt");
        assert_eq!(safe("COM1"), "_COM1");
        assert_eq!(safe("comic"), "comic");
        for nothing in ["", "..", "/", "\u{202e}", "-"] {
            assert_eq!(safe(nothing), "file-0123456789ab");
        }
        assert!(safe(&"ü".repeat(500)).len() <= NAME_MAX);
    }

    #[test]
    fn numbers_go_before_the_extension() {
        let numbered = |name, number| numbered(name, number, "0123456789abcdef");
        assert_eq!(numbered("a.tar", 0).as_deref(), Some("a.tar"));
        assert_eq!(numbered("a.tar", 2).as_deref(), Some("a (2).tar"));
        assert_eq!(numbered("a", 1).as_deref(), Some("a (1)"));
        assert_eq!(
            numbered("a.tar", 100).as_deref(),
            Some("a 0123456789ab.tar")
        );
        assert_eq!(numbered("a", TRIED_MAX), None);
    }
}
