//! The rules of file and set: one line each, with severity, certainty, source and words. Rules of fields and records are in `conf/forms`.

use super::level::{Certainty, Level};

/// One rule that is code rather than table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleDef {
    /// Stable ASCII id.
    pub id: &'static str,
    /// What it does unless an insurer says otherwise.
    pub level: Level,
    /// How sure its source is.
    pub certainty: Certainty,
    /// Where it comes from.
    pub source: &'static str,
    /// What was wrong, Japanese; `{0}` and so on are filled in.
    pub ja: &'static str,
    /// What was wrong, English.
    pub en: &'static str,
    /// What to do, Japanese.
    pub do_ja: &'static str,
    /// What to do, English.
    pub do_en: &'static str,
}

/// Declares the rules: an enum and its table.
macro_rules! catalog {
    ($($name:ident $id:literal $level:ident $certainty:ident $source:literal { $ja:literal $en:literal $do_ja:literal $do_en:literal })*) => {
        /// The rules of file and set.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "each is described by its texts")]
        pub enum Rule { $($name),* }

        impl Rule {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// What it says.
            pub const fn def(self) -> &'static RuleDef {
                &DEFS[self as usize]
            }
        }

        const DEFS: &[RuleDef] = &[$(RuleDef {
            id: $id, level: Level::$level, certainty: Certainty::$certainty, source: $source,
            ja: $ja, en: $en, do_ja: $do_ja, do_en: $do_en,
        }),*];
    };
}

