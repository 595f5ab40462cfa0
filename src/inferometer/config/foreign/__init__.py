"""Configuration of other tools, one file per tool: pure functions from its document to plans."""
