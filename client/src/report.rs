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
    /// Whether somebody is watching.
    watched: bool,
    /// Moves while training goes on.
    busy: Option<ProgressBar>,
}

impl Reporter {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, watched: !json && stderr().is_terminal(), busy: None }
    }

    pub(crate) fn tell(&mut self, happening: &Happening) {
        if self.json {
            print_json(happening);
        } else {
            match happening {
                Happening::Training { .. } => self.begin(happening.to_string()),
                // The command ends with this line itself, or with an error.
                Happening::Finished { .. } => self.rest(),
                Happening::Trained { .. } | Happening::Failed { .. } => {
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

    fn begin(&mut self, message: String) {
        if !self.watched {
            return print_line(message);
        }
        // The template is constant; should it be refused, the default one will do.
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::new_spinner().with_style(style).with_message(message);
        bar.enable_steady_tick(Duration::from_millis(120));
        self.busy = Some(bar);
    }

    fn rest(&mut self) {
        if let Some(bar) = self.busy.take() {
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
