"""One YAML file for each named experiment, and the code that loads and runs it."""
