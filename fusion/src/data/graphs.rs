//! Graphs as text: the format of the benchmark collection of TU Dortmund.
//!
//! Reference: C. Morris et al., TUDataset: A collection of benchmark datasets for learning with graphs, arXiv 2007.08663.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::SeedableRng;

use super::{text, DataError, DataSet, Split, Table, Targets};

/// Labeled graphs, whose nodes have features.
#[derive(Debug, Clone, PartialEq)]
pub struct Graphs {
    /// Name of the collection.
    pub name: String,
    /// All graphs, in the order of the files.
    pub graphs: Vec<Graph>,
    /// Features of a node.
    pub features: usize,
    /// Class of each graph.
    pub labels: Vec<usize>,
    /// Names of the classes.
    pub classes: Vec<String>,
}

/// One graph.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    /// Number of nodes.
    pub nodes: usize,
    /// Features of one node after the other.
    pub features: Vec<f64>,
    /// From and to, as they are listed: both ways in graphs without directions.
    pub edges: Vec<(usize, usize)>,
}

/// How graphs become rows of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraphRows {
    /// Nodes that a row has room for; 0: those of the largest graph.
    pub nodes: usize,
    /// Parts of a cross-validation, in each of which classes are as frequent as in all.
    pub folds: usize,
    /// The part that is tested, from 1.
    pub fold: usize,
    /// Seed of the parts.
    pub seed: u64,
}

impl Graphs {
    /// Reads `NAME_A.txt`, pairs of nodes from 1, `NAME_graph_indicator.txt`, the graph of each node, `NAME_graph_labels.txt`, and one or
    /// both of `NAME_node_labels.txt`, of which each becomes a feature of 0 and 1, and `NAME_node_attributes.txt`, from a folder with one
    /// such collection. Nodes without either have the feature 1.
    ///
    /// # Errors
    /// [`DataError::MissingFile`], [`DataError::Graph`] with file and row, and those of files that cannot be read.
    pub fn read(folder: &Path) -> Result<Self, DataError> {
        let name = collection(folder)?;
        let file = |part: &str| folder.join(format!("{name}_{part}.txt"));
        let indicator = Numbers::read(&file("graph_indicator"))?;
        let graph_labels = Numbers::read(&file("graph_labels"))?;
        let count = graph_labels.rows.len();
        let (mut graphs, mut places) = (vec![Graph::default(); count], Vec::new());
        for (row, graph) in indicator.indices(count)? {
            let [graph] = graph[..] else {
                return Err(indicator.wrong(row, "one graph number"));
            };
            places.push((graph, graphs[graph].nodes));
            graphs[graph].nodes += 1;
        }
        let edges = Numbers::read(&file("A"))?;
        for (row, ends) in edges.indices(places.len())? {
            let [from, to] = ends[..] else {
                return Err(edges.wrong(row, "two node numbers"));
            };
            let ((graph, from), (other, to)) = (places[from], places[to]);
            if graph != other {
                return Err(edges.wrong(row, "two nodes of one graph"));
            }
            graphs[graph].edges.push((from, to));
        }
        let features = node_features(&file("node_labels"), &file("node_attributes"), places.len())?;
        for ((graph, _), features) in places.iter().zip(&features) {
            graphs[*graph].features.extend(features);
        }
        let (labels, classes) = graph_labels.classes()?;
        Ok(Self {
            features: features.first().map_or(0, Vec::len),
            graphs,
            labels,
            classes: classes.iter().map(f64::to_string).collect(),
            name,
        })
    }

    /// One row per graph in two modalities: features of the nodes, and the adjacency matrix D^(−1/2) (A + I) D^(−1/2), D the sums of its
    /// rows, whose Perron root is 1, with zeros for nodes that are not there.
    ///
    /// # Errors
    /// [`DataError::Fold`] for parts that are not there, [`DataError::LargeGraph`], and those of [`DataSet::validate`].
    pub fn into_set(self, rows: GraphRows) -> Result<DataSet, DataError> {
        let GraphRows { folds, fold, .. } = rows;
        if folds < 2 || folds > self.graphs.len() || !(1..=folds).contains(&fold) {
            return Err(DataError::Fold { fold, folds });
        }
        let largest = self.graphs.iter().map(|graph| graph.nodes).max();
        let largest = largest.unwrap_or(0);
        let nodes = if rows.nodes > 0 { rows.nodes } else { largest };
        if largest > nodes {
            return Err(DataError::LargeGraph { largest, nodes });
        }
        let mut all = Split {
            modalities: vec![
                table("node features", nodes * self.features),
                table("adjacency", nodes * nodes),
            ],
            targets: Targets::Classes(self.labels.clone()),
        };
        for graph in &self.graphs {
            let mut features = graph.features.clone();
            features.resize(nodes * self.features, 0.0);
            all.modalities[0].values.extend(features);
            all.modalities[1].values.extend(graph.adjacency(nodes));
        }
        let parts = folds_of(&self.labels, folds, rows.seed);
        let rows = |tested: bool| -> Vec<usize> {
            let chosen = (0..parts.len()).filter(|&row| (parts[row] == fold - 1) == tested);
            chosen.collect()
        };
        let set = DataSet {
            name: self.name,
            classes: self.classes,
            train: all.select(&rows(false)),
            test: all.select(&rows(true)),
        };
        set.validate()?;
        Ok(set)
    }
}

