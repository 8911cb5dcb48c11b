//! Findings for people: a table for a spreadsheet, a page to print, lines for a terminal.

use std::fmt::Write as _;

use super::findings::{Findings, Totals};
use crate::model::escape;
use crate::model::finding::{Finding, Language, Severity};

/// Column heads of the table, Japanese and English.
const HEADS: [(&str, &str); 12] = [
    ("区分", "Severity"),
    ("コード", "Code"),
    ("ファイル", "File"),
    ("行", "Line"),
    ("届書コード", "Form"),
    ("項目番号", "Field"),
    ("項目名", "Field name"),
    ("被保険者整理番号", "Insured's number"),
    ("内容", "Value"),
    ("文字位置", "Column"),
    ("誤りの内容", "What is wrong"),
    ("対処", "What to do"),
];

fn severity(severity: Severity, lang: Language) -> &'static str {
    match (severity, lang) {
        (Severity::Error, Language::Ja) => "エラー",
        (Severity::Warning, Language::Ja) => "警告",
        (Severity::Error, Language::En) => "error",
        (Severity::Warning, Language::En) => "warning",
    }
}

fn head(i: usize, lang: Language) -> &'static str {
    match lang {
        Language::Ja => HEADS[i].0,
        Language::En => HEADS[i].1,
    }
}

fn cells(finding: &Finding, lang: Language) -> [String; 12] {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    [
        severity(finding.severity, lang).to_owned(),
        finding.rule.clone(),
        text(&finding.file),
        finding.line.map(|n| n.to_string()).unwrap_or_default(),
        text(&finding.form),
        finding.field.map(|n| n.to_string()).unwrap_or_default(),
        finding.field_name.as_ref().map(|name| name.get(lang).to_owned()).unwrap_or_default(),
        text(&finding.insured),
        text(&finding.value),
        finding.column.map(|n| n.to_string()).unwrap_or_default(),
        finding.message.get(lang).to_owned(),
        finding.action.get(lang).to_owned(),
    ]
}

/// How many more findings there were than are listed, as a sentence; empty when all are.
pub fn more(more_findings: u64, lang: Language) -> String {
    match (more_findings, lang) {
        (0, _) => String::new(),
        (n, Language::Ja) => {
            format!("ほかに {n} 件あります。上のものを直してから、もう一度確認してください。")
        }
        (n, Language::En) => format!("There are {n} more. Correct those above, then check again."),
    }
}

/// The findings as CSV for a spreadsheet: UTF-8 with BOM, CRLF, formulas and control characters made harmless.
pub fn findings_csv(findings: &Findings, lang: Language) -> String {
    let mut out = String::from("\u{feff}");
    let row = |out: &mut String, cells: &mut dyn Iterator<Item = String>| {
        let cells: Vec<String> = cells.map(|cell| escape::csv_field(&cell)).collect();
        out.push_str(&cells.join(","));
        out.push_str("\r\n");
    };
    row(&mut out, &mut (0..HEADS.len()).map(|i| head(i, lang).to_owned()));
    for finding in findings.listed() {
        row(&mut out, &mut cells(finding, lang).into_iter());
    }
    if findings.more() > 0 {
        let last = more(findings.more(), lang);
        row(&mut out, &mut (0..HEADS.len()).map(|i| if i == 10 { last.clone() } else { String::new() }));
    }
    out
}

/// What stands above the table of the page.
#[derive(Debug, Clone, Default)]
pub struct PageHead {
    /// Label and value, such as `("受付番号", "1-000123-3")`.
    pub rows: Vec<(String, String)>,
}

