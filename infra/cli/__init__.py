"""The commands of `tally` that need servers, settings or credentials at hand."""
