//! Scans of rooms as files.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use equilibria_fusion::data::{
    DataError, OsPath, ScanFiles, SizeError, SplitName, SUN_RGBD_CLASSES,
};
use equilibria_fusion::detection::Scene;
use equilibria_fusion::sources::scans::Scans;
use equilibria_fusion::DataSource;
use rand::rngs::StdRng;
use rand::SeedableRng;

/// An image of 16 by 8 pixels: (201, 40, 90) on the left, (20, 221, 129) on the right.
const IMAGE: &str = "\
ffd8ffe000104a46494600010100000100010000ffdb0043000302020302020303030304030304050805050404050a070706080c0a0c0c0b0a0b0b0d0e12100d0e11\
0e0b0b1016101113141515150c0f171816141812141514ffdb00430103040405040509050509140d0b0d14141414141414141414141414141414141414141414141\
4141414141414141414141414141414141414141414141414141414141414ffc00011080008001003011100021101031101ffc4001500010100000000000000000\
000000000000708ffc40014100100000000000000000000000000000000ffc40017010003010000000000000000000000000003050809ffc4001411010000000000\
0000000000000000000000ffda000c03010002110311003f00240965a962461e3fffd9";

fn image() -> Vec<u8> {
    let digit = |place: usize| u8::from_str_radix(&IMAGE[place..place + 2], 16).expect("digits");
    (0..IMAGE.len()).step_by(2).map(digit).collect()
}

/// The same that says to be one of 16384 by 16384 pixels, which are 800 MB.
fn huge_image() -> Vec<u8> {
    let mut image = image();
    let frame = [0xFF, 0xC0, 0x00, 0x11, 0x08];
    let at = image.windows(5).position(|bytes| bytes == frame);
    let sizes = at.expect("the header of the frame") + frame.len();
    image[sizes..sizes + 4].copy_from_slice(&[0x40, 0x00, 0x40, 0x00]);
    image
}

/// An array of F64 numbers as NumPy writes it.
fn npy(rows: usize, columns: usize, values: &[f64]) -> Vec<u8> {
    let header =
        format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16 + 1).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.push(b'\n');
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

fn npz(array: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    archive.start_file("pc.npy", options).expect("an entry");
    archive.write_all(array).expect("written");
    archive.finish().expect("an archive").into_inner()
}

/// Four points, two of them in a box; a camera whose image has 16 by 8 pixels.
fn write(folder: &Path) -> ScanFiles {
    let files = ScanFiles::of("000001", folder, &folder.join("found"), folder);
    for name in ["calib", "image", "found"] {
        fs::create_dir(folder.join(name)).expect("a folder");
    }
    let points = [
        [-1.0, 4.0, 0.0, 0.1, 0.2, 0.3],
        [1.0, 4.0, 0.0, 0.1, 0.2, 0.3],
        [1.0, 4.5, 0.5, 0.1, 0.2, 0.3],
        [0.0, 3.0, -1.0, 0.1, 0.2, 0.3],
    ];
    fs::write(&files.points, npz(&npy(4, 6, &points.concat()))).expect("written");
    let shape = [1.0, 4.2, 0.1, 0.5, 0.4, 0.6, 0.3, 3.0];
    fs::write(&files.boxes, npy(1, 8, &shape)).expect("written");
    let camera = "1 0 0 0 1 0 0 0 1\n16 0 0 0 16 0 9 5 1\n";
    fs::write(&files.camera, camera).expect("written");
    fs::write(&files.image, image()).expect("written");
    let found = "chair -1 -1 -10 8.9 2.0 14.9 7.1 0 0 0 0 0 0 0 0.91\nsofa -1 -1 -10 0 0 5 5 0 0 0 0 0 0 0 0.05\n";
    fs::write(&files.found, found).expect("written");
    files
}

fn read(files: &ScanFiles, points: usize) -> Result<Scene, DataError> {
    files.read(&SUN_RGBD_CLASSES, points, &mut StdRng::seed_from_u64(1))
}

