//! Reports: that of a short run has all its parts, loads nothing, and lets no text out of its place.

use std::path::Path;
use std::process::{Command, Output};

use equilibria_program::report::{study_page, StudyRow};
use roxmltree::{Document, Node, ParsingOptions};

#[path = "report/browser.rs"]
mod browser;

/// Names that would be tags, or the end of one.
const CLASSES: [&str; 2] = ["a<b", "c&\"d'>"];
const MODALITIES: [&str; 2] = [
    "<script>",
    "a modality of a rather long name, which no narrow page can hold in one line",
];

/// A folder of two modalities and two classes, and a configuration that trains on it for three epochs.
fn small_data() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: String| {
        std::fs::write(folder.path().join(name), text).expect("written");
    };
    for (split, rows) in [("tr", 24), ("te", 8)] {
        for (index, columns) in [3, 2].into_iter().enumerate() {
            let cell = |row: usize, column: usize| ((7 * row + 3 * column) % 5).to_string();
            let row = |row| {
                let cells: Vec<_> = (0..columns).map(|column| cell(row, column)).collect();
                cells.join(",") + "\n"
            };
            let name = format!("{}_{split}.csv", index + 1);
            write(&name, (0..rows).map(row).collect());
        }
        let label = |row: usize| format!("{}\n", row % 2);
        let name = format!("labels_{split}.csv");
        write(&name, (0..rows).map(label).collect());
    }
    write("classes.csv", CLASSES.join("\n"));
    write("modalities.csv", MODALITIES.join("\n"));
    let config = r#"
        data = { type = "folder" }
        backbone = { type = "encoder", hidden = 8 }
        fusion = { type = "deq" }
        training = { epochs = 3, batch = 4, validation = 0.25, optimizer = { type = "adam" } }
    "#;
    write("config.toml", config.to_owned());
    folder
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The report of a run with the given changes of the configuration.
fn report(changes: &[&str]) -> String {
    let data = small_data();
    let at = |name: &str| data.path().join(name);
    let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
    command.arg("train").arg(at("config.toml"));
    command.arg("--data").arg(data.path());
    command.arg("--out").arg(at("the run"));
    for change in changes {
        command.args(["--set", change]);
    }
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{}", text(&output));
    read(&at("the run/report.html"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a page")
}

/// The page as a tree; it must be well-formed, and load and run nothing.
fn parse(page: &str) -> Document<'_> {
    for forbidden in [
        "http://", "https://", "<script", "<link", "<img", "<iframe", "src=", "href=", "url(",
        "@import",
    ] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(page, options).expect("a well-formed page")
}

/// The text of all elements of a name.
fn texts(page: &Document<'_>, tag: &str) -> Vec<String> {
    let text = |node: Node<'_, '_>| {
        let inside = node.descendants().filter(Node::is_text);
        inside.filter_map(|node| node.text()).collect()
    };
    let all = page.descendants().filter(|node| node.has_tag_name(tag));
    all.map(text).collect()
}

/// The rows of the table with a caption, cell by cell.
fn table(page: &Document<'_>, caption: &str) -> Vec<Vec<String>> {
    let is_caption =
        |node: &Node<'_, '_>| node.has_tag_name("caption") && node.text() == Some(caption);
    let caption = page.descendants().find(is_caption).expect("the table");
    let table = caption.parent().expect("a table");
    let rows = table.descendants().filter(|node| node.has_tag_name("tr"));
    let cells = |row: Node<'_, '_>| {
        let cells = row.children().filter(Node::is_element);
        cells
            .map(|cell| cell.text().unwrap_or_default().to_owned())
            .collect()
    };
    rows.map(cells).collect()
}

#[test]
fn a_run_has_a_report_of_all_its_parts() {
    let page = report(&["seed=7"]);
    let page = parse(&page);
    assert_eq!(texts(&page, "h1"), ["the run"]);
    assert_eq!(
        texts(&page, "h2"),
        [
            "Metrics on the test rows",
            "Training",
            "Solves in training",
            "Confusion matrix of the test rows",
            "Gates",
            "Solves of the test rows",
            "Configuration",
            "Program",
        ]
    );
    assert_eq!(
        texts(&page, "figcaption"),
        [
            "Loss",
            "Metrics on the validation rows",
            "Solver steps per row, mean over equilibria",
            "Largest relative residual",
            "Solves that did not converge",
            "Rows solved",
            "Largest residual",
            "Median residual",
        ]
    );
    let facts = table(&page, "The run");
    for fact in [
        ["rows", "24 training, 8 test"],
        ["seed", "7"],
        ["element type", "f32"],
        ["device", "Cpu"],
    ] {
        assert!(
            facts.iter().any(|row| row[..] == fact),
            "{fact:?}: {facts:?}"
        );
    }
    let program = table(&page, "Versions and instruction set");
    assert_eq!(program[0], ["equilibria", env!("CARGO_PKG_VERSION")]);
    assert_eq!(
        (program[1][0].as_str(), program[2][0].as_str()),
        ("dfdx", "instruction set")
    );
    let config = texts(&page, "pre").concat();
    let config: toml::Value = toml::from_str(&config).expect("TOML");
    assert_eq!(config["seed"].as_integer(), Some(7));
    assert_eq!(
        config["fusion"]["solver"]["type"].as_str(),
        Some("anderson")
    );

    let confusion = table(&page, "Rows of each class by prediction");
    assert_eq!(confusion[0][1..], CLASSES);
    let counts = confusion[1..].iter().flat_map(|row| &row[1..]);
    let counts = counts.map(|cell| cell.parse::<usize>().expect("a count"));
    assert_eq!(counts.sum::<usize>(), 8);
    let gates = table(&page, "Gates of the modalities");
    let names: Vec<&str> = gates[1..].iter().map(|row| row[0].as_str()).collect();
    assert_eq!(names, MODALITIES);
    for row in &gates[1..] {
        assert!(row[1].parse::<f64>().expect("a number") > 0.0, "{row:?}");
    }
    let solves = table(&page, "Solves by equilibrium");
    let names: Vec<&str> = solves[1..].iter().map(|row| row[0].as_str()).collect();
    let [first, second] = MODALITIES.map(str::to_owned);
    let expected = [
        format!("theta.1 ({first})"),
        format!("theta.2 ({second})"),
        "fuse".to_owned(),
    ];
    assert_eq!(names, expected);
    let took = facts
        .iter()
        .find(|row| row[0] == "training and evaluation took");
    assert!(
        took.is_some_and(|row| row[1].ends_with(" seconds")),
        "{facts:?}"
    );

    // What is right has another color than what is wrong, of which a single one is not to be overlooked.
    let cells = page.descendants().filter_map(|node| {
        let share = node.attribute("style")?.strip_prefix("--share: ")?;
        Some((node.attribute("class")?, share.parse::<f64>().ok()?))
    });
    let wrong: Vec<f64> = cells
        .filter_map(|(class, share)| (class == "wrong").then_some(share))
        .collect();
    let errors = (1..confusion.len()).flat_map(|row| {
        let columns = (1..confusion.len()).filter(move |&column| column != row);
        columns.map(move |column| (row, column))
    });
    let errors = errors.filter(|&(row, column)| confusion[row][column] != "0");
    assert_eq!(wrong.len(), errors.count(), "{confusion:?}");
    assert!(wrong.iter().all(|&share| share >= 0.25), "{wrong:?}");

    // Every chart has a line, and a description for those who cannot see it.
    for chart in page.descendants().filter(|node| node.has_tag_name("svg")) {
        assert_eq!(chart.attribute("role"), Some("img"));
        assert!(chart
            .attribute("aria-label")
            .is_some_and(|label| label.len() > 20));
        assert!(chart
            .descendants()
            .any(|node| node.has_tag_name("polyline")));
    }
}

/// The sentence at the top of a page, with the word before it.
fn headline(page: &Document<'_>) -> (String, String) {
    let class = |node: &Node<'_, '_>| {
        let class = node.attribute("class").unwrap_or_default();
        class.starts_with("headline ")
    };
    let mut elements = page.descendants().filter(Node::is_element);
    let sentence = elements.find(class).expect("a headline");
    let before = sentence.prev_sibling_element().expect("a heading");
    assert!(before.has_tag_name("h1"));
    let text: String = sentence
        .descendants()
        .filter_map(|node| node.text().filter(|_| node.is_text()))
        .collect();
    let (word, reasons) = text.split_once(": ").expect("a word and reasons");
    (word.to_owned(), reasons.to_owned())
}

#[test]
fn a_report_begins_with_a_judgment_and_its_reasons() {
    let unsolved = report(&[
        "fusion.stop.max_evaluations=2",
        "fusion.stop.on_unconverged=accept",
    ]);
    let (word, reasons) = headline(&parse(&unsolved));
    assert_eq!(word, "Bad", "{reasons}");
    assert!(
        reasons.contains("of their 24 solves did not converge"),
        "{reasons}"
    );
    assert!(reasons.contains("in training "), "{reasons}");
    // Labels that alternate do not follow from features that repeat every five rows: three epochs find nothing.
    let (word, reasons) = headline(&parse(&report(&[])));
    assert!(["Good", "Bad"].contains(&word.as_str()));
    assert!(
        reasons.contains("of the 8 test rows are classified right"),
        "{reasons}"
    );
    assert!(
        reasons.contains("the most frequent class alone makes 50.00 %"),
        "{reasons}"
    );
    assert!(
        reasons.contains("all of their 24 solves converged"),
        "{reasons}"
    );
}

#[test]
fn parts_that_mean_nothing_to_a_run_are_left_out() {
    let page = report(&["fusion={type=\"concat\"}", "training.validation=0"]);
    let page = parse(&page);
    let headings = texts(&page, "h2").join(", ");
    assert_eq!(
        headings,
        "Metrics on the test rows, Training, Confusion matrix of the test rows, Configuration, Program"
    );
    assert_eq!(texts(&page, "figcaption"), ["Loss"]);
    let ungated = report(&[
        "fusion.stop.tolerance.relative=0.9",
        "fusion.gate=false",
        "fusion.backward.type=\"jacobian-free\"",
    ]);
    let ungated = parse(&ungated);
    assert!(!texts(&ungated, "h2").contains(&"Gates".to_owned()));
    let captions = texts(&ungated, "figcaption");
    assert!(!captions.contains(&"Solves that did not converge".to_owned()));
    let legends = texts(&ungated, "li");
    assert!(
        !legends.iter().any(|label| label == "adjoint"),
        "{legends:?}"
    );
}

fn study() -> String {
    let row = |name: &str, shift: f64| StudyRow {
        name: name.to_owned(),
        values: vec![
            [1.0, 2.0, 4.0, 3.0]
                .map(|x| 90.0 + shift + x / 3.0)
                .to_vec(),
            vec![0.1 + shift, f64::NAN, 0.12 + shift, 0.11 + shift],
        ],
    };
    let rows = [row("deq", 0.0), row("a<b", 1.5), row(MODALITIES[1], -0.5)];
    study_page("A <study>", &["accuracy, %", "loss & more"], &rows, &[])
}

#[test]
fn a_study_has_a_table_and_a_box_plot_for_every_metric() {
    let page = study();
    let page = parse(&page);
    assert_eq!(texts(&page, "h1"), ["A <study>"]);
    let rows = table(&page, "Mean ± standard deviation");
    assert_eq!(
        rows[0],
        ["configuration", "runs", "accuracy, %", "loss & more"]
    );
    // Of 1, 2, 3, 4 thirds: mean 2.5 / 3, deviation √(5 / 3) / 3.
    assert_eq!(
        rows[1],
        ["deq", "4", "90.83 ± 0.43", "0.110 ± 0.010 (3 of 4)"]
    );
    assert_eq!(rows[2][0], "a<b");
    assert_eq!(texts(&page, "figcaption"), ["accuracy, %", "loss & more"]);
    let plots = page.descendants().filter(|node| node.has_tag_name("svg"));
    for (plot, dots) in plots.zip([4, 3]) {
        let count = |tag| {
            plot.descendants()
                .filter(|node| node.has_tag_name(tag))
                .count()
        };
        assert_eq!((count("rect"), count("circle")), (3, 3 * dots));
    }
}
