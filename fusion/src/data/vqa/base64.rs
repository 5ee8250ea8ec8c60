//! Bytes in text (RFC 4648, section 4).

/// The bytes of a text; the error says what is wrong with it.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, String> {
    let padded = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - padded.len() > 2 {
        return Err(format!(
            "found {} characters, expected a multiple of 4 (base64)",
            text.len()
        ));
    }
    let mut bytes = Vec::with_capacity(padded.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0u32);
    for (place, character) in (1..).zip(padded.bytes()) {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            other => {
                let other = char::from(other);
                return Err(format!(
                    "found {other:?} at character {place}, expected letters, digits, + and / (base64)"
                ));
            }
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 4648, section 10.
    #[test]
    fn the_examples_of_the_standard_are_decoded() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decode(text), Ok(bytes.as_bytes().to_vec()), "{text}");
        }
        assert_eq!(decode("+/+/"), Ok(vec![0xFB, 0xFF, 0xBF]));
    }

    #[test]
    fn what_is_no_base64_is_refused_with_its_place() {
        for (text, part) in [
            ("Zg=", "3 characters"),
            ("Z===", "4 characters"),
            ("Zm-v", "'-' at character 3"),
        ] {
            let error = decode(text).expect_err(text);
            assert!(error.contains(part), "{error}");
        }
    }
}
