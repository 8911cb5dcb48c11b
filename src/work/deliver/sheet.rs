//! `delivery.csv`: read as UTF-8 (with or without BOM) or CP932, columns in any order.

use std::collections::BTreeSet;

use crate::model::finding::Text;
use crate::model::ids::{AccountId, Number, OfficeCode};
use crate::work::quotes;

/// Rows of one set.
const ROWS_MAX: usize = 100_000;
/// Bytes of `delivery.csv`.
pub(super) const SHEET_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Characters of a title.
const TITLE_MAX: usize = 100;
/// Bytes of a file name, as the file system has it.
const FILE_NAME_MAX: usize = 200;
const COLUMNS: [&str; 6] = ["account", "office", "in_reply_to", "file", "type", "title"];

/// Why a row, or a whole sheet, cannot be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// ASCII code that leads the text.
    pub code: &'static str,
    /// What was wrong and what to do.
    pub text: Text,
    /// Nothing is wrong with the row: it must go by post.
    pub paper: bool,
}

impl Fault {
    pub(super) fn refused(code: &'static str, ja: impl Into<String>, en: impl Into<String>) -> Self {
        Self { code, text: Text::new(ja, en), paper: false }
    }

    pub(super) fn paper(code: &'static str, ja: &str, en: &str) -> Self {
        let text = Text::new(format!("{ja}紙で送付してください。"), format!("{en}; send it on paper"));
        Self { code, text, paper: true }
    }
}

/// Whom a row is for; at least one is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Address {
    /// This account.
    pub account: Option<AccountId>,
    /// This office's account.
    pub office: Option<OfficeCode>,
    /// Whoever sent this submission; leads (K13).
    pub in_reply_to: Option<Number>,
    /// Every account of the insurer: an announcement (`*` for the account).
    pub everybody: bool,
}

/// One line of the sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Line in the file, from 1; the header is line 1.
    pub(super) line: u64,
    /// The cells of [`COLUMNS`], for the report and the row's digest.
    pub(super) cells: [String; 6],
    /// Whom it is for, or why that cannot be told.
    pub(super) address: Result<Address, Fault>,
}

impl Row {
    /// The named file.
    pub(super) fn file(&self) -> &str {
        &self.cells[3]
    }

    /// The type as the insurer wrote it.
    pub(super) fn kind(&self) -> &str {
        &self.cells[4]
    }

    /// The title; the type where there is none.
    pub(super) fn title(&self) -> &str {
        if self.cells[5].is_empty() { &self.cells[4] } else { &self.cells[5] }
    }

    /// The file's name if it is one that can lie in the folder.
    pub(super) fn file_name(&self) -> Option<&str> {
        let name = self.file();
        let plain = !name.is_empty()
            && name.len() <= FILE_NAME_MAX
            && !name.starts_with('.')
            && !name.contains(['/', '\\'])
            && !name.chars().any(crate::model::escape::is_hidden)
            && !name.eq_ignore_ascii_case("delivery.csv")
            && !name.eq_ignore_ascii_case("recall.csv");
        plain.then_some(name)
    }
}

/// Code of what may be the beginning of a sheet only.
pub(super) const UNFINISHED: &str = "DELIVERY-UNFINISHED";

/// Part of a sheet: nothing of it may be delivered, since a row that was cut may name somebody else.
pub(super) fn unfinished(sheet: &str) -> Fault {
    Fault::refused(
        UNFINISHED,
        format!(
            "{sheet} が途中までしか書かれていません(最終行の改行がないか、転送が途切れました)。最後の行まで改行を付けて、もう一度置いてください。"
        ),
        format!(
            "{sheet} is not finished: its last line has no line feed, or its transfer was cut off; end every line with one, and put it again"
        ),
    )
}

/// Whether the last line has its end.
fn ends_its_line(text: &str) -> bool {
    text.is_empty() || text.ends_with(['\n', '\r'])
}