/// How it ended and how many of each, as a sentence: whether the filing can go through is what a clerk looks for first.
pub fn verdict(findings: &Findings, lang: Language) -> String {
    let Totals { errors, warnings } = findings.totals();
    let misnamed = findings.listed().iter().any(super::set::is_about_name);
    match (errors, warnings, lang) {
        (0, 0, Language::Ja) => "誤りは見つかりませんでした。".to_owned(),
        (0, 0, Language::En) => "Nothing was found.".to_owned(),
        (0, _, Language::Ja) if misnamed => {
            format!(
                "エラーはありません。警告が {warnings} 件あります(ファイルの名前についての警告を直さないと届け出られません)。"
            )
        }
        (0, _, Language::En) if misnamed => {
            format!(
                "No errors, {warnings} warnings; the one about the file's name stops it from being filed."
            )
        }
        (0, _, Language::Ja) => {
            format!(
                "エラーはありません。警告が {warnings} 件あります(警告だけであれば、そのまま届け出られます)。"
            )
        }
        (0, _, Language::En) => {
            format!("No errors, {warnings} warnings; with warnings alone it can be filed.")
        }
        (_, _, Language::Ja) => {
            format!(
                "エラーが {errors} 件、警告が {warnings} 件あります。エラーを直さないと届け出られません。"
            )
        }
        (_, _, Language::En) => {
            format!(
                "{errors} errors, {warnings} warnings; it cannot be filed until the errors are corrected."
            )
        }
    }
}

/// The findings as one page that prints well: no script, nothing fetched, everything escaped.
pub fn findings_html(page: &PageHead, findings: &Findings, lang: Language) -> String {
    let (code, title) = match lang {
        Language::Ja => ("ja", "届出の確認結果"),
        Language::En => ("en", "Result of the check"),
    };
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"{code}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<h1>{title}</h1>\n"
    );
    if !page.rows.is_empty() {
        out.push_str("<dl>\n");
        for (label, value) in &page.rows {
            let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape::html(label), escape::html(value));
        }
        out.push_str("</dl>\n");
    }
    let verdict = verdict(findings, lang);
    let _ = writeln!(out, "<p class=\"verdict\">{}</p>", escape::html(&verdict));
    if !findings.listed().is_empty() {
        table(&mut out, findings.listed(), lang);
    }
    if findings.more() > 0 {
        let _ = writeln!(out, "<p>{}</p>", escape::html(&more(findings.more(), lang)));
    }
    out.push_str("</body>\n</html>\n");
    out
}

fn table(out: &mut String, findings: &[Finding], lang: Language) {
    let (place, what) = match lang {
        Language::Ja => ("場所", "内容と対処"),
        Language::En => ("Place", "What is wrong and what to do"),
    };
    let _ = writeln!(
        out,
        "<table>\n<thead><tr><th>{}</th><th>{place}</th><th>{what}</th></tr></thead>\n<tbody>",
        head(0, lang)
    );
    for finding in findings {
        let cell = cells(finding, lang);
        let class = if finding.severity == Severity::Error { "error" } else { "warning" };
        let _ = write!(
            out,
            "<tr class=\"{class}\"><td>{}<br><code>{}</code></td><td>",
            escape::html(&cell[0]),
            escape::html(&cell[1])
        );
        whereabouts(out, &cell, lang);
        let _ = write!(out, "</td><td><p>{}</p>", escape::html(&cell[10]));
        if !cell[8].is_empty() {
            let _ = write!(out, "<p>{}: <code>{}</code></p>", head(8, lang), escape::html(&cell[8]));
        }
        let _ = writeln!(out, "<p>→ {}</p></td></tr>", escape::html(&cell[11]));
    }
    out.push_str("</tbody>\n</table>\n");
}

/// Line first, then the field by name, then whom it concerns: in the order in which somebody looks it up.
fn whereabouts(out: &mut String, cell: &[String; 12], lang: Language) {
    let mut say = |i: usize, value: &str| {
        if !value.is_empty() {
            let _ = write!(out, "{}: {}<br>", head(i, lang), escape::html(value));
        }
    };
    say(2, &cell[2]);
    say(3, &cell[3]);
    let field = match (cell[5].as_str(), cell[6].as_str()) {
        ("", name) => name.to_owned(),
        (number, "") => number.to_owned(),
        (number, name) => format!("{name} ({number})"),
    };
    say(if cell[6].is_empty() { 5 } else { 6 }, &field);
    say(9, &cell[9]);
    say(7, &cell[7]);
    say(4, &cell[4]);
}

