//! Arrays as NumPy writes them.
//!
//! Reference: NEP 1, A simple file format for NumPy arrays; versions 1 to 3 of the format.

use safetensors::tensor::Dtype;

const MAGIC: &[u8] = b"\x93NUMPY";

/// An array of numbers, still encoded.
#[derive(Debug, PartialEq)]
pub(super) struct Npy<'a> {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Whether the first index runs fastest.
    pub fortran: bool,
    /// Little-endian, exactly as many bytes as the shape calls for.
    pub data: &'a [u8],
}

/// Reads a whole file; the error says what is wrong with it.
pub(super) fn parse(bytes: &[u8]) -> Result<Npy<'_>, String> {
    let cut = || "the file ends within its header".to_owned();
    let rest = (bytes.strip_prefix(MAGIC))
        .ok_or("the file does not begin like an NPY file, with \\x93NUMPY")?;
    let (&[major, _minor], rest) = rest.split_first_chunk().ok_or_else(cut)?;
    let (length, rest) = match major {
        1 => {
            let (length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        other => {
            return Err(format!(
                "found version {other} of the format, known are 1 to 3"
            ))
        }
    };
    let (header, data) = rest.split_at_checked(length).ok_or_else(cut)?;
    // Latin-1 in versions 1 and 2; names of fields alone could leave ASCII, and there are none.
    let header = std::str::from_utf8(header).map_err(|_| "the header is not text")?;
    let descr = value(header, "descr")?;
    let (dtype, size) = element(descr)?;
    let damaged = || format!("the header is damaged: {}", header.trim_end());
    let shape = shape(value(header, "shape")?).ok_or_else(damaged)?;
    let fortran = match value(header, "fortran_order")? {
        "True" => true,
        "False" => false,
        _ => return Err(damaged()),
    };
    let expected = shape.iter().try_fold(size, |a, &b| a.checked_mul(b));
    if expected != Some(data.len()) {
        let expected = expected.map_or("more".to_owned(), |bytes| bytes.to_string());
        let found = data.len();
        return Err(format!(
            "found {found} bytes of data, expected {expected} for shape {shape:?} and type {}",
            descr.trim_matches('\''),
        ));
    }
    Ok(Npy {
        dtype,
        shape,
        fortran,
        data,
    })
}

/// The text of a value of the header, `{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2), }`.
fn value<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    let absent = || format!("the header has no entry '{key}'");
    let (_, rest) = (header.split_once(&format!("'{key}':"))).ok_or_else(absent)?;
    let rest = rest.trim_start();
    let end = match rest.as_bytes().first() {
        Some(b'(') => rest.find(')').map(|end| end + 1),
        Some(b'[') => rest.find(']').map(|end| end + 1),
        _ => rest.find([',', '}']),
    };
    Ok(rest[..end.ok_or_else(absent)?].trim_end())
}

/// Type and size in bytes of an element.
fn element(descr: &str) -> Result<(Dtype, usize), String> {
    Ok(match descr.trim_matches('\'') {
        "<f4" => (Dtype::F32, 4),
        "<f8" => (Dtype::F64, 8),
        "|i1" => (Dtype::I8, 1),
        "<i2" => (Dtype::I16, 2),
        "<i4" => (Dtype::I32, 4),
        "<i8" => (Dtype::I64, 8),
        "|u1" | "|b1" => (Dtype::U8, 1),
        "<u2" => (Dtype::U16, 2),
        "<u4" => (Dtype::U32, 4),
        "<u8" => (Dtype::U64, 8),
        other => {
            return Err(format!(
                "found type {other}, expected little-endian numbers such as <f4, <f8 or <i8"
            ))
        }
    })
}

/// `(3, 2)`, `(3,)` or `()`.
fn shape(text: &str) -> Option<Vec<usize>> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    let lengths = inner.split(',').map(str::trim);
    let lengths = lengths.filter(|length| !length.is_empty());
    lengths.map(|length| length.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of the given version and header text.
    fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = [MAGIC, &[version, 0]].concat();
        match version {
            1 => bytes.extend((header.len() as u16).to_le_bytes()),
            _ => bytes.extend((header.len() as u32).to_le_bytes()),
        }
        [&bytes, header.as_bytes(), data].concat()
    }

    fn header(descr: &str, shape: &str) -> String {
        format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}    \n")
    }

    #[test]
    fn every_version_is_read() {
        for version in 1..=3 {
            let bytes = file(version, &header("'<i2'", "(2, 1)"), &[1, 0, 2, 0]);
            let npy = parse(&bytes).expect("sound");
            assert_eq!((npy.dtype, npy.fortran), (Dtype::I16, false));
            assert_eq!((npy.shape, npy.data), (vec![2, 1], &[1, 0, 2, 0][..]));
        }
        let newer = file(4, &header("'<i2'", "(1,)"), &[1, 0]);
        assert!(parse(&newer).is_err_and(|problem| problem.contains("version 4")));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let bytes = file(1, &header("'|u1'", "(3,)"), &[1, 2, 3]);
        assert!(parse(&bytes).is_ok());
        for end in 0..bytes.len() {
            assert!(parse(&bytes[..end]).is_err(), "{end} bytes");
        }
        assert!(parse(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn headers_that_make_no_sense_are_explained() {
        let problem = |descr: &str, shape: &str| {
            let bytes = file(1, &header(descr, shape), &[0; 8]);
            parse(&bytes).expect_err("faulty")
        };
        for (descr, shape, part) in [
            ("'>f8'", "(1,)", "type >f8"),
            ("'|O'", "(1,)", "type |O"),
            ("[('a', '<f4'), ('b', '<f4')]", "(1,)", "type [('a'"),
            ("'<f8'", "(-1,)", "damaged"),
            ("'<f8'", "1", "damaged"),
            ("'<f8'", "(2,)", "found 8 bytes of data, expected 16"),
            ("'<f8'", "(4611686018427387904, 8)", "expected more"),
        ] {
            let problem = problem(descr, shape);
            assert!(problem.contains(part), "{problem}");
        }
        let bytes = file(1, "{'descr': '<f8', 'shape': (1,)}", &[0; 8]);
        let problem = parse(&bytes).expect_err("faulty");
        assert!(problem.contains("no entry 'fortran_order'"), "{problem}");
    }
}
