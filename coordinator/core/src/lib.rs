//! The round as a state machine: select, admit, combine, server optimiser, journal, report.
