//! One plugin, one file of its name.

use std::collections::BTreeSet;
use std::path::Path;

use equilibria_core::registry::Plugin;

/// What breaks the rule that a folder has one file for each of some plugins, named like it: files of the folder that are none
/// of theirs, and names of plugins that stand in another file.
///
/// # Errors
/// If the folder cannot be read.
pub fn misplaced(plugins: &[Plugin], folder: &Path) -> std::io::Result<Vec<String>> {
    let stem = |path: &Path| {
        path.file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
    };
    let files =
        std::fs::read_dir(folder)?.map(|entry| Ok(stem(&entry?.path()).unwrap_or_default()));
    let files = files.collect::<std::io::Result<BTreeSet<String>>>()?;
    let names: BTreeSet<String> = plugins.iter().map(|plugin| plugin.name.clone()).collect();
    let elsewhere = |plugin: &&Plugin| stem(Path::new(plugin.file)).as_ref() != Some(&plugin.name);
    let strangers = plugins
        .iter()
        .filter(elsewhere)
        .map(|plugin| plugin.name.clone());
    Ok(files
        .symmetric_difference(&names)
        .cloned()
        .chain(strangers)
        .collect())
}