impl Graph {
    /// `D^(−1/2) (A + I) D^(−1/2)`, row-major, with room for so many nodes.
    fn adjacency(&self, room: usize) -> Vec<f64> {
        let mut a = vec![0.0; room * room];
        let loops = (0..self.nodes).map(|node| (node, node));
        for (from, to) in self.edges.iter().copied().chain(loops) {
            a[from * room + to] = 1.0;
        }
        let degree = |row: &[f64]| row.iter().sum::<f64>().max(1.0).sqrt();
        let scales: Vec<f64> = a.chunks_exact(room).map(degree).collect();
        let entries = a.iter().enumerate();
        let scaled = entries.map(|(place, a)| a / (scales[place / room] * scales[place % room]));
        scaled.collect()
    }
}

fn table(name: &str, columns: usize) -> Table {
    Table {
        name: name.to_owned(),
        columns,
        values: Vec::new(),
    }
}

/// The part of each row: rows of a class are dealt out in turn, in random order.
fn folds_of(labels: &[usize], folds: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.shuffle(&mut StdRng::seed_from_u64(seed));
    order.sort_by_key(|&row| labels[row]);
    let mut parts = vec![0; labels.len()];
    for (turn, row) in order.into_iter().enumerate() {
        parts[row] = turn % folds;
    }
    parts
}

/// What the files of a folder are called: `NAME` of `NAME_A.txt`.
fn collection(folder: &Path) -> Result<String, DataError> {
    let entries = std::fs::read_dir(folder).map_err(|_| DataError::NoFolder {
        path: folder.display().to_string(),
    })?;
    let names = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_suffix("_A.txt").map(str::to_owned)
    });
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    match names.len() {
        1 => Ok(names.swap_remove(0)),
        count => Err(DataError::MissingFile {
            file: folder.join("NAME_A.txt").display().to_string(),
            reason: format!("a folder of graphs has one such list of edges, found {count}"),
        }),
    }
}

/// A file of numbers, some per line.
struct Numbers {
    path: PathBuf,
    rows: Vec<Vec<f64>>,
}

impl Numbers {
    fn read(path: &Path) -> Result<Self, DataError> {
        let (path, mut rows) = (path.to_owned(), Vec::new());
        for (row, line) in (1..).zip(text::read_lines(&path)?) {
            let cells = line.split(',').map(|cell| cell.trim().parse::<f64>());
            let numbers: Result<Vec<f64>, _> = cells.collect();
            let finite = numbers.ok().filter(|row| row.iter().all(|x| x.is_finite()));
            rows.push(finite.ok_or_else(|| wrong(&path, row, "numbers separated by commas"))?);
        }
        Ok(Self { path, rows })
    }

    fn wrong(&self, row: usize, expected: &'static str) -> DataError {
        wrong(&self.path, row, expected)
    }

    /// Rows of numbers from 1 to `count`, counted from 0, each with its place in the file.
    fn indices(&self, count: usize) -> Result<Vec<(usize, Vec<usize>)>, DataError> {
        let row = |(row, numbers): (usize, &Vec<f64>)| {
            let index = |&number: &f64| {
                let proper = number >= 1.0 && number <= count as f64 && number.fract() == 0.0;
                proper.then(|| number as usize - 1)
            };
            let indices: Option<Vec<usize>> = numbers.iter().map(index).collect();
            let expected = "whole numbers from 1 to the number of what they count";
            Ok((row, indices.ok_or_else(|| self.wrong(row, expected))?))
        };
        (1..).zip(&self.rows).map(row).collect()
    }

    /// The number in the one column of each row among the different ones, which are sorted.
    fn classes(&self) -> Result<(Vec<usize>, Vec<f64>), DataError> {
        let mut labels = Vec::with_capacity(self.rows.len());
        for (row, numbers) in (1..).zip(&self.rows) {
            let [label] = numbers[..] else {
                return Err(self.wrong(row, "one label"));
            };
            labels.push(label);
        }
        let mut classes = labels.clone();
        classes.sort_by(f64::total_cmp);
        classes.dedup();
        let place = |label: &f64| classes.partition_point(|class| class < label);
        Ok((labels.iter().map(place).collect(), classes))
    }
}

fn wrong(path: &Path, row: usize, expected: &'static str) -> DataError {
    DataError::Graph {
        file: path.display().to_string(),
        row,
        expected,
    }
}

