"""What the consumers need of the outside, one file a flow. Each docstring is the contract that tests run."""
