//! What a browser makes of the pages: no overflow on a narrow screen, and text that can be read in light and dark. Skipped
//! where there is no Chromium.

use std::process::Command;

use super::*;

/// Width of the screen, in CSS pixels: that of a telephone.
const WIDTH: u32 = 400;

/// Contrast that the W3C's guidelines (WCAG 2.2) ask of text, and of what is drawn.
const TEXT: f64 = 4.5;

/// Loads a page in a frame of [`WIDTH`], which no smallest width of windows can change, and measures it.
const MEASURE: &str = r#"
    const frame = document.querySelector("iframe");
    const page = frame.contentDocument, view = frame.contentWindow;
    const channels = color => (color.match(/[\d.]+/g) || []).map(Number);
    const linear = c => c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4;
    const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const contrast = (a, b) => {
        const [high, low] = [luminance(a), luminance(b)].sort((a, b) => b - a);
        return (high + 0.05) / (low + 0.05);
    };
    const ground = channels(view.getComputedStyle(page.body).backgroundColor);
    // A shade lies over the ground.
    const behind = element => {
        const [r, g, b, a = 1] = channels(view.getComputedStyle(element).backgroundColor);
        return [r, g, b].map((c, i) => a * c + (1 - a) * ground[i]);
    };
    let worst = 21;
    for (const element of page.querySelectorAll("h1, h2, p, caption, figcaption, th, td, pre, li")) {
        worst = Math.min(worst, contrast(channels(view.getComputedStyle(element).color), behind(element)));
    }
    for (const element of page.querySelectorAll("svg text")) {
        worst = Math.min(worst, contrast(channels(view.getComputedStyle(element).fill), ground));
    }
    document.body.textContent = JSON.stringify({
        width: view.innerWidth, needed: page.documentElement.scrollWidth,
        ground: luminance(ground), worst, charts: page.querySelectorAll("svg text").length,
    });
"#;

fn browser() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.into_iter().find(|name| {
        let version = Command::new(name).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    })
}

/// What the script measures of a page in a browser that prefers the dark or the light.
fn measure(browser: &str, page: &str, dark: bool) -> serde_json::Value {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("frame.html");
    let source = page.replace('&', "&amp;").replace('"', "&quot;");
    let frame = format!(
        "<!DOCTYPE html><meta charset=\"utf-8\"><style>:root {{ color-scheme: light dark }}</style>\
         <body><iframe width=\"{WIDTH}\" height=\"800\" style=\"border: 0\" srcdoc=\"{source}\"></iframe>\
         <script>window.onload = () => {{ {MEASURE} }}</script>"
    );
    std::fs::write(&path, frame).expect("written");
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .arg(format!(
            "--user-data-dir={}",
            folder.path().join("profile").display()
        ))
        .arg(format!(
            "--blink-settings=preferredColorScheme={}",
            u8::from(!dark)
        ))
        .arg("--dump-dom")
        .arg(format!("file://{}", path.display()))
        .output()
        .expect("the browser starts");
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    // The style sheet has braces too: the measurement is in the body.
    let body = dom.split("<body>").nth(1).expect("a body");
    let (start, end) = (body.find('{'), body.rfind('}'));
    let (start, end) = start
        .zip(end)
        .unwrap_or_else(|| panic!("{body}\n{}", text(&output)));
    serde_json::from_str(&body[start..=end]).expect("JSON")
}

#[test]
fn pages_fit_a_narrow_screen_and_can_be_read_in_light_and_dark() {
    let Some(browser) = browser() else {
        eprintln!("skipped: no chromium, chromium-browser or google-chrome is installed");
        return;
    };
    for (name, page) in [("run", report(&[])), ("study", study())] {
        for dark in [false, true] {
            let measured = measure(browser, &page, dark);
            let number = |key: &str| measured[key].as_f64().expect("a number");
            let what = format!("{name}, dark {dark}: {measured}");
            assert_eq!(measured["width"], WIDTH, "{what}");
            assert!(number("needed") <= f64::from(WIDTH), "{what}");
            assert_eq!(number("ground") < 0.1, dark, "{what}");
            assert!(number("worst") >= TEXT, "{what}");
            assert!(number("charts") > 10.0, "{what}");
        }
    }
}