catalog! {
    Name "KPFD-NAME" Error V "KPFD.md File" {
        "届出ファイルの名前が「{0}」です。「KPFD0006.CSV」でなければなりません。"
        "The filing is named {0}; it must be KPFD0006.CSV."
        "名前を KPFD0006.CSV に戻してから送ってください。"
        "Rename it to KPFD0006.CSV, then send it."
    }
    Shfd "KPFD-SHFD" Error V "KPFD.md File" {
        "「{0}」は年金事務所・年金基金あてのファイルです。健康保険組合あては KPFD0006.CSV です。"
        "{0} is made for the pension office or a pension fund; a society's is KPFD0006.CSV."
        "届書作成プログラムで「健康保険組合」あてに作り直してください。"
        "Make the file again for the health-insurance society."
    }
    WorkFile "KPFD-JKK" Error V "KPFD.md File" {
        "「{0}」は届書作成プログラムの作業ファイルです。届出ではありません。"
        "{0} is the program's work file, not a filing."
        "届書作成プログラムで「提出用ファイル」を作り、KPFD0006.CSV を送ってください。"
        "Let the program write KPFD0006.CSV and send that."
    }
    Empty "KPFD-EMPTY" Error V "KPFD.md File" {
        "ファイルが空(0 バイト)です。"
        "The file is empty."
        "届出ファイルを作り直して、送り直してください。"
        "Make the file again and send it."
    }
    Size "KPFD-SIZE" Error V "KPFD.md File (policy)" {
        "ファイルが {0} バイトあります。上限は {1} バイトです。"
        "The file has {0} bytes; at most {1} are taken."
        "人数を分けて、いくつかのファイルとして別々に送ってください。"
        "Split it into several filings."
    }
    Bom "KPFD-BOM" Error V "KPFD.md File" {
        "先頭に BOM(UTF-8)があります。Shift_JIS でなければなりません。"
        "It begins with a UTF-8 byte order mark; it must be Shift_JIS."
        "表計算ソフトなどで保存し直さず、届書作成プログラムが作ったファイルをそのまま送ってください。"
        "Send the file as the program wrote it, not saved again by another program."
    }
    Utf16 "KPFD-UTF16" Error V "KPFD.md File" {
        "文字コードが UTF-16 です。Shift_JIS でなければなりません。"
        "It is UTF-16; it must be Shift_JIS."
        "「Unicode テキスト」として保存し直さず、届書作成プログラムが作ったファイルをそのまま送ってください。"
        "Send the file as the program wrote it, not saved as Unicode text."
    }
    EucJp "KPFD-EUC-JP" Error V "KPFD.md File" {
        "文字コードが EUC-JP です。Shift_JIS でなければなりません。"
        "It is EUC-JP; it must be Shift_JIS."
        "給与ソフトの出力を Shift_JIS に設定し、作り直してください。"
        "Set the payroll software's output to Shift_JIS and make the file again."
    }
    Iso2022Jp "KPFD-ISO-2022-JP" Error V "KPFD.md File" {
        "文字コードが JIS(ISO-2022-JP)です。Shift_JIS でなければなりません。"
        "It is ISO-2022-JP; it must be Shift_JIS."
        "給与ソフトの出力を Shift_JIS に設定し、作り直してください。"
        "Set the payroll software's output to Shift_JIS and make the file again."
    }
    Utf8 "KPFD-UTF8" Error V "KPFD.md File" {
        "文字コードが UTF-8 です。Shift_JIS でなければなりません。"
        "It is UTF-8; it must be Shift_JIS."
        "給与ソフトの出力を Shift_JIS に設定し、作り直してください。"
        "Set the payroll software's output to Shift_JIS and make the file again."
    }
    LfOnly "KPFD-LF" Warning One "KPFD.md File" {
        "改行が LF だけです(CR LF が正しい形です)。この行から後は同じことを繰り返し知らせません。"
        "Lines end with LF alone; CR LF is right. This is said once."
        "ファイル転送はバイナリモードで行ってください。"
        "Transfer the file in binary mode."
    }
    LastCrlf "KPFD-LAST-CRLF" Warning One "KPFD.md File" {
        "最後のレコードのあとに改行がありません。ファイルが途中で切れていないか確かめてください。"
        "The last record has no line end; the file may have been cut off."
        "最後のレコードが揃っているか確かめ、改行を付けて作り直してください。"
        "Check that the last record is whole and end it with CR LF."
    }
    CutOff "KPFD-CUT-OFF" Error V "KPFD.md File" {
        "ファイルが最後のレコードの途中で切れています。このレコードの内容は確認していません。[データレコード不正]"
        "The file is cut off in its last record, which was not checked. [データレコード不正]"
        "このファイルを直して使わず、届書作成プログラムか給与ソフトで作り直してください。"
        "Do not mend this file: make it again with the program or payroll software."
    }
    EofMark "KPFD-EOF-MARK" Warning One "KPFD.md File" {
        "ファイルの終わりに EOF 記号(0x1A)があります。"
        "The file ends with an end-of-file mark (0x1A)."
        "そのまま受け付けますが、EOF 記号を付けない設定に変えてください。"
        "It is taken; set the software not to write the mark."
    }
    BlankLine "KPFD-BLANK-LINE" Warning One "KPFD.md Lines" {
        "空の行があります。"
        "There is a blank line."
        "空の行を消してください。"
        "Remove the blank line."
    }
    Quoted "KPFD-QUOTED" Warning One "KPFD.md File" {
        "項目が「\"」で囲まれています。囲まずに書く形が正しい形です。この行から後は同じことを繰り返し知らせません。"
        "Fields are quoted; they should not be. This is said once."
        "「\"」で囲まない設定にして、作り直してください。"
        "Set the software not to quote fields."
    }
    LoneQuote "KPFD-LONE-QUOTE" Error V "KPFD.md File" {
        "「\"」の対応が取れていません。"
        "A quotation mark has no partner."
        "その行の「\"」を消してください。"
        "Remove the quotation mark from the line."
    }
    LineLength "KPFD-LINE-LENGTH" Error V "KPFD.md Lines" {
        "1 行が {0} バイトを超えています。届出のレコードではありません。"
        "The line is longer than {0} bytes; it is no record."
        "改行が失われていないか確かめ、作り直してください。"
        "Check that line ends were not lost and make the file again."
    }
    Control "KPFD-CONTROL" Error V "KPFD.md File" {
        "制御文字が含まれています。[無効文字検出]"
        "It holds a control character. [無効文字検出]"
        "その文字を消してください。"
        "Remove the character."
    }
    Cp932 "KPFD-CP932" Error V "KPFD.md File" {
        "Shift_JIS(CP932)として読めない文字があります。[無効文字検出]"
        "It holds bytes that are not Shift_JIS (CP932). [無効文字検出]"
        "その文字を入れ直してください。ファイルが壊れていないかも確かめてください。"
        "Enter the character again, and check that the file is not damaged."
    }
    OldKanji "KPFD-OLD-KANJI" Warning One "K45, KPFD.md File" {
        "「{0}」は JIS 第1・第2水準にない文字です(旧字体・環境依存文字)。"
        "{0} is not in JIS levels 1 and 2 (an old-form or vendor character)."
        "データには通常の漢字を使い、正しい字体を示す PDF を添付してください。"
        "Use the usual kanji in the data and attach a PDF that shows the old form."
    }
    Gaiji "KPFD-GAIJI" Error V "K45, KPFD.md File" {
        "外字(利用者が登録した文字)が使われています。ほかのパソコンでは表示できません。"
        "A user-defined character is used; no other computer can show it."
        "データには通常の漢字を使い、正しい字体を示す PDF を添付してください。"
        "Use the usual kanji in the data and attach a PDF that shows the old form."
    }
    Spreadsheet "KPFD-SPREADSHEET" Error V "KPFD.md Lines" {
        "行の終わりに余分な「,」があります。表計算ソフトで開いて保存し直されたファイルです(先頭の 0 などが失われていることがあります)。"
        "Lines end with extra commas: the file was opened and saved again by a spreadsheet, which may have lost leading zeros."
        "表計算ソフトで保存し直さず、届書作成プログラムか給与ソフトが作ったファイルをそのまま送ってください。"
        "Send the file as the program wrote it, not saved again by a spreadsheet."
    }
    Media "KPFD-MEDIA" Error V "KPFD.md Lines" {
        "1 行目(媒体データ)の項目数が {0} です。8 項目でなければなりません。[データレコード不正]"
        "Line 1 (media record) has {0} fields, not 8. [データレコード不正]"
        "届書作成プログラムで作り直してください。"
        "Make the file again with the program."
    }
    MediaShfd "KPFD-MEDIA-22223" Error V "KPFD.md Lines" {
        "1 行目が年金事務所あて(SHFD0006.CSV)の形です。"
        "Line 1 is that of a file for the pension office (SHFD0006.CSV)."
        "届書作成プログラムで「健康保険組合」あてに作り直してください。"
        "Make the file again for the health-insurance society."
    }
    MediaOffice "KPFD-MEDIA-OFFICE" Warning One "KPFD.md Lines" {
        "1 行目の事業所番号「{0}」が英数字 4 桁以内ではありません。"
        "The office number {0} in line 1 is not one to four letters or digits."
        "健康保険組合での事業所番号を入れてください。"
        "Enter the office's number with the society."
    }
    MediaOfficeOther "KPFD-MEDIA-OFFICE-OTHER" Warning Inferred "KPFD.md Lines" {
        "1 行目の事業所番号「{0}」が、事業所データの事業所番号({1})と違います。"
        "Line 1 names office {0}; the office record is of {1}."
        "どちらが正しいか確かめ、届書作成プログラムで作り直してください。"
        "See which is right, and make the file again with the program."
    }
    MediaSerial "KPFD-MEDIA-SERIAL" Warning One "KPFD.md Lines" {
        "1 行目の媒体通番「{0}」が 001〜999 ではありません。"
        "The media serial {0} in line 1 is not 001 to 999."
        "媒体通番を 001〜999 にしてください。"
        "Use 001 to 999."
    }
    MediaDate "KPFD-MEDIA-DATE" Warning One "KPFD.md Lines" {
        "1 行目の作成年月日「{0}」が正しい日付(YYYYMMDD)ではありません。"
        "The date {0} in line 1 is not a date (YYYYMMDD)."
        "作成年月日を西暦 8 桁で入れてください。"
        "Enter the date as eight digits."
    }
    Kanri "KPFD-KANRI" Error V "KPFD.md Lines" {
        "2 行目が [kanri] ではありません。[データレコード不正]"
        "Line 2 is not [kanri]. [データレコード不正]"
        "届書作成プログラムで作り直してください。"
        "Make the file again with the program."
    }
    Agent "KPFD-AGENT" Error V "KPFD.md Lines" {
        "3 行目の項目数が {0} です。代理人名(空欄可)と事業所数の 2 項目です。[データレコード不正]"
        "Line 3 has {0} fields; it holds the agent's name or blank, and the number of offices. [データレコード不正]"
        "届書作成プログラムで作り直してください。"
        "Make the file again with the program."
    }
    OfficeCount "KPFD-OFFICE-COUNT" Warning One "KPFD.md Lines" {
        "3 行目の事業所数「{0}」と、事業所データの件数 {1} が合いません。"
        "Line 3 says {0} offices; there are {1} office records."
        "事業所数を実際の件数に直してください。"
        "Correct the number of offices."
    }
    Office "KPFD-OFFICE" Error V "KPFD.md Lines" {
        "事業所データの項目数が {0} です。9 項目でなければなりません。[データレコード不正]"
        "The office record has {0} fields, not 9. [データレコード不正]"
        "届書作成プログラムで作り直してください。"
        "Make the file again with the program."
    }
    OfficeNumber "KPFD-OFFICE-NUMBER" Error V "KPFD.md Lines" {
        "事業所データの事業所番号「{0}」が英数字 4 桁以内ではありません。"
        "The office number {0} in the office record is not one to four letters or digits."
        "健康保険組合での事業所番号を入れてください。"
        "Enter the office's number with the society."
    }
    OfficePostcode "KPFD-OFFICE-POSTCODE" Warning One "KPFD.md Lines" {
        "事業所の郵便番号「{0}」が 3 桁と 4 桁の数字ではありません。"
        "The office's postcode {0} is not three and four digits."
        "郵便番号を直してください。"
        "Correct the postcode."
    }
    OfficeAddress "KPFD-OFFICE-ADDRESS" Warning One "KPFD.md Lines" {
        "事業所所在地が長すぎます(37 文字・75 バイトまで)。[最大桁数超過]"
        "The office's address is too long (37 characters, 75 bytes). [最大桁数超過]"
        "所在地を短くしてください。"
        "Shorten the address."
    }
    OfficeName "KPFD-OFFICE-NAME" Warning One "KPFD.md Lines" {
        "事業所名称{1}。"
        "The office's name {1}."
        "事業所名称を直してください。"
        "Correct the office's name."
    }
    OfficeEmployer "KPFD-OFFICE-EMPLOYER" Warning One "KPFD.md Lines" {
        "事業主氏名{1}。"
        "The employer's name {1}."
        "事業主氏名を直してください。"
        "Correct the employer's name."
    }
    OfficePhone "KPFD-OFFICE-PHONE" Warning One "KPFD.md Lines" {
        "事業所の電話番号が正しくありません(2〜5 桁、1〜4 桁、4〜5 桁)。"
        "The office's telephone number is not 2-5, 1-4 and 4-5 digits."
        "電話番号を直してください。"
        "Correct the telephone number."
    }
    DataMark "KPFD-DATA-MARK" Error V "KPFD.md Lines" {
        "[data] の行がありません。ファイルが途中で切れているか、形が違います。[データレコード不正]"
        "There is no [data] line: the file is cut off or of another form. [データレコード不正]"
        "届書作成プログラムで作り直してください。"
        "Make the file again with the program."
    }
    NoRecords "KPFD-NO-RECORDS" Error V "KPFD.md Lines" {
        "届書のレコードが 1 件もありません。"
        "There is no record."
        "届書を入力してから、ファイルを作り直してください。"
        "Enter the forms and make the file again."
    }
    FormOld "KPFD-FORM-OLD" Error V "KPFD.md Lines" {
        "届書コード「{0}」は 2018 年 3 月より前の様式です。[代表届書コード不正]"
        "Form code {0} is the format used before March 2018. [代表届書コード不正]"
        "届書作成プログラムまたは給与ソフトを新しい版にして、作り直してください。"
        "Update the program or payroll software and make the file again."
    }
    FormUnknown "KPFD-FORM-UNKNOWN" Error V "KPFD.md Lines" {
        "届書コード「{0}」は知られていません。[代表届書コード不正]"
        "Form code {0} is not known. [代表届書コード不正]"
        "届書コードを確かめてください。受け付ける届書: {1}"
        "Check the code. Forms that are taken: {1}"
    }
    FormRefused "KPFD-FORM-REFUSED" Error V "K44 K49" {
        "届書「{0}」は、この健康保険組合では電子申請で受け付けていません。"
        "Form {0} is not taken electronically by this society."
        "紙で届け出るか、健康保険組合に問い合わせてください。受け付ける届書: {1}"
        "File it on paper or ask the society. Forms that are taken: {1}"
    }
    RecordShort "KPFD-RECORD-SHORT" Error V "KPFD.md Lines" {
        "項目数が {0} しかありません。この届書は {1} 項目です。項目の位置が決まらないため、このレコードの内容は確認していません。[データレコード不正]"
        "The record has only {0} fields; this form has {1}. Which field is which cannot be told, so this record was not checked. [データレコード不正]"
        "項目の区切り(,)が抜けたり、行が途中で切れたりしていないか確かめてください。"
        "Check that no separator was lost and that the line is whole."
    }
    FieldCount "KPFD-FIELD-COUNT" Error V "KPFD.md Lines" {
        "項目数が {0} です。この届書は {1} 項目です。先頭からの並びは正しいものとして、内容を確認しました。[データレコード不正]"
        "The record has {0} fields; this form has {1}. It was checked as if its first fields stood where they belong. [データレコード不正]"
        "項目の区切り(,)が増えていないか確かめてください。"
        "Check that no separator was added."
    }
    Offices "KPFD-OFFICES" Error V "KPFD.md File, policy" {
        "{0} 事業所分が収録されています。一度に届け出られるのは {1} 事業所までです。[複数事業所収録]"
        "It holds {0} offices; at most {1} are taken at once. [複数事業所収録]"
        "事業所ごとにファイルを分けて送ってください。"
        "Send one file for each office."
    }
    OfficeForeign "KPFD-OFFICE-FOREIGN" Error V "K8 E13" {
        "事業所番号「{0}」は、このアカウントが届け出られる事業所ではありません。"
        "Office {0} is not one that this account may file for."
        "事業所番号を確かめるか、健康保険組合に事業所の追加を申し出てください。"
        "Check the number, or ask the society to add the office to the account."
    }
    OfficeMismatch "KPFD-OFFICE-MISMATCH" Error V "Manifest `# office:`" {
        "SHA256SUMS の「# office: {1}」と、ファイルの事業所番号「{0}」が違います。"
        "The manifest says `# office: {1}`, the file says {0}."
        "どちらかを正しい事業所番号に直し、署名し直してください。"
        "Correct one of them and sign again."
    }
    RecordOffice "KPFD-RECORD-OFFICE" Warning One "KPFD.md Lines" {
        "レコードの事業所番号「{0}」が、事業所データにありません。"
        "The record's office number {0} is in no office record."
        "レコードと事業所データの事業所番号を揃えてください。"
        "Make the numbers agree."
    }
    Twice "KPFD-TWICE" Warning Inferred "K53" {
        "{0} 行目と {1} 行目は、同じ人・同じ届書・同じ日付です。"
        "Lines {0} and {1} are of the same person, form and date."
        "重複であれば、どちらかを消してください。別の人であれば、このままで構いません。"
        "If it is a duplicate, remove one of them; if these are two persons, nothing need be done."
    }
    ClaimsFirst "CLAIMS-CONTROL" Error One "KPFD.md Claims" {
        "{0}。"
        "{0}."
        "請求データを作り直してください。"
        "Make the claims file again."
    }
    ClaimsSerial "CLAIMS-SERIAL" Error One "KPFD.md Claims" {
        "連番が「{0}」です。{1} でなければなりません。"
        "The serial number is {0}, expected {1}."
        "行が抜けたり入れ替わったりしていないか確かめ、作り直してください。"
        "Check that no line was lost or moved, and make the file again."
    }
    ClaimsEnd "CLAIMS-END" Error One "KPFD.md Claims" {
        "最後がエンドレコード(3 で始まる行)ではありません。"
        "The last line is not the end record (beginning with 3)."
        "ファイルが途中で切れていないか確かめ、作り直してください。"
        "Check that the file is whole, and make it again."
    }
    ClaimsCount "CLAIMS-COUNT" Error One "KPFD.md Claims" {
        "コントロールレコードのデータ件数「{0}」と、実際の件数 {1} が合いません。"
        "The control record says {0} data records; there are {1}."
        "請求データを作り直してください。"
        "Make the claims file again."
    }
    ClaimsKind "CLAIMS-KIND" Error One "KPFD.md Claims" {
        "レコード種別「{0}」は 1、2、3 のどれでもありません。"
        "Record kind {0} is not 1, 2 or 3."
        "請求データを作り直してください。"
        "Make the claims file again."
    }
    SetNoFiling "SET-NO-FILING" Error V "K41-K43" {
        "届出ファイル(KPFD0006.CSV)がありません。"
        "There is no filing (KPFD0006.CSV)."
        "KPFD0006.CSV を加えるか、電子申請以外のときは「# kind: other」を書いてください。"
        "Add KPFD0006.CSV, or write `# kind: other`."
    }
    SetOtherFiling "SET-OTHER-FILING" Error V "K55" {
        "電子申請以外(# kind: other)に届出ファイルが入っています。届出とその添付は電子申請で送ります。"
        "A submission of kind other holds a filing; filings and their attachments travel together."
        "「# kind: other」を消し、届出として送り直してください。"
        "Remove `# kind: other` and send it as a filing."
    }
    SetOtherClosed "SET-OTHER-CLOSED" Error V "K55, policy" {
        "この健康保険組合は電子申請以外(# kind: other)の送信を受け付けていません。"
        "This insurer takes no submissions of kind other."
        "郵送するか、健康保険組合へお問い合わせください。"
        "Send it by post, or ask the insurer."
    }
    SetOtherSubject "SET-OTHER-SUBJECT" Error V "K48 K55, policy" {
        "電子申請以外の送信には件名が要ります。"
        "A submission of kind other needs a subject."
        "SHA256SUMS の先頭に「# subject: 件名」を書いて署名し直してください。"
        "Write `# subject: ...` at the top of SHA256SUMS and sign again."
    }
    SetOtherCover "SET-OTHER-COVER" Warning One "K51 K55" {
        "「{0}」は総括表のようです。届出の添付書類は届出と一緒に送ります。"
        "{0} looks like a cover sheet; attachments travel with their filing."
        "届出の一部であれば取り下げて、届出と一緒に送り直してください。"
        "If it belongs to a filing, withdraw this and send it with the filing."
    }
    SetOtherType "SET-OTHER-TYPE" Error V "K55, policy" {
        "「{0}」は受け付けていない種類のファイルです。受け付ける種類: {1}。[不正なファイルが存在します]"
        "{0} is of a kind that is not taken; taken are {1}. [不正なファイルが存在します]"
        "PDF などに変えて送り直してください。"
        "Save it as one of these, and send it again."
    }
    SetOtherContent "SET-OTHER-CONTENT" Error V "K55, policy" {
        "「{0}」の中身は .{1} ではありません。"
        "The content of {0} is not .{1}."
        "作成したソフトで保存し直してください。名前だけを変えたものは使えません。"
        "Save it again with the program that made it; renaming is not enough."
    }
    SetOtherMacros "SET-OTHER-MACROS" Error V "K32 K55, policy" {
        "「{0}」にマクロが含まれています。"
        "{0} carries macros."
        "マクロを含まない形式で保存し直すか、PDF にしてください。"
        "Save it without macros, or as PDF."
    }
    SetCover "SET-COVER" Error V "K51" {
        "総括表がありません。"
        "There is no cover sheet (総括表)."
        "総括表を加え、SHA256SUMS に「# cover: ファイル名」を書くか、名前に「総括表」または「soukatsu」を付けてください。"
        "Add it and name it by `# cover: FILE`, or let its name hold 総括表 or soukatsu."
    }
    SetCoverType "SET-COVER-TYPE" Error V "K51, policy" {
        "総括表「{0}」の形式は受け付けていません。受け付ける形式: {1}"
        "The cover sheet {0} is not of a form that is taken: {1}."
        "総括表を作り直してください。"
        "Make the cover sheet in one of these forms."
    }
    SetCoverCounts "SET-COVER-COUNTS" Error V "KPFD.md 総括表" {
        "総括表では届書「{0}」が {1} 件ですが、届出ファイルには {2} 件あります。"
        "The cover sheet says {1} of form {0}; the filing holds {2}."
        "総括表か届出ファイルの件数を直してください。"
        "Correct the cover sheet or the filing."
    }
    SetCoverUnread "SET-COVER-UNREAD" Error V "KPFD.md 総括表" {
        "総括表「{0}」に、届書 {1} の件数が見つかりません。{2} 列目の届書コード(7 桁)と {3} 列目の件数(数字だけ)を探しました。"
        "No count of form {1} was found in the cover sheet {0}; looked for were a form code of 7 digits in column {2} and a bare number in column {3}."
        "総括表を Shift_JIS か UTF-8 の CSV で、その列に届書コードと件数を書いて作り直すか、PDF にしてください。"
        "Make it again as CSV in Shift_JIS or UTF-8 with code and count in these columns, or as PDF."
    }
    SetNumberPdf "SET-NUMBER-PDF" Error V "K54" {
        "「{0}」は個人番号届のようです。個人番号を添付ファイルで送ることはできません。"
        "{0} seems to be a form with individual numbers; these cannot be sent as a file of their own."
        "個人番号は届出データの項目に入れ、このファイルを外してください。書けないときは、個人番号届を紙で郵送してください。"
        "Put the number into the data and leave the file out, or send the form on paper by post."
    }
    SetCorrection "SET-CORRECTION" Warning V "K53 K55" {
        "「{0}」に「{1}」とあります。提出済みの届出の訂正・取消は電子申請では受け付けません。"
        "{0} holds the word {1}. Corrections of earlier filings are not taken electronically."
        "訂正・取消の届出であれば、紙で提出してください。そうでなければ、このままで構いません。"
        "If it is a correction file it on paper; otherwise nothing need be done."
    }
    SetRepeated "SET-REPEATED" Error V "K53" {
        "同じ人・同じ届書・同じ日付の届出を、すでに受け付けています(受付番号 {0})。訂正の届出とみなされます。"
        "The same person, form and date were filed before (submission {0}); this is taken for a correction."
        "訂正は紙で提出してください。重複であれば、この届出からその人を外してください。"
        "File corrections on paper; if it is a duplicate, leave the person out."
    }
    SetRepeatedHeld "SET-REPEATED-HELD" Error V "K53" {
        "同じ人・同じ届書・同じ日付の届出(受付番号 {0})を保留しています。"
        "The same person, form and date are in submission {0}, which is held."
        "差し替えるときは、先に {0} を取り下げてから、もう一度送ってください。重複であれば、何もする必要はありません。"
        "To replace it, withdraw {0} first and send this one again; if it is a duplicate, nothing need be done."
    }
    SetEmptyFile "SET-EMPTY-FILE" Error V "K55" {
        "「{0}」は空(0 バイト)のファイルです。"
        "{0} is empty."
        "ファイルを作り直して、送り直してください。"
        "Make the file again and send it."
    }
    SetNotPdf "SET-NOT-PDF" Error V "K41 K55" {
        "「{0}」の中身は PDF ではありません。"
        "The content of {0} is not PDF."
        "PDF として保存し直してください。名前だけを .pdf に変えたものは使えません。"
        "Save it as PDF; renaming is not enough."
    }
    SetPdfCut "SET-PDF-CUT" Error V "K55" {
        "「{0}」は PDF の終わりの印がなく、途中で切れています。"
        "{0} has no end mark; the PDF is cut off."
        "PDF を作り直して、送り直してください。"
        "Make the PDF again and send it."
    }
    SetPdfEncrypted "SET-PDF-ENCRYPTED" Error V "K55, policy" {
        "「{0}」は暗号化(パスワード付き)の PDF です。健康保険組合で開けません。"
        "{0} is an encrypted PDF; the society cannot open it."
        "パスワードを外して保存し直してください。"
        "Save it without a password."
    }
    SetAttachmentType "SET-ATTACHMENT-TYPE" Error V "K41-K43, policy" {
        "「{0}」は受け付けていない種類のファイルです。届出に添付できるのは PDF です。[不正なファイルが存在します]"
        "{0} is of a kind that is not taken; attachments of a filing are PDF. [不正なファイルが存在します]"
        "PDF にして添付するか、外してください。"
        "Attach it as PDF or leave it out."
    }
    SetFileSize "SET-FILE-SIZE" Error V "policy" {
        "「{0}」が {1} バイトあります。上限は {2} バイトです。"
        "{0} has {1} bytes; at most {2} are taken."
        "解像度を下げるなどして小さくしてください。"
        "Make it smaller."
    }
    SetFiles "SET-FILES" Error V "policy" {
        "添付ファイルが {0} 件あります。上限は {1} 件です。"
        "There are {0} attachments; at most {1} are taken."
        "ファイルをまとめるか、いくつかの届出に分けてください。"
        "Join files, or split the filing."
    }
    SetClosed "SET-CLOSED" Error V "E, policy" {
        "受付期間外です。次の受付開始は {0} です。"
        "It is outside the window; the next one opens on {0}."
        "受付開始後に送り直してください。"
        "Send it again then."
    }
    SetHeld "SET-HELD" Warning V "E, policy" {
        "受付期間外のため、次の受付開始({0})まで保留します。"
        "It is outside the window and is held until the next one opens ({0})."
        "何もする必要はありません。取りやめるときは取下げを送ってください。"
        "Nothing need be done; withdraw it to cancel."
    }
}

