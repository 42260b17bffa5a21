//! Patterns for names: `*` is any characters, `?` is one.

/// Whether the whole of `name` fits.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<_>, Vec<_>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut next) = (0, 0);
    // Where the last `*` stands, and how far the name was when it took its first character.
    let mut star = None;
    while next < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, next));
                at += 1;
            }
            Some(c) if *c == '?' || *c == name[next] => (at, next) = (at + 1, next + 1),
            // Back to the last star, which takes one character more: an earlier one need not change.
            _ => match &mut star {
                Some((place, taken)) => {
                    *taken += 1;
                    (at, next) = (*place + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name) in [
            ("server", "server"),
            ("*", ""),
            ("*", "anything"),
            ("server-*-linux", "server-1.2-linux"),
            ("*-linux*", "a-linux-linux.gz"),
            ("s?rver", "sörver"),
            ("**a*b", "xaxab"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("server", "server2"),
            ("", "a"),
            ("?", ""),
            ("server-*-linux", "server-1.2-linux.gz"),
            ("*a", "ab"),
            ("a*a", "a"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        assert!(!matches(&"*a".repeat(50), &"a".repeat(2000).replace("aa", "ab")[..49]));
    }
}
