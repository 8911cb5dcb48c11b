//! `reports/delivery-JOB-TIME.csv`: what became of each row.

use super::sheet::{Fault, Row};
use crate::model::escape::csv_field;
use crate::model::ids::DocumentId;

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is in the outbox; with a warning about its type.
    Placed(DocumentId, Option<Fault>),
    /// It was placed before: by the same row of the same set, by another row like it, or as the same document by another set.
    Before(DocumentId),
    /// It is not.
    Not(Fault),
}

impl Outcome {
    /// What becomes of another row for the same.
    pub(super) fn again(self) -> Self {
        match self {
            Self::Placed(id, _) | Self::Before(id) => Self::Before(id),
            Self::Not(fault) => Self::Not(fault),
        }
    }
}

/// Lines of a report; kept as text, since a set may have many.
pub(super) struct Report {
    text: String,
    /// Rows placed by this set, now or before.
    pub(super) placed: u64,
    /// Rows refused or for paper.
    pub(super) refused: u64,
}

impl Default for Report {
    fn default() -> Self {
        let header = "\u{feff}line,result,document,account,office,in_reply_to,file,type,title,code,理由,reason,kept\r\n";
        Self { text: header.to_owned(), placed: 0, refused: 0 }
    }
}

impl Report {
    /// One row of the sheet.
    pub(super) fn row(&mut self, row: &Row, outcome: &Outcome, job: &str) {
        let (result, document, fault) = match outcome {
            Outcome::Placed(id, warning) => ("placed", id.to_string(), warning.as_ref()),
            Outcome::Before(id) => ("placed-before", id.to_string(), None),
            Outcome::Not(fault) => {
                (if fault.paper { "paper" } else { "refused" }, String::new(), Some(fault))
            }
        };
        match outcome {
            Outcome::Not(_) => self.refused += 1,
            _ => self.placed += 1,
        }
        // What was not placed stays where it was put.
        let kept = match (outcome, row.file_name()) {
            (Outcome::Not(fault), Some(name)) if fault.code != "FILE-MISSING" => {
                format!("outgoing/{job}/{name}")
            }
            _ => String::new(),
        };
        self.line(&row.line.to_string(), result, &document, &row.cells, fault, &kept);
    }

    /// Something about the set as a whole.
    pub(super) fn whole(&mut self, result: &str, fault: &Fault) {
        self.line("", result, "", &Default::default(), Some(fault), "");
    }

    fn line(
        &mut self,
        line: &str,
        result: &str,
        document: &str,
        cells: &[String; 6],
        fault: Option<&Fault>,
        kept: &str,
    ) {
        let (code, ja, en) =
            fault.map_or(("", "", ""), |fault| (fault.code, &*fault.text.ja, &*fault.text.en));
        let fields = [line, result, document].into_iter().chain(cells.iter().map(String::as_str));
        let fields: Vec<_> = fields.chain([code, ja, en, kept]).map(csv_field).collect();
        self.text.push_str(&fields.join(","));
        self.text.push_str("\r\n");
    }

    /// UTF-8 with BOM, CRLF, formula characters escaped.
    pub(super) fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}