/// Reads a sheet, or says why nothing of it can be delivered.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Row>, Fault> {
    let text = decode(bytes)?;
    if !ends_its_line(&text) {
        return Err(unfinished("delivery.csv"));
    }
    let mut records = Records::of(&text);
    let unreadable = |line: u64| {
        Fault::refused(
            "DELIVERY-CSV",
            format!(
                "delivery.csv の{line}行目が CSV として読めません。引用符(\")が閉じているか、値の中に改行がないかを確認してください。どの行も配信していません。"
            ),
            format!(
                "line {line} of delivery.csv is not CSV: see whether its quotes (\") are closed and no value has a line break in it; no row was delivered"
            ),
        )
    };
    let header = match records.next() {
        Some(Ok((_, header))) => header,
        Some(Err(line)) => return Err(unreadable(line)),
        None => {
            return Err(Fault::refused(
                "DELIVERY-EMPTY",
                "delivery.csv が空です。見出しと、文書ごとに1行を書いて、もう一度置いてください。",
                "delivery.csv is empty; put one with a header and a line for each document",
            ));
        }
    };
    let columns = columns(&header)?;
    let mut rows = Vec::new();
    for record in records {
        let (line, record) = record.map_err(unreadable)?;
        if record.iter().all(str::is_empty) {
            continue;
        }
        if rows.len() == ROWS_MAX {
            return Err(Fault::refused(
                "DELIVERY-TOO-LONG",
                format!("delivery.csv は{ROWS_MAX}行までです。分けて置いてください。"),
                format!("delivery.csv may have {ROWS_MAX} rows; split it"),
            ));
        }
        let cells = columns.map(|column| column.and_then(|at| record.get(at)).unwrap_or("").to_owned());
        let address = if record.len() > header.len() {
            Err(Fault::refused(
                "ROW-CELLS",
                "列の数が見出しより多いです。カンマを含む値は引用符で囲んでください。",
                "more cells than the header has; quote values that contain a comma",
            ))
        } else {
            address(&cells)
        };
        rows.push(Row { line, cells, address });
    }
    if rows.is_empty() {
        return Err(Fault::refused(
            "DELIVERY-EMPTY",
            "delivery.csv に見出ししかありません。文書ごとに1行を書いて、もう一度置いてください。",
            "delivery.csv has a header alone; put one with a line for each document",
        ));
    }
    Ok(rows)
}

/// The records of a sheet, each one line; the line of one that is none ends it. A quote that somebody forgot to close makes one
/// cell of several rows, and what is for one office would be shown to another.
pub(super) struct Records<'a> {
    reader: csv::Reader<&'a [u8]>,
    text: &'a str,
    lines: Lines<'a>,
    ended: bool,
}

impl<'a> Records<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let mut builder = csv::ReaderBuilder::new();
        builder.has_headers(false).flexible(true).trim(csv::Trim::All);
        let lines = Lines { text: text.as_bytes(), at: 0, line: 1 };
        Self { reader: builder.from_reader(text.as_bytes()), text, lines, ended: false }
    }
}

impl Iterator for Records<'_> {
    /// The line in the file, from 1, and its cells; or the line that cannot be read.
    type Item = Result<(u64, csv::StringRecord), u64>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let mut record = csv::StringRecord::new();
        let read = self.reader.read_record(&mut record);
        let begins = record.position().map_or(0, csv::Position::byte);
        let line = self.lines.of(begins);
        let place = |byte: u64| usize::try_from(byte).unwrap_or(usize::MAX);
        let one_line = |text: &str| {
            let text = text.trim_matches(['\r', '\n']);
            !(text.contains(['\r', '\n']) || text.contains('"') && quotes::is_left_open(text))
        };
        match read {
            Ok(false) => {
                self.ended = true;
                None
            }
            Ok(true) => {
                let text = self.text.get(place(begins)..place(self.reader.position().byte()));
                self.ended = !text.is_some_and(one_line);
                Some(if self.ended { Err(line) } else { Ok((line, record)) })
            }
            Err(_) => {
                self.ended = true;
                Some(Err(line))
            }
        }
    }
}

