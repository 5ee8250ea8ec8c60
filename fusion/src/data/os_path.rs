//! Paths in configurations.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A path as it stands in a configuration: text or, where a path of Unix is no UTF-8 text, its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsPath(PathBuf);

impl AsRef<Path> for OsPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl<P: Into<PathBuf>> From<P> for OsPath {
    fn from(path: P) -> Self {
        Self(path.into())
    }
}

impl Serialize for OsPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => serializer.collect_seq(self.0.as_os_str().as_encoded_bytes()),
        }
    }
}

impl<'de> Deserialize<'de> for OsPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "invalid type, expected a path as a string")]
        enum Written {
            Text(String),
            Bytes(Vec<u8>),
        }
        Ok(Self(match Written::deserialize(deserializer)? {
            Written::Text(text) => text.into(),
            Written::Bytes(bytes) => from_bytes(bytes).into(),
        }))
    }
}

#[cfg(unix)]
fn from_bytes(bytes: Vec<u8>) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}

/// Elsewhere, the bytes of a path are nothing that the system would say of it.
#[cfg(not(unix))]
fn from_bytes(bytes: Vec<u8>) -> OsString {
    String::from_utf8_lossy(&bytes).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let path = OsPath::from("data/digits");
        let json = serde_json::to_value(&path).expect("text");
        assert_eq!(json, "data/digits");
        assert_eq!(
            serde_json::from_value::<OsPath>(json).expect("a path"),
            path
        );
        let error = serde_json::from_str::<OsPath>("7").expect_err("a number");
        assert!(error.to_string().contains("expected a path"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn paths_that_are_no_text_survive() {
        let path = OsPath::from(from_bytes(b"donn\xe9es".to_vec()));
        let json = serde_json::to_value(&path).expect("bytes");
        assert_eq!(
            serde_json::from_value::<OsPath>(json).expect("a path"),
            path
        );
    }
}
