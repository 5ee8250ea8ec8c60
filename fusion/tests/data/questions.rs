//! Questions about images from the files of VQA v2, and what is said of faulty ones.

use std::fs;
use std::path::Path;

use equilibria_fusion::data::{
    Answers, DataError, DataSet, OsPath, Rules, Samples, SplitName, Targets,
};
use equilibria_fusion::sources::vqa::VqaSource;
use equilibria_fusion::DataSource;
use tempfile::TempDir;

const QUESTIONS: &str = "v2_OpenEnded_mscoco_train2014_questions.json";
const ANNOTATIONS: &str = "v2_mscoco_train2014_annotations.json";
const TABLE: &str = "bottom_up_36.tsv";

/// A copy of the files, which are generated.
fn folder() -> TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/vqa");
    for entry in fs::read_dir(files).expect("the folder") {
        let from = entry.expect("a file").path();
        let to = copy.path().join(from.file_name().expect("a name"));
        fs::copy(from, to).expect("a copy");
    }
    copy
}

/// There is one split only, which serves as both.
fn source(folder: &TempDir) -> VqaSource {
    VqaSource {
        path: OsPath::from(folder.path()),
        test: "train2014".to_owned(),
        words: 6,
        regions: 4,
        ..VqaSource::default()
    }
}

fn answers(set: &DataSet) -> &Answers {
    match &set.train.targets {
        Targets::Answers(answers) => answers,
        other => panic!("{other:?}"),
    }
}

/// The file with some text replaced, once.
fn change(folder: &TempDir, file: &str, from: &str, to: &str) {
    let path = folder.path().join(file);
    let text = fs::read_to_string(&path).expect("a text");
    assert!(text.contains(from), "{file} lacks {from}");
    fs::write(path, text.replacen(from, to, 1)).expect("written");
}

fn refusal(folder: &TempDir) -> String {
    let error = source(folder).load().expect_err("faulty");
    assert!(
        matches!(error, DataError::Questions(_)),
        "{error:?}: {error}"
    );
    error.to_string()
}

#[test]
fn questions_are_words_and_regions() {
    let folder = folder();
    let set = source(&folder).load().expect("sound");
    assert_eq!((set.train.len(), set.test.len()), (3, 3));
    let [text, image] = &set.train.modalities[..] else {
        panic!("two modalities");
    };
    // "what color is the cat", "how many dogs are there", "is it sunny/bright"; 1 is UNK, 0 padding.
    assert_eq!(text.row(0), [2.0, 3.0, 4.0, 5.0, 6.0, 0.0]);
    assert_eq!(text.row(1), [7.0, 8.0, 9.0, 10.0, 11.0, 0.0]);
    assert_eq!(text.row(2), [4.0, 12.0, 13.0, 14.0, 0.0, 0.0]);
    // Three regions of the first image, and one that is not there; of the second, four of five.
    assert_eq!(image.columns, 4 * 2048);
    assert_eq!(image.row(0), image.row(1));
    assert!((image.row(0)[0] - 0.385_598_361_492_157).abs() < 1e-12);
    assert!(image.row(0)[3 * 2048..].iter().all(|x| x.abs() < 1e-300));
    assert!(image.row(2)[3 * 2048..].iter().any(|x| x.abs() > 0.1));
}

#[test]
fn arrays_of_images_and_the_table_of_all_are_the_same() {
    let folder = folder();
    let arrays = source(&folder);
    let table = VqaSource {
        features: vec![OsPath::from(TABLE)],
        ..arrays.clone()
    };
    let digest = |source: &VqaSource| {
        let samples = Samples::from(source.load().expect("sound"));
        samples.digest().expect("in memory")
    };
    assert_eq!(digest(&arrays), digest(&table));
}

#[test]
fn answers_count_as_in_the_programs() {
    let folder = folder();
    let set = source(&folder).load().expect("sound");
    assert_eq!(set.classes, ["black", "2", "yes", "brown"]);
    let answers = answers(&set);
    // "dark brown" cannot be given.
    assert_eq!(answers.rows[0].counts, [(0, 6), (3, 1)]);
    assert_eq!(answers.rows[1].counts, [(1, 8)]);
    assert_eq!(answers.rows[2].counts, [(2, 9)]);
    assert_eq!(answers.rows[0].people[6], "dark brown");
    let kinds: Vec<&str> = answers.rows.iter().map(|row| row.kind.as_str()).collect();
    assert_eq!(kinds, ["other", "number", "yes/no"]);
}

#[test]
fn without_a_list_frequent_answers_can_be_given() {
    let folder = folder();
    fs::remove_file(folder.path().join("answer_dict.json")).expect("a file");
    let mcan = VqaSource {
        occurrences: 1,
        ..source(&folder)
    };
    // Each question is there twice, once in each split.
    assert_eq!(mcan.load().expect("sound").classes, ["black", "2", "yes"]);
    let message = refusal(&folder);
    for part in [
        "no answer is frequent enough",
        "`occurrences`",
        "answer_dict.json",
    ] {
        assert!(message.contains(part), "{message}");
    }
    // Of equally frequent answers, those at the end of the alphabet; questions to learn from with others are left out.
    let mutan = VqaSource {
        rules: Rules::Mutan,
        answers: 2,
        ..source(&folder)
    };
    let set = mutan.load().expect("sound");
    assert_eq!(set.classes, ["yes", "black"]);
    assert_eq!((set.train.len(), set.test.len()), (2, 3));
}