#[test]
fn a_scan_is_read_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = write(folder.path());
    let scene = read(&files, 4).expect("a scan");
    assert_eq!((scene.points.len(), scene.boxes.len()), (4, 1));
    let (shape, class) = scene.boxes[0];
    assert_eq!((shape.size, class), ([1.0, 0.8, 1.2], 3));
    // What is too unsure is left out, and edges are cut to whole pixels.
    assert_eq!(scene.found.len(), 1);
    assert_eq!(
        (scene.found[0].edges, scene.found[0].class),
        ([8, 2, 14, 7], 3)
    );
    for (index, point) in scene.points.iter().enumerate() {
        let red = match point[0] {
            x if x > 0.5 => 20.0,
            x if x < -0.5 => 201.0,
            _ => continue,
        };
        let color = scene.colors[index][0];
        assert!(
            (color - (red - 128.0) / 255.0).abs() < 1e-12,
            "{point:?}: {color}"
        );
        // The lowest point is at −1, the next one at 0; NumPy's percentile(z, 0.99) lies 2.97 % of the way between them.
        let height = point[2] + 1.0 - 0.0297;
        assert!((scene.heights[index] - height).abs() < 1e-12);
    }
    assert_eq!(read(&files, 9).expect("points repeat").points.len(), 9);
    assert_eq!(read(&files, 2).expect("some").points.len(), 2);
}

#[test]
fn what_is_wrong_in_a_scan_is_named_with_its_file() {
    type File = fn(&ScanFiles) -> &Path;
    let wrong: [(File, Vec<u8>, &str); 9] = [
        (|files| &files.camera, b"1 0 0\n".to_vec(), "line 1"),
        (
            |files| &files.found,
            b"lamp -1 -1 -10 1 2 3 4 0.9\n".to_vec(),
            "one of the classes bed",
        ),
        (|files| &files.found, b"chair 1 2 x\n".to_vec(), "line 1"),
        (|files| &files.image, huge_image(), "the file is too short"),
        (
            |files| &files.image,
            b"no image".to_vec(),
            "not a whole JPEG image",
        ),
        (
            |files| &files.boxes,
            npy(1, 8, &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 10.0]),
            "in row 1",
        ),
        (
            |files| &files.boxes,
            npy(1, 8, &[1.0, 1.0, 1.0, 1.0, -1.0, 1.0, 0.0, 3.0]),
            "in row 1, expected none below 0",
        ),
        (
            |files| &files.camera,
            b"1 0 0 0 1 0 0 0 1\n0 0 0 0 16 0 9 5 1\n".to_vec(),
            "line 2",
        ),
        (
            |files| &files.points,
            npz(&npy(1, 3, &[0.0; 3])),
            "rows of 6 numbers",
        ),
    ];
    for (file, content, expected) in wrong {
        let folder = tempfile::tempdir().expect("a folder");
        let files = write(folder.path());
        fs::write(file(&files), content).expect("written");
        let error = read(&files, 4).expect_err("refused").to_string();
        let name = file(&files).display().to_string();
        assert!(error.contains(expected) && error.contains(&name), "{error}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let files = write(folder.path());
    fs::remove_file(&files.camera).expect("removed");
    assert!(matches!(read(&files, 4), Err(DataError::Unreadable { .. })));
}

#[test]
fn a_number_is_looked_for_in_the_file_it_comes_from() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path());
    let source = Scans {
        path: OsPath::from(folder.path()),
        train: OsPath::from(""),
        found_train: OsPath::from("found"),
        raw: OsPath::from(""),
        points: 4,
        findings: 2,
        ..Scans::default()
    };
    let files = ScanFiles::of(
        "000001",
        &folder.path().join(""),
        &folder.path().join("found"),
        &folder.path().join(""),
    );
    // 19 numbers of the camera, then 3 of the pixel of each point, then the findings.
    for (modality, column, file) in [
        (None, 3, &files.boxes),
        (Some(1), 30, &files.points),
        (Some(2), 1, &files.camera),
        (Some(2), 19, &files.camera),
        (Some(2), 20, &files.image),
        (Some(2), 31, &files.image),
        (Some(2), 32, &files.found),
        (Some(2), 43, &files.found),
    ] {
        let (found, row) = source.place(SplitName::Train, modality, (0, column));
        assert_eq!(
            (Path::new(&found), row),
            (&**file, 1),
            "{modality:?} {column}"
        );
    }
    let sizes = |points, findings, boxes| Scans {
        points,
        findings,
        boxes,
        ..source.clone()
    };
    let most = usize::MAX;
    for (source, field) in [
        (sizes(most, 2, 2), "points"),
        (sizes(0, 2, 2), "points"),
        (sizes(4, most, 2), "findings"),
        (sizes(4, 2, most), "boxes"),
    ] {
        let error = source.features(SplitName::Train).expect_err("too many");
        assert!(
            matches!(error, DataError::Size(SizeError::Range { field: found, .. }) if found == field),
            "{error}"
        );
    }
}
