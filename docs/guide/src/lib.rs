//! The code of the composition guide, compiled with the dependencies that the guide names.

#[cfg(doctest)]
#[doc = include_str!("../../src/composition.md")]
struct CompositionGuide;

#[cfg(doctest)]
#[doc = include_str!("../../src/attention.md")]
struct Attention;

#[cfg(test)]
mod tests {
    /// Names on the lines after `[dependencies]`, up to an empty one.
    fn dependencies(text: &str) -> Vec<&str> {
        let mut lines = text.lines().skip_while(|line| *line != "[dependencies]");
        lines.next();
        let lines = lines.take_while(|line| !line.trim().is_empty());
        let mut names: Vec<&str> = lines
            .filter_map(|line| line.split([' ', '.', '=']).next())
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn the_guide_names_the_dependencies_its_code_is_compiled_with() {
        let page = dependencies(include_str!("../../src/composition.md"));
        assert_eq!(page, dependencies(include_str!("../Cargo.toml")));
        assert!(page.contains(&"dfdx"), "{page:?}");
    }
}
