"""Providers whose import does what an import may not, a module each."""
