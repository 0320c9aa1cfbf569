//! Telling the device's owner: JSON lines for scripts, short lines for people, a moving sign of life on a terminal.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::happening::Happening;
use crate::output::{print_json, print_line};

/// Prints what happens.
#[derive(Debug)]
pub(crate) struct Reporter {
    json: bool,
    /// What is going on, while it goes on; on terminals only.
    busy: Option<ProgressBar>,
}

impl Reporter {
    pub(crate) fn new(json: bool) -> Self {
        let busy = (!json && stderr().is_terminal()).then(|| {
            // The template is constant; should it be refused, the default one will do.
            let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
            let bar = ProgressBar::new_spinner();
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        Self { json, busy }
    }

    pub(crate) fn tell(&mut self, happening: &Happening) {
        if self.json {
            print_json(happening);
        } else {
            match happening {
                Happening::Training { .. } => self.begin(happening.to_string()),
                // The command ends with this line itself, or with an error.
                Happening::Finished { .. } => self.rest(),
                Happening::Trained { .. } | Happening::Evaluated { .. } => {
                    self.rest();
                    self.print(happening);
                }
                _ => self.print(happening),
            }
        }
    }

    /// The last line.
    pub(crate) fn end(&self, line: &str) {
        if !self.json {
            print_line(line);
        }
    }

    fn begin(&self, message: String) {
        match &self.busy {
            Some(bar) => {
                bar.set_message(message);
                bar.reset();
                bar.enable_steady_tick(Duration::from_millis(120));
            }
            None => print_line(message),
        }
    }

    fn rest(&self) {
        if let Some(bar) = &self.busy {
            bar.finish_and_clear();
        }
    }

    fn print(&self, happening: &Happening) {
        match &self.busy {
            Some(bar) => bar.suspend(|| print_line(happening)),
            None => print_line(happening),
        }
    }
}