impl Rule {
    /// Its id.
    pub const fn id(self) -> &'static str {
        self.def().id
    }
}

/// Puts `args` where the text says `{0}`, `{1}`, ... What is put in is not looked at again.
pub(crate) fn fill(text: &str, args: &[&str]) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let digit = after.as_bytes().get(1).filter(|b| b.is_ascii_digit()).map(|b| usize::from(b - b'0'));
        match digit {
            Some(i) if after.as_bytes().get(2) == Some(&b'}') => {
                out.push_str(args.get(i).copied().unwrap_or(""));
                rest = &after[3..];
            }
            _ => {
                out.push('{');
                rest = &after[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_stable_codes_and_uncertain_rules_only_warn() {
        let ids: BTreeSet<_> = Rule::ALL.iter().map(|r| r.id()).collect();
        assert_eq!(ids.len(), Rule::ALL.len());
        for rule in Rule::ALL {
            let def = rule.def();
            assert!(
                def.id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-'),
                "{}",
                def.id
            );
            // The claims profile's structure is what makes its records readable at all.
            if def.level == Level::Error && !def.id.starts_with("CLAIMS-") {
                assert_eq!(def.certainty, Certainty::V, "{}", def.id);
            }
        }
        assert_eq!(fill("a{0}b{1}{2}{x}", &["{1}", "2"]), "a{1}b2{x}");
    }
}