/// Counts lines as an editor does; the reader's own count is one behind after CRLF.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of the record that begins at this byte or after the line ends there.
    fn of(&mut self, byte: u64) -> u64 {
        let byte = usize::try_from(byte).unwrap_or(usize::MAX);
        while let Some(next) = self.text.get(self.at) {
            if self.at >= byte && !matches!(next, b'\r' | b'\n') {
                break;
            }
            self.line += u64::from(*next == b'\n');
            self.at += 1;
        }
        self.line
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<String, Fault> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(Fault::refused(
            "DELIVERY-ENCODING",
            "delivery.csv が UTF-16 です。UTF-8 か CP932(Shift_JIS)で保存してください。",
            "delivery.csv is UTF-16; save it as UTF-8 or CP932",
        ));
    }
    let body = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if let Ok(text) = std::str::from_utf8(body) {
        return Ok(text.to_owned());
    }
    let (text, _, wrong) = encoding_rs::SHIFT_JIS.decode(body);
    if wrong {
        return Err(Fault::refused(
            "DELIVERY-ENCODING",
            "delivery.csv の文字コードが UTF-8 でも CP932(Shift_JIS)でもありません。",
            "delivery.csv is neither UTF-8 nor CP932",
        ));
    }
    Ok(text.into_owned())
}

/// Where each of [`COLUMNS`] stands.
fn columns(header: &csv::StringRecord) -> Result<[Option<usize>; 6], Fault> {
    let mut at = [None; 6];
    for (position, name) in header.iter().enumerate() {
        let name = name.to_ascii_lowercase();
        match COLUMNS.iter().position(|column| *column == name) {
            Some(column) if at[column].is_none() => at[column] = Some(position),
            Some(_) => {
                return Err(Fault::refused(
                    "DELIVERY-HEADER",
                    format!("見出しに {name} が二度あります。"),
                    format!("the header names {name} twice"),
                ));
            }
            None => {
                return Err(Fault::refused(
                    "DELIVERY-HEADER",
                    format!(
                        "見出し {} は使えません。使えるのは {} です。",
                        crate::model::escape::excerpt(&name, 40),
                        COLUMNS.join(",")
                    ),
                    format!(
                        "{:?} is no column; columns are {}",
                        crate::model::escape::excerpt(&name, 40),
                        COLUMNS.join(",")
                    ),
                ));
            }
        }
    }
    let addressed = at[..3].iter().any(Option::is_some);
    if !addressed || at[3].is_none() || at[4].is_none() {
        return Err(Fault::refused(
            "DELIVERY-HEADER",
            "見出しには account・office・in_reply_to のいずれかと、file と type が必要です。",
            "the header needs one of account, office, in_reply_to, and file and type",
        ));
    }
    Ok(at)
}

fn address(cells: &[String; 6]) -> Result<Address, Fault> {
    let given = |index: usize| Some(cells[index].as_str()).filter(|cell| !cell.is_empty());
    let malformed = |column: &str| {
        let (ja, en) = match column {
            "account" => ("K0001 のような形、または * だけ", "such as K0001, or * alone"),
            "office" => ("1234 のような4文字までの番号", "up to four letters or digits, such as 1234"),
            _ => (
                "1-000123-6 のような受付番号。最後の数字は検査数字",
                "a receipt's number such as 1-000123-6, whose last digit checks the others",
            ),
        };
        Fault::refused(
            "ROW-ADDRESS",
            format!(
                "{column} の値の形が正しくありません({ja})。打ち間違いや列の入れ違いがないか確認してください。"
            ),
            format!(
                "the value of {column} has not the form of one ({en}); look for a mistyped character or swapped columns"
            ),
        )
    };
    if cells[0] == "*" {
        if given(1).is_some() || given(2).is_some() {
            return Err(malformed("account"));
        }
        return titled(cells, Address { everybody: true, ..Address::default() });
    }
    let address = Address {
        everybody: false,
        account: given(0).map(AccountId::parse).transpose().map_err(|_| malformed("account"))?,
        office: given(1).map(OfficeCode::parse).transpose().map_err(|_| malformed("office"))?,
        in_reply_to: given(2).map(Number::parse).transpose().map_err(|_| malformed("in_reply_to"))?,
    };
    if address == Address::default() {
        return Err(Fault::refused(
            "ROW-NO-ADDRESS",
            "宛先がありません。account・office・in_reply_to のいずれかを記入してください。",
            "no address; give account, office or in_reply_to",
        ));
    }
    titled(cells, address)
}

fn titled(cells: &[String; 6], address: Address) -> Result<Address, Fault> {
    if cells[5].chars().count() > TITLE_MAX {
        return Err(Fault::refused(
            "ROW-TITLE",
            format!("title は{TITLE_MAX}文字までです。"),
            format!("a title has at most {TITLE_MAX} characters"),
        ));
    }
    Ok(address)
}