/// The features of each node: a 1 at the place of its label, then its attributes.
fn node_features(
    labels: &Path,
    attributes: &Path,
    nodes: usize,
) -> Result<Vec<Vec<f64>>, DataError> {
    let mut features = vec![Vec::new(); nodes];
    if labels.exists() {
        let file = Numbers::read(labels)?;
        file.check_rows(nodes)?;
        let (places, classes) = file.classes()?;
        for (features, place) in features.iter_mut().zip(places) {
            features.extend((0..classes.len()).map(|class| f64::from(u8::from(class == place))));
        }
    }
    if attributes.exists() {
        let file = Numbers::read(attributes)?;
        file.check_rows(nodes)?;
        let widths: BTreeSet<usize> = file.rows.iter().map(Vec::len).collect();
        if widths.len() > 1 {
            return Err(file.wrong(file.rows.len(), "as many attributes in every row"));
        }
        for (features, own) in features.iter_mut().zip(&file.rows) {
            features.extend(own);
        }
    }
    for features in features.iter_mut().filter(|features| features.is_empty()) {
        features.push(1.0);
    }
    Ok(features)
}

impl Numbers {
    fn check_rows(&self, nodes: usize) -> Result<(), DataError> {
        match self.rows.len() == nodes {
            true => Ok(()),
            false => Err(self.wrong(self.rows.len(), "one row for each node")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path of three nodes, and a pair, with two labels of nodes.
    fn written(folder: &Path) {
        let files = [
            ("A", "1, 2\n2, 1\n2, 3\n3, 2\n4, 5\n5, 4\n"),
            ("graph_indicator", "1\n1\n1\n2\n2\n"),
            ("graph_labels", "1\n-1\n"),
            ("node_labels", "0\n3\n0\n0\n3\n"),
        ];
        for (part, text) in files {
            std::fs::write(folder.join(format!("T_{part}.txt")), text).expect("a file");
        }
    }

    #[test]
    fn a_graph_becomes_a_row_of_features_and_one_of_edges() {
        let folder = std::env::temp_dir().join(format!("graphs-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        written(&folder);
        let graphs = Graphs::read(&folder).expect("graphs");
        assert_eq!((graphs.features, &graphs.labels[..]), (2, &[1, 0][..]));
        assert_eq!(graphs.classes, ["-1", "1"]);
        assert_eq!(graphs.graphs[0].features, [1.0, 0.0, 0.0, 1.0, 1.0, 0.0]);
        let a = graphs.graphs[0].adjacency(4);
        // Degrees with loops are 2, 3 and 2; the fourth node is not there.
        let (end, edge, middle) = (1.0 / 2.0, 1.0 / 6f64.sqrt(), 1.0 / 3.0);
        let expected = [
            [end, edge, 0.0, 0.0],
            [edge, middle, edge, 0.0],
            [0.0, edge, end, 0.0],
            [0.0; 4],
        ];
        approx::assert_relative_eq!(a[..], expected.concat()[..], epsilon = 1e-15);
        let rows = GraphRows {
            nodes: 0,
            folds: 2,
            fold: 1,
            seed: 0,
        };
        let set = graphs.clone().into_set(rows).expect("two parts");
        assert_eq!((set.train.len(), set.test.len()), (1, 1));
        assert_eq!(set.train.modalities[1].columns, 9);
        let small = graphs.clone().into_set(GraphRows { nodes: 2, ..rows });
        assert!(matches!(
            small,
            Err(DataError::LargeGraph {
                largest: 3,
                nodes: 2
            })
        ));
        let beyond = graphs.into_set(GraphRows { fold: 3, ..rows });
        assert!(matches!(beyond, Err(DataError::Fold { fold: 3, folds: 2 })));

        std::fs::write(folder.join("T_A.txt"), "1, 2\n3, 4\n").expect("a file");
        let error = Graphs::read(&folder).expect_err("an edge between graphs");
        assert!(
            error
                .to_string()
                .ends_with("T_A.txt, row 2: expected two nodes of one graph"),
            "{error}"
        );
        for number in ["0", "-1", "6", "0.5", "1e300"] {
            std::fs::write(folder.join("T_A.txt"), format!("1, {number}\n")).expect("a file");
            let error = Graphs::read(&folder).expect_err(number).to_string();
            assert!(
                error.contains("T_A.txt, row 1: expected whole numbers"),
                "{error}"
            );
        }
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn classes_are_as_frequent_in_every_part() {
        let labels: Vec<usize> = (0..50).map(|row| usize::from(row % 5 == 0)).collect();
        let parts = folds_of(&labels, 10, 1);
        for part in 0..10 {
            let rows = (0..50).filter(|&row| parts[row] == part);
            let (all, ones) = rows.fold((0, 0), |(all, ones), row| (all + 1, ones + labels[row]));
            assert_eq!((all, ones), (5, 1));
        }
        assert_ne!(parts, folds_of(&labels, 10, 2));
    }
}
