//! The code of the README and of the book, compiled with the dependencies that the book names: users name no other crates.

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../src/attention.md")]
struct Attention;

#[cfg(doctest)]
#[doc = include_str!("../../src/coming-from.md")]
struct ComingFrom;

#[cfg(doctest)]
#[doc = include_str!("../../src/composition.md")]
struct Composition;

#[cfg(doctest)]
#[doc = include_str!("../../src/contract.md")]
struct Contract;

#[cfg(doctest)]
#[doc = include_str!("../../src/implicit-layers.md")]
struct ImplicitLayers;

#[cfg(doctest)]
#[doc = include_str!("../../src/models.md")]
struct Models;

#[cfg(doctest)]
#[doc = include_str!("../../src/plugins.md")]
struct Plugins;

#[cfg(doctest)]
#[doc = include_str!("../../src/row-map.md")]
struct RowMap;

#[cfg(doctest)]
#[doc = include_str!("../../src/sequences.md")]
struct Sequences;

#[cfg(doctest)]
#[doc = include_str!("../../src/several-equilibria.md")]
struct SeveralEquilibria;

#[cfg(doctest)]
#[doc = include_str!("../../src/training-loop.md")]
struct TrainingLoop;

#[cfg(doctest)]
#[doc = include_str!("../../src/troubleshooting.md")]
struct Troubleshooting;

#[cfg(test)]
mod tests {
    /// The methods of a trait as they are declared, without bodies, comments and line breaks.
    fn methods(text: &str, name: &str) -> Vec<String> {
        let (_, text) = (text.split_once(&format!("pub trait {name}"))).expect("the trait");
        let lines = text.lines().take_while(|line| *line != "}");
        let code = lines.map(|line| line.split("//").next().unwrap_or("").trim());
        let code = code.collect::<Vec<_>>().join(" ");
        let declared = code.split("fn ").skip(1);
        let declared = declared.map(|rest| rest.split([';', '{']).next().unwrap_or(""));
        // Names of parameters that a default does not use begin with an underscore.
        let plain = |text: &str| text.replace(", _", ", ");
        declared.map(|text| plain(text.trim())).collect()
    }

    #[test]
    fn the_contract_on_its_page_is_the_contract() {
        let page = include_str!("../../src/contract.md");
        let map = include_str!("../../../core/src/map.rs");
        let vectors = include_str!("../../../core/src/vectors.rs");
        let solver = include_str!("../../../core/src/solver.rs");
        for (name, source) in [
            ("Vectors", vectors),
            ("Map", map),
            ("DifferentiableMap", map),
            ("FixedPointSolver", solver),
            ("Iteration", solver),
        ] {
            let shown = methods(page, name);
            assert!(shown.len() >= 3, "{shown:?}");
            assert_eq!(shown, methods(source, name));
        }
    }

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
