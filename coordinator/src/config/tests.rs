use clap::Parser;

use super::*;
use crate::cli::Cli;

fn config(flags: &[&str]) -> Result<Config, ConfigError> {
    let arguments = ["coordinator"].iter().chain(flags);
    Settings::layered(&Cli::parse_from(arguments).serve).and_then(Config::new)
}

fn file(text: &str) -> (tempfile::TempDir, String) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("coordinator.toml");
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (root, path)
}

#[test]
fn flags_override_the_file() {
    let (_root, path) = file(
        "names = [\"a\"]\n[run]\nrounds = 7\nmin_clients = 3\n[run.train]\nbatch = 4\nmicro_batch = 2\n",
    );
    let config = config(&["--config", &path, "--rounds", "9", "--listen", "127.0.0.1:0"]).unwrap();
    let run = config.run.settings();
    assert_eq!((run.rounds, run.min_clients, run.train.batch), (9, 3, 4));
    assert_eq!(config.settings.names, ["a"]);
    assert_eq!(config.listen, ["127.0.0.1:0".parse().unwrap()]);
}

#[test]
fn related_settings_follow_unless_they_are_given() {
    let run = config(&["--batch", "2", "--density", "0.0001"]).unwrap().settings.run;
    assert_eq!((run.train.micro_batch, run.uplink.floor), (2, 0.0001));
    let refused = config(&["--batch", "2", "--micro-batch", "4"]).unwrap_err().to_string();
    let run = config(&["--uplink-budget", "5000"]).unwrap().settings.run;
    assert_eq!(run.uplink.budget_bytes, Some(5000));
    assert!(refused.starts_with("train.micro_batch 4 and train.batch 2 cannot go together"), "{refused}");
}

#[test]
fn scoring_follows_from_having_images_to_score_on() {
    assert!(!config(&[]).unwrap().run.settings().central_score);
    assert!(config(&["--eval-data", "images"]).unwrap().run.settings().central_score);
}

#[test]
fn insecure_means_loopback() {
    assert_eq!(config(&["--insecure"]).unwrap().listen, ["127.0.0.1:7843".parse().unwrap()]);
    assert!(config(&["--insecure", "--listen", "[::1]:1"]).is_ok());
    let refused = config(&["--insecure", "--listen", "0.0.0.0:1"]).unwrap_err().to_string();
    assert!(refused.starts_with("insecure mode listens on loopback only, not on 0.0.0.0:1"), "{refused}");
}

#[test]
fn refusals_name_the_setting_or_the_place() {
    #[track_caller]
    fn check(flags: &[&str], expected: &str) {
        let found = config(flags).unwrap_err().to_string();
        assert!(found.contains(expected), "{found}");
    }
    check(&["--rounds", "0"], "rounds is 0, but must be from 1 to 1000000");
    check(&["--density", "0"], "density");
    check(&["--codec", "zip"], "zip");
    check(&["--uplink-budget", "63"], "uplink: budget is 63, outside 64 bytes or more");
    check(&["--server-optimiser", "magic"], "magic");
    check(&["--personalise", "all"], "personalise is all");
    check(&["--listen", "here"], "listen is \"here\"");
    check(&["--config", "/nowhere/c.toml"], "/nowhere/c.toml: ");
    let (_root, path) = file("[run]\nrounds = 7\nround = 8\n");
    check(&["--config", &path], "coordinator.toml, line 3: unknown field `round`");
    let (_root, path) = file("rounds = 7\n");
    check(&["--config", &path], "coordinator.toml, line 1: unknown field `rounds`");
    let (_root, path) = file("[run.train]\noptimiser = \"adamx\"\n");
    check(&["--config", &path], "unknown variant `adamx`");
}

/// What `config check` prints is a file that says the same.
#[test]
fn settings_survive_being_printed() {
    let mut settings = config(&["--classes", "a,b", "--server-optimiser", "momentum"]).unwrap().settings;
    settings.run.server_optimiser.settings.insert("beta".into(), 0.5.into());
    let (_root, path) = file(&toml::to_string(&settings).unwrap());
    let read = read(Path::new(&path)).unwrap();
    assert_eq!(read, settings);
}
