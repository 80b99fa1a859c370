"""The command line: `tally`. Data on stdout, everything else on stderr, outcomes as exit codes."""
