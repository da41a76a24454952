"""Speech to speech offline: no key, no network."""
