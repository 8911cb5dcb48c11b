//! Quotation (見積書) and bill (請求書) of the fee for a certificate, as PDF (H8 H9, C): two papers, the first valid to the end
//! of its month. No font is embedded: Japanese is set in a predefined font (Adobe-Japan1) that every reader has or
//! substitutes, figures and Latin letters in Helvetica, whose widths are known, so that amounts stand flush right.

use chrono::{Datelike, Days, Months, NaiveDate};
use pdf_writer::types::{CidFontType, FontFlags, SystemInfo};
use pdf_writer::{Content, Finish, Name, Pdf, Rect, Ref, Str, TextStr};

/// Which paper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Paper {
    /// 見積書
    Quotation,
    /// 請求書, with where to transfer to: one line each.
    Bill(Vec<String>),
}

/// What stands on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheet {
    /// Which paper.
    pub paper: Paper,
    /// The application's number.
    pub number: String,
    /// To whom, without 様 or 御中.
    pub addressee: String,
    /// Who makes it out: name first.
    pub issuer: Vec<String>,
    /// Local day.
    pub on: NaiveDate,
    /// What the fee is for, one line.
    pub item: String,
    /// Yen.
    pub fee: u32,
    /// Words on the tax, such as 税込.
    pub tax: String,
    /// How it is paid, one line.
    pub payment: String,
}

/// The last day of this day's month.
pub fn month_end(on: NaiveDate) -> NaiveDate {
    let next = on.with_day(1).and_then(|first| first.checked_add_months(Months::new(1)));
    next.and_then(|next| next.checked_sub_days(Days::new(1))).unwrap_or(on)
}

/// `7,800`
pub fn grouped(yen: u32) -> String {
    let digits = yen.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn day(on: NaiveDate) -> String {
    format!("{}年{}月{}日", on.year(), on.month(), on.day())
}

const JAPANESE: Name<'_> = Name(b"J");
const LATIN: Name<'_> = Name(b"L");
const LEFT: f32 = 70.0;
const RIGHT: f32 = 525.0;

/// Widths of Helvetica from the blank to the tilde, in thousandths.
#[rustfmt::skip]
const HELVETICA: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278,
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,
    1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,
    333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556,
    556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];

/// Its byte in Helvetica (Windows' encoding), and its width; none for what is set in the Japanese font.
fn latin(c: char) -> Option<(u8, u16)> {
    match c {
        ' '..='~' => {
            let byte = u8::try_from(c).ok()?;
            Some((byte, HELVETICA[usize::from(byte - b' ')]))
        }
        '¥' => Some((0xa5, 556)),
        _ => None,
    }
}

fn width(text: &str, size: f32) -> f32 {
    let thousandths: f32 = text
        .chars()
        .map(|c| match latin(c) {
            Some((_, width)) => f32::from(width),
            None if ('\u{ff61}'..='\u{ff9f}').contains(&c) => 500.0,
            None => 1000.0,
        })
        .sum();
    thousandths * size / 1000.0
}

/// One line at this place.
fn line(content: &mut Content, x: f32, y: f32, size: f32, text: &str) {
    content.begin_text();
    content.next_line(x, y);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_latin = latin(first).is_some();
        let end = rest.find(|c| latin(c).is_some() != is_latin).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        let bytes: Vec<u8> = if is_latin {
            run.chars().filter_map(latin).map(|(byte, _)| byte).collect()
        } else {
            run.encode_utf16().flat_map(u16::to_be_bytes).collect()
        };
        content.set_font(if is_latin { LATIN } else { JAPANESE }, size);
        content.show(Str(&bytes));
        rest = after;
    }
    content.end_text();
}

/// As large as fits between here and the margin, at most `size`.
fn fitted(content: &mut Content, x: f32, y: f32, size: f32, room: f32, text: &str) {
    let wide = width(text, size);
    let size = if wide > room { size * room / wide } else { size };
    line(content, x, y, size, text);
}

