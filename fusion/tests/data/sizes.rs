//! Sizes of what is generated.

use equilibria_core::registry;
use equilibria_core::serde_json::json;
use equilibria_fusion::data::{DataError, SizeError};
use equilibria_fusion::DataSource;

#[test]
fn generated_data_of_no_size_or_of_a_huge_one_is_refused_by_its_field() {
    for (name, fields) in [
        ("generated-movies", &["train", "test", "text", "poster"][..]),
        ("generated-questions", &["train", "test"]),
        ("generated-rooms", &["train", "test", "points", "boxes"]),
        (
            "generated-sentiments",
            &["train", "test", "places", "sound"],
        ),
    ] {
        for field in fields {
            for size in [0, (1 << 20) + 1, usize::MAX] {
                let source = json!({ "type": name, *field: size });
                let source: Box<dyn DataSource> = registry::parse(source).expect("it parses");
                assert_error!(
                    source.load().expect_err("refused"),
                    DataError::Size(SizeError::Range { .. }),
                    &format!("`{name}`"),
                    &format!("`{field}` must be from"),
                    &format!("got {size}")
                );
            }
        }
    }
}

#[test]
fn generated_data_that_no_memory_holds_is_refused() {
    let most = 1 << 20;
    for source in [
        json!({ "type": "generated-movies", "train": most, "text": most, "poster": most }),
        json!({ "type": "generated-rooms", "train": most, "points": most }),
        json!({ "type": "generated-rooms", "train": most, "boxes": most }),
        json!({ "type": "generated-sentiments", "test": most, "places": most, "sound": most }),
        json!({ "type": "generated-sentiments", "places": most, "sound": most }),
    ] {
        let source: Box<dyn DataSource> = registry::parse(source).expect("it parses");
        assert_error!(
            source.load().expect_err("refused"),
            DataError::Size(SizeError::Total { .. }),
            "rows of",
            "ask for fewer rows"
        );
    }
}
