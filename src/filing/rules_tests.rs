use super::*;

#[test]
fn the_builtin_tables_are_sound_and_uncertain_rules_warn() {
    let rules = RuleSet::builtin().unwrap();
    let counts = |code| rules.form(Profile::Kpfd, code).unwrap().counts.clone();
    assert_eq!(counts("2200700"), [36, 37]);
    assert_eq!(counts("2201700"), [30]);
    assert_eq!(counts("2221700"), [52]);
    assert_eq!(counts("2225700"), [56]);
    assert_eq!(counts("2265700"), [24]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/forms");
    assert_eq!(RuleSet::load(&folder).unwrap().rule_ids(), rules.rule_ids());
    for form in rules.forms(Profile::Kpfd) {
        for rule in &form.rules {
            assert_eq!(rule.level, rule.certainty.level(), "{}", rule.id);
        }
    }
}

#[test]
fn an_insurer_changes_what_it_likes() {
    let text = "[filing]\nforms = [\"2200700\"]\noffices_max = 3\n[filing.counts]\n2200700 = [37]\n\
                [filing.severity]\nKPFD-QUOTED = \"error\"\n2200700-KANA = \"error\"\n[filing.cover]\nrequired = false\n\
                [filing.calendar]\nfrom_day = 1\nto_day = 10\noutside = \"hold\"\n[retention]\ndays = 70\n";
    let rules = RuleSet::builtin().unwrap().for_insurer("06139999.toml", text).unwrap();
    assert_eq!(rules.level(Rule::Quoted), Level::Error);
    assert_eq!(rules.policy().offices_max, 3);
    assert!(!rules.takes(rules.form(Profile::Kpfd, "2265700").unwrap()));
    let form = rules.form(Profile::Kpfd, "2200700").unwrap();
    assert_eq!(form.counts, [37]);
    assert!(form.rule_ids().contains(&("2200700-KANA-CHARS".into(), Level::Error)));
    assert!(form.rule_ids().contains(&("2200700-KANJI-CHARS".into(), Level::Warning)));
}

#[test]
fn an_id_names_its_rule_alone_and_else_what_ids_begin_with() {
    let changed = |id: &str| {
        let builtin = RuleSet::builtin().unwrap();
        let mut rules = builtin.clone();
        let count = rules.set_level(id, Level::Off);
        let all = rules.rule_ids().into_iter().zip(builtin.rule_ids());
        let changed: Vec<String> = all
            .filter(|(new, old)| new.1 == Level::Off && old.1 != Level::Off)
            .map(|(new, _)| new.0)
            .collect();
        assert_eq!(changed.len(), count, "{id}");
        changed
    };
    assert_eq!(changed("2200700-TOTAL"), ["2200700-TOTAL"]);
    assert_eq!(changed("2200700-TOTAL-CHARS"), ["2200700-TOTAL-CHARS"]);
    assert_eq!(changed("KPFD-OFFICE"), ["KPFD-OFFICE"]);
    assert_eq!(changed("2200700-KAN"), [""; 0]);
    let of_kana = changed("2200700-KANA");
    assert!(
        of_kana.contains(&"2200700-KANA-CHARS".to_owned())
            && of_kana.contains(&"2200700-KANA-BLANK".to_owned())
    );
    let other = changed("SET-OTHER");
    assert!(other.len() > 4 && other.iter().all(|id| id.starts_with("SET-OTHER-")), "{other:?}");
}

#[test]
fn a_table_that_cannot_work_is_refused_at_its_line() {
    let good = BUILTIN[1].1;
    let cases = [
        (
            "class = \"digits\", bytes = [1, 1], values = [\"7\", \"9\"]",
            "class = \"digits\", bytes = [1, 1], values = [\"A\"]",
            "class",
        ),
        (
            "one_blank = { field = \"kana\" }",
            "range = { fields = [\"insured\"], from = 98, to = 1 }",
            "98 to 1",
        ),
        ("values = [\"2201700\"]", "values = [\"2200700\"]", "2201700"),
        ("when = { field = \"cause\", is = [\"7\"] }", "when = { field = \"cause\", is = [] }", "empty"),
        (
            "when = { field = \"cause\", is = [\"7\"] }",
            "when = { field = \"cause\", is = [\"777\"] }",
            "length",
        ),
        (
            "when = { field = \"cause\", not = [\"4\", \"5\"] }",
            "when = { field = \"cause\", not = [] }",
            "empty",
        ),
        ("chars_max = 12", "chars_max = 0", "chars_max"),
        ("years = 75", "years = -75", "years"),
        ("days = 1 }", "days = 99999 }", "days"),
        ("en = \"The date of loss is not after the date of birth.\"", "en = \" \"", "blank"),
        ("do_en = \"Enter the date.\"", "do_en = \"\"", "blank"),
        ("{expected}", "{expectd}", "{expectd}"),
        ("do_en = \"Enter the date.\"", "do_en = \"Enter {expected}.\"", "{expected}"),
        ("older = [\"22017041\"]", "older = [\"2201700\"]", "older"),
        (
            "one_blank = { field = \"kana\" }",
            "range = { fields = [\"remarks\"], from = 1, to = 98 }",
            "remarks",
        ),
        ("key = \"over70\", ja = \"70歳以上被用者不該当\"", "key = \"over70\", ja = \"\"", "blank"),
        (
            "  { key = \"two_offices\"",
            "  { key = \"dead\", ja = \"x\", en = \"x\", class = \"digits\", only_with = 99, certainty = \"1\" },\n  { key = \"two_offices\"",
            "only_with",
        ),
    ];
    for (from, to, word) in cases {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        let error = parse_form("2201700.toml", &bad).expect_err(to);
        assert!(error.reason.contains(word), "{to}: {error}");
        // A rule's complaint stands at its [[rule]] and names it.
        let at = bad[..bad.find(to).unwrap()].matches('\n').count() + 1;
        let line = bad.lines().take(error.line).last().unwrap();
        assert!(
            error.line == at || line == "[[rule]]" && error.reason.contains("rule \"2201700-"),
            "{to}: {error}"
        );
    }
}

#[test]
fn errors_in_tables_name_file_line_and_what_is_allowed() {
    let good = BUILTIN[0].1;
    let cases = [
        (good.replace("class = \"kana\"", "class = \"katakana\""), "katakana"),
        (good.replace("counts = [36, 37]", "counts = [35]"), "35"),
        (good.replace("than = ", "then = "), ""),
        (
            good.replace("birth = \"birth\", on = \"acquired\"", "birth = \"birth\", on = \"acquire\""),
            "\"acquire\"",
        ),
        (good.replace("key = \"kanji\"", "key = \"kana\""), "twice"),
        (good.replace("id = \"2200700-TOTAL\"", "id = \"TOTAL\""), "TOTAL"),
        (good.replace("parts = [\"money\"", "parts = [\"monies\""), "monies"),
        (good.replace("certainty = \"v\"", "certainty = \"sure\""), "sure"),
    ];
    for (text, word) in cases {
        if text == good {
            continue;
        }
        let error = parse_form("2200700.toml", &text).expect_err(word);
        assert!(error.line > 0 && error.to_string().starts_with("2200700.toml:"), "{error}");
        assert!(error.reason.contains(word), "{error}");
        let lines = text.lines().count();
        assert!(error.line <= lines, "{error}");
    }
    let rules = RuleSet::builtin().unwrap();
    for (text, line) in [
        ("[filing]\nforms = [\"1\"]\n", 2),
        ("[filing]\ncolour = 1\n", 2),
        ("[filing.severity]\nKPFD-NOTHING = \"off\"\n", 2),
        ("[filing.severity]\nKPFD-QUOTED = \"fatal\"\n", 2),
        ("[filing.counts]\n2200700 = [38]\n", 2),
        ("\n[filing.calendar]\nfrom_day = 0\nto_day = 10\noutside = \"hold\"\n", 2),
        ("[filing]\n\noffices_max = 0\n", 3),
        ("[filing]\nfiling_bytes_max = 0\n", 2),
        ("[filing]\nforms = []\n", 2),
        ("[filing.cover]\nrequired = true\nnames = [\"soukatsu\", \" \"]\n", 3),
        ("[filing.cover]\ntypes = []\n", 2),
        ("[filing.cover]\nrequired = false\ncsv = { form_column = 0, count_column = 1 }\n", 3),
        ("[filing.cover]\ncsv = { form_column = 2, count_column = 2 }\n", 2),
        ("[filing.attachments]\nfiles_max = 0\nbytes_max = 0\n", 3),
        ("[other]\ntypes = []\n", 2),
        ("[other]\nfiles_max = 0\n", 2),
        ("\n\n[other]\nbytes_max = 0\n", 4),
    ] {
        let error = rules.for_insurer("x.toml", text).expect_err(text);
        assert_eq!(error.line, line, "{error}");
    }
}
