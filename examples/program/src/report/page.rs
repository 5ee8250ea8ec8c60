//! The frame of a page, its tables, and the escaping of text.

/// A page in the making.
pub struct Page(String);

/// A cell of a table.
pub struct Cell {
    text: String,
    /// What is drawn behind the text, and how much of it, in [0, 1].
    behind: Option<(&'static str, f64)>,
}

impl Cell {
    /// Text and nothing else.
    pub fn new(text: impl ToString) -> Self {
        Self {
            text: text.to_string(),
            behind: None,
        }
    }

    /// Text on a ground whose color is the stronger the larger the share: that of what is right.
    pub fn right(text: impl ToString, share: f64) -> Self {
        Self {
            behind: Some(("right", share)),
            ..Self::new(text)
        }
    }

    /// The same in the color of what is wrong.
    pub fn wrong(text: impl ToString, share: f64) -> Self {
        Self {
            behind: Some(("wrong", share)),
            ..Self::new(text)
        }
    }

    /// Text on a bar as long as the share.
    pub fn bar(text: impl ToString, share: f64) -> Self {
        Self {
            behind: Some(("bar", share)),
            ..Self::new(text)
        }
    }

    fn html(&self) -> String {
        let text = escape(&self.text);
        match self.behind {
            Some((class, share)) if share > 0.0 => {
                let share = share.min(1.0);
                format!("<td class=\"{class}\" style=\"--share: {share:.3}\">{text}</td>")
            }
            _ => format!("<td>{text}</td>"),
        }
    }
}

impl Page {
    /// Begins a page with its title.
    pub fn new(title: &str) -> Self {
        let title = escape(title);
        let style = include_str!("style.css");
        Self(format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
        ))
    }

    /// Adds the sentence that says it all, with a word of judgment before it.
    pub fn headline(&mut self, word: &str, text: &str) {
        let (class, word, text) = (word.to_lowercase(), escape(word), escape(text));
        self.0 += &format!("<p class=\"headline {class}\"><strong>{word}:</strong> {text}</p>\n");
    }

    /// Adds a paragraph.
    pub fn paragraph(&mut self, text: &str) {
        self.0 += &format!("<p>{}</p>\n", escape(text));
    }

    /// Begins a part of the page.
    pub fn heading(&mut self, text: &str) {
        self.0 += &format!("<h2>{}</h2>\n", escape(text));
    }

    /// Adds a table. The first column of `head` and the names of the rows are headings; a table wider than the page scrolls
    /// in a box of its own.
    pub fn table(&mut self, label: &str, head: &[&str], rows: &[(String, Vec<Cell>)]) {
        let heads = head.iter();
        let heads: String = heads
            .map(|text| format!("<th scope=\"col\">{}</th>", escape(text)))
            .collect();
        let mut body = String::new();
        for (name, cells) in rows {
            let cells: String = cells.iter().map(Cell::html).collect();
            body += &format!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", escape(name));
        }
        let label = escape(label);
        let class = if head.is_empty() {
            " class=\"facts\""
        } else {
            ""
        };
        // With the tabulator key the box can be scrolled without a mouse.
        self.0 += &format!(
            "<div class=\"scroll\" role=\"region\" aria-label=\"{label}\" tabindex=\"0\">\n<table{class}>\n<caption>{label}</caption>\n"
        );
        if !head.is_empty() {
            self.0 += &format!("<thead><tr>{heads}</tr></thead>\n");
        }
        self.0 += &format!("<tbody>\n{body}</tbody>\n</table>\n</div>\n");
    }

    /// Adds text as it was written, in a box that scrolls.
    pub fn source(&mut self, label: &str, text: &str) {
        let (label, text) = (escape(label), escape(text));
        self.0 += &format!("<pre class=\"scroll\" role=\"region\" aria-label=\"{label}\" tabindex=\"0\">{text}</pre>\n");
    }

    /// Adds figures side by side, as many as the page is wide; empty ones are left out.
    pub fn figures(&mut self, figures: &[String]) {
        if figures.iter().any(|figure| !figure.is_empty()) {
            self.0 += &format!("<div class=\"figures\">\n{}</div>\n", figures.concat());
        }
    }

    /// The whole page.
    pub fn finish(mut self) -> String {
        self.0 += "</main>\n</body>\n</html>\n";
        self.0
    }
}

/// Text as it may stand in an element or an attribute. Characters that no page can hold are replaced.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            other => escaped.push(printable(other)),
        }
    }
    escaped
}

/// The character, or the sign for an unknown one.
pub fn printable(character: char) -> char {
    match character {
        '\n' | '\t' => character,
        '\u{FFFE}' | '\u{FFFF}' => char::REPLACEMENT_CHARACTER,
        _ if character.is_control() => char::REPLACEMENT_CHARACTER,
        _ => character,
    }
}

/// A number with four digits that matter; what is none is a dash.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let size = value.abs();
    if size > 0.0 && !(1e-3..1e6).contains(&size) {
        return format!("{value:.2e}");
    }
    let before = size.max(1.0).log10().floor() as usize;
    format!("{value:.*}", 3_usize.saturating_sub(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_its_place() {
        let text = "<b a=\"1\" c='2'>&amp;\u{1}\n";
        let escaped = "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;amp;\u{FFFD}\n";
        assert_eq!(escape(text), escaped);
    }

    #[test]
    fn numbers_have_the_digits_that_matter() {
        let cases = [
            (0.0, "0.000"),
            (0.01234, "0.012"),
            (-1.23456, "-1.235"),
            (98.7654, "98.77"),
            (123_456.7, "123457"),
            (1.5e-7, "1.50e-7"),
            (2e9, "2.00e9"),
            (f64::NAN, "–"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }
}
