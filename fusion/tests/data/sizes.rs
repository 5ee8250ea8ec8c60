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
                    DataError::Size(SizeError { .. }),
                    &format!("`{name}`"),
                    &format!("`{field}` must be from"),
                    &format!("got {size}")
                );
            }
        }
    }
}
