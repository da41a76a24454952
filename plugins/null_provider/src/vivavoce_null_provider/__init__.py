"""The last resort of every vivavoce voice: it warns and returns at once."""