#[test]
fn a_list_of_words_gives_their_numbers() {
    let folder = folder();
    let list = "color\nis\nUNK\nthe\n";
    fs::write(folder.path().join("words.txt"), list).expect("written");
    let set = source(&folder).load().expect("sound");
    let text = &set.train.modalities[0];
    assert_eq!(text.row(0), [3.0, 1.0, 2.0, 4.0, 3.0, 0.0]);
    fs::write(folder.path().join("words.txt"), "color\n").expect("written");
    let message = refusal(&folder);
    assert!(message.contains("words.txt: no line is `UNK`"), "{message}");
}

#[test]
fn to_predict_no_annotations_are_needed() {
    let folder = folder();
    let source = source(&folder);
    let set = source.load().expect("sound");
    fs::remove_file(folder.path().join(ANNOTATIONS)).expect("a file");
    let features = source.features(SplitName::Test).expect("questions");
    assert_eq!(features, set.test.modalities);
    let error = source.load().expect_err("no answers");
    assert!(error.to_string().contains(ANNOTATIONS), "{error}");
}

#[test]
fn the_first_questions_are_read_if_there_is_a_limit() {
    let folder = folder();
    let first = VqaSource {
        limit: 2,
        ..source(&folder)
    };
    assert_eq!(first.load().expect("sound").train.len(), 2);
}

#[test]
fn faults_are_named_by_file_entry_and_key() {
    for (file, from, to, parts) in [
        (
            QUESTIONS,
            "\"image_id\": 9,",
            "",
            &["entry 1 of `questions`, key `image_id`: it is missing"][..],
        ),
        (
            QUESTIONS,
            "\"question_id\": 9001",
            "\"question_id\": \"x\"",
            &["entry 2 of `questions`, key `question_id`: found \"x\", expected a whole number"],
        ),
        (
            QUESTIONS,
            "\"question_id\": 9001",
            "\"question_id\": 7",
            &["entry 2 of `questions`, key `question_id`", "no answers to 7"],
        ),
        (
            QUESTIONS,
            "\"image_id\": 25",
            "\"image_id\": 26",
            &["entry 3 of `questions`, key `image_id`", "no regions of image 26", "`features`"],
        ),
        (QUESTIONS, "\"questions\"", "\"question\"", &["missing field `questions`", "VQA v2"]),
        (QUESTIONS, "\"questions\": [", "\"questions\": ", &["line ", "column "]),
        (
            ANNOTATIONS,
            "\"answer_type\": \"number\"",
            "\"answer_type\": 3",
            &["entry 2 of `annotations`, key `answer_type`: found 3"],
        ),
        (
            ANNOTATIONS,
            "\"question_id\": 9001",
            "\"question_id\": 9000",
            &["entry 2 of `annotations`, key `question_id`: an earlier entry is about question 9000"],
        ),
        (
            ANNOTATIONS,
            "\"answers\": [",
            "\"answers\": [{\"answer\": \"x\"},",
            &["entry 1 of `annotations`, key `answers`: found 11 entries, expected ten"],
        ),
        (
            "answer_dict.json",
            "\"2\": 1",
            "\"2\": 7",
            &["answer_dict.json: \"2\" has the number 7"],
        ),
    ] {
        let folder = folder();
        change(&folder, file, from, to);
        let message = refusal(&folder);
        assert!(message.contains(file), "{message}");
        for part in parts {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
    }
}

#[test]
fn faults_of_a_table_are_named_by_row_and_field() {
    for (from, to, parts) in [
        (
            "9\t640",
            "nine\t640",
            "row 1, field `image_id`: found \"nine\"",
        ),
        (
            "480\t3\t",
            "480\t5\t",
            "row 1, field `features`: found 24576 bytes for 5 boxes",
        ),
        (
            "480\t3\t",
            "480\t",
            "row 1, field `features`: found 5 fields, expected 6",
        ),
        (
            "\tJm3F",
            "\tJm-F",
            "row 1, field `features`: found '-' at character 3",
        ),
    ] {
        let folder = folder();
        change(&folder, TABLE, from, to);
        let table = VqaSource {
            features: vec![OsPath::from(TABLE)],
            ..source(&folder)
        };
        let message = table.load().expect_err("faulty").to_string();
        assert!(
            message.contains(TABLE) && message.contains(parts),
            "{message}"
        );
    }
}

#[test]
fn faults_of_arrays_are_named_by_file() {
    let folder = folder();
    let image = "COCO_train2014_000000000009.jpg.npz";
    fs::rename(folder.path().join(image), folder.path().join("nine.npz")).expect("renamed");
    let message = refusal(&folder);
    assert!(
        message.contains("nine.npz: the name has no number"),
        "{message}"
    );
    fs::write(folder.path().join("nine.npz"), "x").expect("written");
    fs::rename(folder.path().join("nine.npz"), folder.path().join(image)).expect("renamed");
    let error = source(&folder).load().expect_err("no archive");
    assert!(matches!(error, DataError::InvalidArray { .. }), "{error}");
    assert!(error.to_string().contains(image), "{error}");
}

/// By the names of its columns a trained model refuses questions whose words are numbered by another list.
#[test]
fn another_list_of_words_gives_other_names() {
    let folder = folder();
    let names = |folder: &TempDir| source(folder).names().expect("names")[0].features.clone();
    let before = names(&folder);
    assert_eq!(before.as_ref().map(Vec::len), Some(6));
    assert_eq!(before, names(&folder));
    fs::write(folder.path().join("words.txt"), "UNK\nis\nit\n").expect("written");
    let listed = names(&folder);
    assert_ne!(before, listed);
    // A list is enough: the questions to learn from need not be there.
    fs::remove_file(folder.path().join(QUESTIONS)).expect("removed");
    assert_eq!(listed, names(&folder));
}
