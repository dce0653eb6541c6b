//! The parts of a page: one HTML file with everything in it.

use std::fmt::{Display, Write};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1f24; --page: #ffffff; --line: #d5dae0; --faint: #5c6670; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --page: #14171a; --line: #363c43; --faint: #9aa4ae; } }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: var(--ink); background: var(--page);
       font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
p.faint, caption, figcaption { color: var(--faint); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1.2rem 0; } svg { width: 100%; height: auto; max-width: 48rem; display: block; }
.key { display: inline-block; margin-right: 1.2rem; white-space: nowrap; }
.key i { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px; margin-right: .4rem; }
.warning { border-left: 4px solid #e69f00; padding-left: .8rem; }
pre { overflow-x: auto; padding: .8rem; border: 1px solid var(--line); font-size: .85rem; }
";

/// A page up to its title.
pub(crate) fn opening(title: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<h1>{title}</h1>\n"
    )
}

pub(crate) fn figure(page: &mut String, svg: &str) -> anyhow::Result<()> {
    Ok(writeln!(page, "<figure>{svg}</figure>")?)
}

/// What the colours of the figures after it stand for.
pub(crate) fn key<T: Display>(
    page: &mut String,
    entries: impl IntoIterator<Item = ((u8, u8, u8), T)>,
) -> anyhow::Result<()> {
    page.push_str("<p>");
    for ((r, g, b), text) in entries {
        write!(page, "<span class=\"key\"><i style=\"background:rgb({r},{g},{b})\"></i>{text}</span>")?;
    }
    page.push_str("</p>\n");
    Ok(())
}

pub(crate) fn write_table(page: &mut String, head: &[String], rows: &[Vec<String>]) -> anyhow::Result<()> {
    page.push_str("<div class=\"scroll\"><table>\n<tr>");
    for cell in head {
        write!(page, "<th scope=\"col\">{}</th>", escape(cell))?;
    }
    page.push_str("</tr>\n");
    for row in rows {
        let cells: String = row.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        writeln!(page, "<tr>{cells}</tr>")?;
    }
    page.push_str("</table></div>\n");
    Ok(())
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}
