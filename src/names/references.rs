//! References to variables, `$(NAME)`, as a kubelet reads and expands them.

/// The names that a text of a container, such as a variable's value, refers to by `$(NAME)`; `$$(` is an escape.
pub fn variable_references(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        while let Some(at) = rest.find('$') {
            let after = rest.get(at + 1..)?;
            if let Some(escaped) = after.strip_prefix('$') {
                rest = escaped;
                continue;
            }
            rest = after;
            if let Some((name, tail)) = after.strip_prefix('(').and_then(|open| open.split_once(')')) {
                rest = tail;
                return Some(name);
            }
        }
        None
    })
}

/// A text with the value of every variable that it refers to by `$(NAME)`, as a kubelet expands it (`expansion.Expand`);
/// `None` where `value` has none.
pub fn expand_variables(text: &str, value: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        rest = after;
        if let Some(escaped) = after.strip_prefix('$') {
            expanded.push('$');
            rest = escaped;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|open| open.split_once(')')) {
            expanded.push_str(&value(name)?);
            rest = tail;
        } else {
            expanded.push('$');
        }
    }
    expanded.push_str(rest);
    Some(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_names_that_a_text_refers_to() {
        let names = |text| variable_references(text).collect::<Vec<_>>().join(" ");
        assert_eq!(names("$(A)/x/$(B_C)"), "A B_C");
        // A name ends at the next bracket, whatever stands in it (`tryReadVariableName`).
        assert_eq!(names("$$(A) $A $( $(D)"), " $(D");
        assert_eq!(names("$$$(A)"), "A");
        assert_eq!(names(""), "");
    }

    #[test]
    fn expands_as_the_kubelet_does() {
        let value = |name: &str| (name.len() == 1).then(|| name.to_lowercase());
        let expand = |text| expand_variables(text, value);
        for (text, comes_to) in
            [("x/$(A)/$(B)", "x/a/b"), ("$$(A)", "$(A)"), ("$$$(A)", "$a"), ("$A $", "$A $"), ("", "")]
        {
            assert_eq!(expand(text).as_deref(), Some(comes_to), "{text}");
        }
        assert_eq!(expand("$(A)/$(LONG)"), None);
    }
}
