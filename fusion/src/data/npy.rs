//! Arrays as NumPy writes them.
//!
//! The header is read by the crate `npyz`; the numbers become little-endian ones, of the types that safetensors has too.

use npyz::{DType, Endianness, NpyHeader, Order, TypeChar, TypeStr};
use safetensors::tensor::Dtype;

/// The header of an array of numbers has two brackets.
const MOST_BRACKETS: usize = 100;

/// An array of numbers, still encoded.
#[derive(Debug, PartialEq)]
pub(super) struct Npy {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Whether the first index runs fastest.
    pub fortran: bool,
    /// Little-endian, exactly as many bytes as the shape calls for.
    pub data: Vec<u8>,
}

/// What the header of a file tells of its array.
#[derive(Debug, PartialEq)]
pub(super) struct Described {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Whether the first index runs fastest.
    pub fortran: bool,
    /// Bytes of a number.
    pub size: usize,
    /// Whether the first of these counts most.
    pub big_endian: bool,
    /// Bytes before the numbers.
    pub start: usize,
    /// As it is written.
    element: String,
}

impl Described {
    /// Makes sure that so many bytes of numbers are what the shape calls for.
    pub fn check_bytes(&self, found: u64) -> Result<(), String> {
        let bytes = self
            .shape
            .iter()
            .try_fold(self.size, |a, &b| a.checked_mul(b));
        if bytes.is_some_and(|bytes| bytes as u64 == found) {
            return Ok(());
        }
        let expected = bytes.map_or("more".to_owned(), |bytes| bytes.to_string());
        let (shape, element) = (&self.shape, &self.element);
        Err(format!(
            "found {found} bytes of data, expected {expected} for shape {shape:?} and type {element}"
        ))
    }
}

/// Reads the header of a file, of which `bytes` are the beginning; the error says what is wrong with it.
pub(super) fn describe(bytes: &[u8]) -> Result<Described, String> {
    check_header(bytes)?;
    let mut data = bytes;
    let header = NpyHeader::from_reader(&mut data)
        .map_err(|error| format!("the file has no whole header of an NPY file ({error})"))?;
    let described = header.dtype();
    let DType::Plain(element) = &described else {
        let found = described.descr();
        return Err(format!(
            "found records, {found}; expected plain numbers: save one field, `a['field']`"
        ));
    };
    let shape = header.shape().iter();
    Ok(Described {
        dtype: number_type(element)?,
        shape: shape.map(|&length| length as usize).collect(),
        fortran: header.order() == Order::Fortran,
        size: element.num_bytes().unwrap_or(1),
        big_endian: element.endianness() == Endianness::Big,
        start: bytes.len() - data.len(),
        element: element.to_string(),
    })
}

/// Reads a whole file; the error says what is wrong with it.
pub(super) fn parse(bytes: &[u8]) -> Result<Npy, String> {
    let array = describe(bytes)?;
    let mut data = bytes[array.start..].to_vec();
    array.check_bytes(data.len() as u64)?;
    if array.big_endian {
        data.chunks_exact_mut(array.size).for_each(<[u8]>::reverse);
    }
    Ok(Npy {
        dtype: array.dtype,
        shape: array.shape,
        fortran: array.fortran,
        data,
    })
}

/// Bytes of the header, with what stands before it, where the file begins with these 12 bytes.
pub(super) fn header_bytes(bytes: [u8; 12]) -> usize {
    match bytes[6] {
        1 => 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]])),
        _ => 12 + u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize,
    }
}

/// `npyz` multiplies the lengths of a shape without looking for overflow, and descends into brackets without a limit, so
/// damaged headers are refused before.
fn check_header(bytes: &[u8]) -> Result<(), String> {
    let header = header(bytes).unwrap_or_default();
    let numbers = header.split(|byte| !byte.is_ascii_digit());
    let length = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<f64>().ok();
    let product: f64 = numbers.filter_map(length).filter(|&n| n >= 1.0).product();
    let brackets = header.iter().filter(|byte| b"([{".contains(byte)).count();
    match product < u64::MAX as f64 && brackets < MOST_BRACKETS {
        true => Ok(()),
        false => Err("the header is damaged, or describes no array of numbers".to_owned()),
    }
}

/// The bytes of the header; how many there are is written in front of it, in two bytes or, from version 2 on, in four.
fn header(bytes: &[u8]) -> Option<&[u8]> {
    let (start, length): (usize, usize) = match bytes.get(6)? {
        1 => (
            10,
            usize::from(u16::from_le_bytes(*bytes.get(8..)?.first_chunk()?)),
        ),
        _ => (
            12,
            u32::from_le_bytes(*bytes.get(8..)?.first_chunk()?) as usize,
        ),
    };
    bytes.get(start..start.checked_add(length)?)
}

