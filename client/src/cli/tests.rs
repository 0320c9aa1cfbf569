use std::path::Path;
use std::{env, fs};

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;

/// The help of all commands is in help.txt, so that a change of it is seen in a review. UPDATE_SNAPSHOTS=1 writes it anew.
#[test]
fn help_is_as_it_was() {
    let mut command = Cli::command().term_width(100);
    command.build();
    let mut found = String::new();
    collect(&mut command, &mut found);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/help.txt");
    if env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&file, &found).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    for (number, (expected, found)) in expected.lines().zip(found.lines()).enumerate() {
        assert_eq!(expected, found, "line {} of help.txt", number + 1);
    }
    assert_eq!(expected.len(), found.len(), "help.txt");
}

fn collect(command: &mut clap::Command, text: &mut String) {
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    *text += &format!("{}\n\n", help.join("\n").trim_end());
    for inner in command.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
        *text += "----------------------------------------\n";
        collect(inner, text);
    }
}

#[test]
fn the_lines_that_scripts_rely_on_are_understood() {
    let parse = |line: &str| Cli::try_parse_from(line.split(' ')).unwrap().command;
    let Command::Join(join) = parse("client join 127.0.0.1:7843 --token T --state DIR --name cam") else {
        panic!()
    };
    assert_eq!((join.address.port(), join.token.as_deref()), (7843, Some("T")));
    let Command::Run(run) = parse("client run --state DIR --data DIR --json") else { panic!() };
    assert!((run.held_out - 0.2).abs() < 1e-9 && run.output.json && run.compute.threads == 0);
    let Command::Predict(predict) = parse("client predict a.jpg b.jpg --state DIR --out OUT") else {
        panic!()
    };
    assert_eq!(predict.images.len(), 2);
    let Command::Score(score) = parse("client score D.json A.json --json") else { panic!() };
    assert!(score.output.json);
    assert!(matches!(parse("client data check DIR --json"), Command::Data(Data::Check(_))));
    assert!(matches!(parse("client evaluate --state S --data D --json"), Command::Evaluate(_)));
}

#[test]
fn wrong_lines_are_refused_with_what_to_do() {
    #[track_caller]
    fn check(line: &str, kind: ErrorKind, expected: &str) {
        let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    use ErrorKind::{ArgumentConflict, MissingRequiredArgument, UnknownArgument, ValueValidation};
    check("client join gateway --token T --state S", ValueValidation, "has no port: write HOST:PORT");
    check("client join h:1 --state S", MissingRequiredArgument, "--token <TOKEN>");
    check("client join h:1 --state S --insecure", MissingRequiredArgument, "--name <NAME>");
    check("client join h:1 --state S --insecure --name a --token T", ArgumentConflict, "--token");
    check("client join h:1 --state S --token T --name a/b", ValueValidation, "is not a client name");
    check("client run --data D", MissingRequiredArgument, "--state <DIR>");
    check("client run --state S --data D --held-out 0.7", ValueValidation, "from 0 to 0.5");
    check("client run --state S --data D --threads -1", UnknownArgument, "-1");
    check("client run --state S --data D --threads=9999", ValueValidation, "at most 1024");
    check("client predict --state S --out O", MissingRequiredArgument, "<IMAGE>...");
    check("client predict a.png --state S --out O --score 2", ValueValidation, "from 0 to 1");
}