/// Names of all files that the rows ask for.
pub(super) fn file_names(rows: &[Row]) -> BTreeSet<&str> {
    rows.iter().filter_map(Row::file_name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_and_column_orders_read_alike() {
        let text = "type,file,title,account\r\n納入告知書,a.pdf,2026年11月分,K0001\r\n";
        let (cp932, _, _) = encoding_rs::SHIFT_JIS.encode(text);
        let bom = [b"\xef\xbb\xbf", text.as_bytes()].concat();
        let plain = read(text.as_bytes()).unwrap();
        assert_eq!(
            plain[0].cells,
            ["K0001", "", "", "a.pdf", "納入告知書", "2026年11月分"].map(String::from)
        );
        assert_eq!(plain[0].line, 2);
        assert_eq!(read(&bom).unwrap(), plain);
        assert_eq!(read(&cp932).unwrap(), plain);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let cases: [(&[u8], &str); 8] = [
            (b"", "DELIVERY-EMPTY"),
            (b"account,file,type\n", "DELIVERY-EMPTY"),
            (b"account,file\nK1,a.pdf\n", "DELIVERY-HEADER"),
            (b"file,type\na.pdf,x\n", "DELIVERY-HEADER"),
            (b"account,account,file,type\n", "DELIVERY-HEADER"),
            (b"account,file,type,mail\n", "DELIVERY-HEADER"),
            (b"\xff\xfea\0c\0", "DELIVERY-ENCODING"),
            (b"account,file,type\nK1,a.pdf,\xff\xff\n", "DELIVERY-ENCODING"),
        ];
        for (bytes, code) in cases {
            assert_eq!(read(bytes).unwrap_err().code, code, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_forgotten_quote_refuses_the_sheet_and_names_its_line() {
        let head = "office,file,type,title\r\n";
        let good = "1234,a.pdf,納入告知書,\"11月分, 再発行\"\r\n";
        let next = "5678,b.pdf,決定通知書,別の事業所の題名\r\n";
        assert_eq!(read(format!("{head}{good}\r\n{next}").as_bytes()).unwrap().len(), 2);
        for open in [
            "1234,a.pdf,納入告知書,\"11月分\r\n",
            "1234,a.pdf,納入告知書,\"11月分\"\"\r\n",
            "\"1234,a.pdf,納入告知書,11月分\r\n",
            "1234,a.pdf,納入告知書,\"11月\r\n分\"\r\n",
            "1234,a.pdf,納入告知書,\"11月\n分\"\n",
        ] {
            for sheet in [
                format!("{head}{good}{open}"),
                format!("{head}{good}{open}{next}"),
                format!("{head}{good}{open}{next}{good}"),
                format!("{head}{good}{open}{next}1234,a.pdf,x,\"t\n"),
            ] {
                let fault = read(sheet.as_bytes()).unwrap_err();
                assert_eq!(fault.code, "DELIVERY-CSV", "{sheet}");
                assert!(fault.text.en.contains("line 3 "), "{sheet}: {}", fault.text.en);
            }
        }
        let header = format!("\"office,file,type,title\r\n{next}");
        assert_eq!(read(header.as_bytes()).unwrap_err().code, "DELIVERY-CSV");
    }

    #[test]
    fn a_bad_row_stays_one_row() {
        let rows = read("account,office,in_reply_to,file,type,title\n,,,a.pdf,x,\n=1,,,a.pdf,x,\nK1,,,a.pdf,x,t,more\nK1,,,../a.pdf,x,t\n,12345,,a,x,\n,,1-000001-4,a,x,\nK1,,,ok.pdf,x,\n".as_bytes()).unwrap();
        let codes: Vec<_> =
            rows.iter().map(|row| row.address.as_ref().err().map(|fault| fault.code)).collect();
        assert_eq!(
            codes,
            [
                Some("ROW-NO-ADDRESS"),
                Some("ROW-ADDRESS"),
                Some("ROW-CELLS"),
                None,
                Some("ROW-ADDRESS"),
                Some("ROW-ADDRESS"),
                None
            ]
        );
        let said = rows[5].address.as_ref().unwrap_err();
        assert!(said.text.en.contains("1-000123-6") && said.text.ja.contains("列の入れ違い"), "{said:?}");
        assert_eq!(rows[3].file_name(), None);
        assert_eq!(rows[6].file_name(), Some("ok.pdf"));
    }
}