/// The type of numbers of an element.
fn number_type(element: &TypeStr) -> Result<Dtype, String> {
    Ok(match (element.type_char(), element.size_field()) {
        (TypeChar::Bool, 1) => Dtype::BOOL,
        (TypeChar::Int, 1) => Dtype::I8,
        (TypeChar::Int, 2) => Dtype::I16,
        (TypeChar::Int, 4) => Dtype::I32,
        (TypeChar::Int, 8) => Dtype::I64,
        (TypeChar::Uint, 1) => Dtype::U8,
        (TypeChar::Uint, 2) => Dtype::U16,
        (TypeChar::Uint, 4) => Dtype::U32,
        (TypeChar::Uint, 8) => Dtype::U64,
        (TypeChar::Float, 2) => Dtype::F16,
        (TypeChar::Float, 4) => Dtype::F32,
        (TypeChar::Float, 8) => Dtype::F64,
        (kind, size) => return Err(format!("found type {element}, {}", remedy(kind, size))),
    })
}

/// What a type of no plain numbers is, and what to do about it.
fn remedy(kind: TypeChar, size: u64) -> &'static str {
    match (kind, size) {
        (TypeChar::RawData, 2) => {
            "the bytes of a type NumPy does not know, most likely bfloat16 of ml_dtypes; convert them, `a.astype('float32')`"
        }
        (TypeChar::RawData, _) => {
            "the bytes of a type NumPy does not know, such as float8 or int4 of ml_dtypes; convert them, `a.astype('float32')`"
        }
        (TypeChar::Float, _) => "long double, which differs from machine to machine; convert it, `a.astype('float64')`",
        (TypeChar::Complex, _) => "complex numbers; save `a.real`, `a.imag` or `abs(a)`",
        (TypeChar::Object, _) => "pickled Python objects; convert them, `a.astype('float64')`",
        (TypeChar::UnicodeStr | TypeChar::ByteStr, _) => {
            "text; class names go into labels_tr.csv and labels_te.csv, names of samples into K_tr_ids.csv"
        }
        (TypeChar::DateTime | TypeChar::TimeDelta, _) => {
            "points or spans of time; convert them to numbers, e.g. days since a date"
        }
        _ => "expected numbers such as <f4, <f8 or <i8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of the given version and header text.
    fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = [&b"\x93NUMPY"[..], &[version, 0]].concat();
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
            assert_eq!((npy.shape, npy.data), (vec![2, 1], vec![1, 0, 2, 0]));
        }
        let newer = file(4, &header("'<i2'", "(1,)"), &[1, 0]);
        assert!(parse(&newer).is_err_and(|problem| problem.contains("version: (4, 0)")));
    }

    #[test]
    fn headers_are_read_however_they_are_written() {
        for header in [
            r#"{"descr": "<i2", "fortran_order": False, "shape": (1, 1)}"#,
            "{'descr' : '<i2', 'fortran_order' : False, 'shape' : (1 , 1) , }",
            "{'shape':(1,1),'descr':'<i2','fortran_order':False}",
        ] {
            let npy = parse(&file(1, header, &[7, 0])).expect(header);
            assert_eq!((npy.dtype, npy.shape), (Dtype::I16, vec![1, 1]));
        }
        let big = parse(&file(
            1,
            &header("'>u4'", "(2,)"),
            &[0, 0, 0, 1, 0, 0, 1, 0],
        ));
        assert_eq!(big.expect("sound").data, [1, 0, 0, 0, 0, 1, 0, 0]);
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
            ("'|O'", "(1,)", "pickled Python objects"),
            ("'<V2'", "(4,)", "most likely bfloat16 of ml_dtypes"),
            ("'|V1'", "(8,)", "float8"),
            ("'<c8'", "(1,)", "complex numbers"),
            ("'<U2'", "(1,)", "class names"),
            ("'<M8[ns]'", "(1,)", "time"),
            ("'<f16'", "(1,)", "long double"),
            ("[('a', '<f4'), ('b', '<f4')]", "(1,)", "found records"),
            ("'<f8'", "(-1,)", "negative"),
            ("'<f8'", "1", "shape must be"),
            ("'<f8'", "(2,)", "found 8 bytes of data, expected 16"),
            ("'<f8'", "(4611686018427387904, 8)", "damaged"),
            ("'<f8'", "(0, 4611686018427387904, 8)", "damaged"),
            (&"(".repeat(10_000), "(1,)", "damaged"),
        ] {
            let problem = problem(descr, shape);
            assert!(problem.contains(part), "{problem}");
        }
        let bytes = file(1, "{'descr': '<f8', 'shape': (1,)}", &[0; 8]);
        let problem = parse(&bytes).expect_err("faulty");
        assert!(problem.contains("'fortran_order'"), "{problem}");
    }
}