fn centered(content: &mut Content, y: f32, size: f32, text: &str) {
    line(content, (595.0 - width(text, size)) / 2.0, y, size, text);
}

fn flush_right(content: &mut Content, x: f32, y: f32, size: f32, text: &str) {
    line(content, x - width(text, size), y, size, text);
}

fn rule(content: &mut Content, from: (f32, f32), to: (f32, f32)) {
    content.set_line_width(0.6);
    content.move_to(from.0, from.1).line_to(to.0, to.1).stroke();
}

/// The paper, one page of A4. Same input, same bytes.
pub fn pdf(sheet: &Sheet) -> Vec<u8> {
    let mut pdf = Pdf::new();
    let [catalog, pages, page_id, latin_font, type0, cid, descriptor, content_id, info] =
        [1, 2, 3, 4, 5, 6, 7, 8, 9].map(Ref::new);
    pdf.catalog(catalog).pages(pages).lang(TextStr("ja"));
    pdf.pages(pages).kids([page_id]).count(1);
    let mut page = pdf.page(page_id);
    page.media_box(Rect::new(0.0, 0.0, 595.0, 842.0));
    page.parent(pages);
    page.contents(content_id);
    page.resources().fonts().pair(LATIN, latin_font).pair(JAPANESE, type0);
    page.finish();
    let title = match sheet.paper {
        Paper::Quotation => "見積書",
        Paper::Bill(_) => "請求書",
    };
    pdf.document_info(info).title(TextStr(title));
    pdf.type1_font(latin_font).base_font(Name(b"Helvetica")).encoding_predefined(Name(b"WinAnsiEncoding"));
    let face = Name(b"GothicBBB-Medium");
    let mut font = pdf.type0_font(type0);
    font.base_font(Name(b"GothicBBB-Medium-UniJIS-UTF16-H"));
    font.encoding_predefined(Name(b"UniJIS-UTF16-H"));
    font.descendant_font(cid);
    font.finish();
    let mut font = pdf.cid_font(cid);
    font.subtype(CidFontType::Type0).base_font(face).font_descriptor(descriptor).default_width(1000.0);
    font.system_info(SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Japan1"), supplement: 4 });
    // Half-width kana.
    font.widths().same(327, 389, 500.0);
    font.finish();
    pdf.font_descriptor(descriptor)
        .name(face)
        .flags(FontFlags::SYMBOLIC)
        .bbox(Rect::new(-174.0, -268.0, 1001.0, 944.0))
        .italic_angle(0.0)
        .ascent(880.0)
        .descent(-120.0)
        .cap_height(737.0)
        .stem_v(99.0);
    let content = draw(sheet, title).finish();
    pdf.stream(content_id, &content);
    pdf.finish()
}

fn draw(sheet: &Sheet, title: &str) -> Content {
    let mut c = Content::new();
    let c_ = &mut c;
    let spaced: String = title.chars().flat_map(|letter| [letter, '　']).collect();
    centered(c_, 740.0, 24.0, spaced.trim_end());
    let on = Text2("発行日", day(sheet.on));
    flush_right(c_, RIGHT, 700.0, 10.5, &on.joined());
    flush_right(c_, RIGHT, 684.0, 10.5, &Text2("申込番号", sheet.number.clone()).joined());
    let addressee = format!("{} 御中", sheet.addressee);
    fitted(c_, LEFT, 652.0, 15.0, 300.0, &addressee);
    rule(c_, (LEFT, 645.0), (LEFT + width(&addressee, 15.0).min(300.0), 645.0));
    let mut y = 622.0;
    for text in &sheet.issuer {
        let size = if width(text, 11.0) > 250.0 { 11.0 * 250.0 / width(text, 11.0) } else { 11.0 };
        flush_right(c_, RIGHT, y, size, text);
        y -= 16.0;
    }
    let lead = match sheet.paper {
        Paper::Quotation => "下記のとおりお見積り申し上げます。",
        Paper::Bill(_) => "下記のとおりご請求申し上げます。",
    };
    line(c_, LEFT, 510.0, 11.0, lead);
    let amount = format!("¥{}", grouped(sheet.fee));
    table(c_, sheet, &amount);
    let mut y = 380.0;
    let mut note = |text: &str| {
        fitted(c_, LEFT, y, 10.5, RIGHT - LEFT, text);
        y -= 18.0;
    };
    note(&format!("お支払方法: {}", sheet.payment));
    match &sheet.paper {
        Paper::Quotation => {
            note(&format!("見積有効期限: {} (発行月の末日)", day(month_end(sheet.on))));
            note("本書は見積書であり、請求書ではありません。");
        }
        Paper::Bill(to) => {
            note("お振込先:");
            for text in to {
                note(&format!("　{text}"));
            }
            note("お振込みの際は、申込番号をお書き添えください。入金を確認した後に証明書を発行します。");
        }
    }
    c
}

/// A label and its value, as one line.
struct Text2(&'static str, String);

impl Text2 {
    fn joined(&self) -> String {
        format!("{}: {}", self.0, self.1)
    }
}

/// 項目名, 数量, 価格, and their sum: figures flush right.
fn table(c: &mut Content, sheet: &Sheet, amount: &str) {
    let (top, head, row, sum) = (490.0, 468.0, 446.0, 422.0);
    let (quantity, price) = (400.0, RIGHT - 8.0);
    let price_head = format!("価格({})", sheet.tax);
    for y in [top, head, row, sum] {
        rule(c, (LEFT, y), (RIGHT, y));
    }
    for x in [LEFT, 350.0, 410.0, RIGHT] {
        let bottom = if x > LEFT && x < RIGHT && x < 400.0 { row } else { sum };
        rule(c, (x, top), (x, bottom));
    }
    line(c, LEFT + 8.0, 475.0, 10.5, "項目名");
    flush_right(c, quantity, 475.0, 10.5, "数量");
    flush_right(c, price, 475.0, 10.5, &price_head);
    fitted(c, LEFT + 8.0, 453.0, 10.5, 350.0 - LEFT - 16.0, &sheet.item);
    flush_right(c, quantity, 453.0, 10.5, "1");
    flush_right(c, price, 453.0, 10.5, amount);
    flush_right(c, quantity, 429.0, 11.0, &format!("合計({})", sheet.tax));
    flush_right(c, price, 429.0, 11.0, amount);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn a_quotation_holds_to_the_end_of_its_month() {
        for (on, end) in
            [("2026-11-23", "2026-11-30"), ("2026-12-01", "2026-12-31"), ("2028-02-29", "2028-02-29")]
        {
            assert_eq!(month_end(date(on)), date(end));
        }
    }

    #[test]
    fn amounts_are_grouped_and_flush_right() {
        for (yen, text) in [(0, "0"), (100, "100"), (7_800, "7,800"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(yen), text);
        }
        let of = |text: &str| (width(text, 10.0) * 100.0).round();
        assert_eq!(of("¥7,800"), of("¥9,999"), "figures are of one width");
        assert_eq!(of("見積"), 2000.0);
        assert_eq!(of("ﾐﾂ"), 1000.0);
    }

    #[test]
    fn the_same_sheet_gives_the_same_bytes() {
        let sheet = Sheet {
            paper: Paper::Quotation,
            number: "A1-000001-3".into(),
            addressee: "株式会社見本工業 (Mihon) 𠮷田".into(),
            issuer: vec!["東京見本健康保険組合".into()],
            on: date("2026-11-23"),
            item: "証明書発行手数料".into(),
            fee: 7_800,
            tax: "税込".into(),
            payment: "相殺".into(),
        };
        let bytes = pdf(&sheet);
        assert!(bytes.starts_with(b"%PDF-1."));
        assert_eq!(bytes, pdf(&sheet));
        let bill = pdf(&Sheet { paper: Paper::Bill(vec!["見本銀行".into()]), ..sheet });
        assert_ne!(bytes, bill, "a bill is another paper");
    }
}
