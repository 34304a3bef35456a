"""The paper's experiments: published numbers, drawings, cells, statistics, the report."""
