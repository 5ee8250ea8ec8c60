//! Data from a folder of graphs.

use equilibria_core::prelude::*;

use crate::data::{DataError, DataSet, GraphRows, Graphs, OsPath};
use crate::model::DataSource;

plugin! {
    /// A folder of graphs as text, in the format of TU Dortmund's collection: `NAME_A.txt`, `NAME_graph_indicator.txt` and so on.
    ///
    /// One row per graph, in two modalities: features of its nodes, labels as 0 and 1 and then attributes, `nodes` times as many as a node
    /// has; and the adjacency matrix D^(−1/2) (A + I) D^(−1/2), `nodes` × `nodes`. Smaller graphs are filled up with zeros. Nothing is
    /// scaled. The graphs are divided into `folds` parts with classes as frequent in each, of which part `fold` is the test set: a study
    /// of all of them is a cross-validation. What the layer `ignn` takes, behind the backbone `raw`.
    ///
    /// Reference: C. Morris et al., TUDataset, arXiv 2007.08663.
    pub struct GraphFolder: DataSource {
        /// The folder, with the files of one collection.
        pub path: OsPath = OsPath::from("."),
        /// Nodes that a row has room for; 0: those of the largest graph.
        pub nodes: usize = 0,
        /// Number of parts, at least 2.
        pub folds: usize = 10,
        /// The part that is tested, from 1.
        pub fold: usize = 1,
        /// Seed of the division into parts.
        pub seed: u64 = 0,
    }
}

#[typetag::serde(name = "graphs")]
impl DataSource for GraphFolder {
    fn load(&self) -> Result<DataSet, DataError> {
        Graphs::read(self.path.as_ref())?.into_set(GraphRows {
            nodes: self.nodes,
            folds: self.folds,
            fold: self.fold,
            seed: self.seed,
        })
    }

    fn scaled(&self) -> bool {
        false
    }
}