const STYLE: &str = "body{font-family:'Noto Sans JP','Hiragino Sans',Meiryo,sans-serif;line-height:1.5;margin:1.5rem auto;max-width:60rem;padding:0 1rem}
h1{font-size:1.3rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}
dd{margin:0}
table{border-collapse:collapse;width:100%}
th,td{border:1px solid #888;padding:.4rem .6rem;text-align:left;vertical-align:top}
td:first-child,td:nth-child(2){white-space:nowrap}
td:nth-child(2){white-space:normal;min-width:11rem}
.verdict{font-weight:bold}
thead{display:table-header-group}
tr{break-inside:avoid}
td p{margin:0 0 .3rem}
code{overflow-wrap:anywhere;font-size:1em}
.error{background:#fdecea;print-color-adjust:exact}
.error td:first-child{font-weight:bold}
@page{size:A4;margin:15mm}
@media print{body{margin:0;max-width:none;padding:0;font-size:10pt}}
";

/// One finding as text for a terminal: `FILE:LINE CODE ...`, escaped.
pub fn finding_text(finding: &Finding, lang: Language) -> String {
    let cell = cells(finding, lang);
    let mut out = String::new();
    out.push_str(&cell[2]);
    if !cell[3].is_empty() {
        let _ = write!(out, ":{}", cell[3]);
    }
    if !out.is_empty() {
        out.push_str(": ");
    }
    let _ = write!(out, "{} {}", cell[0], cell[1]);
    if !cell[5].is_empty() {
        let _ = write!(out, " [{}]", format!("{} {}", cell[5], cell[6]).trim_end());
    }
    if !cell[7].is_empty() {
        let _ = write!(out, " ({} {})", head(7, lang), cell[7]);
    }
    let _ = write!(out, ": {}", cell[10]);
    if !cell[8].is_empty() {
        let _ = write!(out, " 「{}」", cell[8]);
    }
    if !cell[9].is_empty() {
        let _ = write!(out, " ({} {})", head(9, lang), cell[9]);
    }
    let _ = write!(out, " → {}", cell[11]);
    escape::terminal(&out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::Text;

    fn finding() -> Finding {
        Finding {
            severity: Severity::Error,
            rule: "KPFD-CHARS".into(),
            file: Some("=cmd|x.CSV".into()),
            line: Some(6),
            form: Some("2200700".into()),
            field: Some(7),
            field_name: Some(Text::new("氏名", "name")),
            insured: Some("12".into()),
            value: Some("<script>\u{1b}[31m".into()),
            column: Some(3),
            message: Text::new("使えない文字です, \"x\"", "bad character, \"x\""),
            action: Text::new("直してください", "Correct it"),
        }
    }

    #[test]
    fn the_table_opens_in_a_spreadsheet_and_runs_nothing() {
        let csv = findings_csv(&Findings::resumed(vec![finding()], 5, 0), Language::Ja);
        assert!(csv.starts_with("\u{feff}区分,コード,"));
        assert!(csv.lines().all(|l| !l.contains('\u{1b}')));
        let mut reader = csv::Reader::from_reader(csv.trim_start_matches('\u{feff}').as_bytes());
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(&rows[0][2], "'=cmd|x.CSV");
        assert_eq!(&rows[0][8], "<script>\\u{1b}[31m");
        assert!(rows[1][10].contains('5'));
        assert_eq!(csv.matches("\r\n").count(), csv.matches('\n').count());
    }

    #[test]
    fn the_page_holds_no_script_and_fetches_nothing() {
        let page = PageHead { rows: vec![("受付番号".into(), "<1>".into())] };
        let html = findings_html(&page, &Findings::resumed(vec![finding()], 5, 2), Language::Ja);
        assert!(html.contains("エラーが 3 件、警告が 3 件"), "{html}");
        assert!(
            !html.contains("<script")
                && !html.contains("http:")
                && !html.contains("https:")
                && !html.contains('\u{1b}')
        );
        assert!(
            html.contains("&lt;script&gt;")
                && html.contains("default-src 'none'")
                && html.contains("&lt;1&gt;")
        );
        assert!(findings_html(&page, &Findings::default(), Language::En).contains("Nothing was found"));
    }

    #[test]
    fn a_line_for_the_terminal_has_no_escape() {
        let line = finding_text(&finding(), Language::En);
        assert!(line.starts_with("=cmd|x.CSV:6: error KPFD-CHARS [7 name]"), "{line}");
        assert!(line.contains(" (Column 3) → Correct it"), "{line}");
        assert!(!line.contains('\u{1b}'));
    }
}
