"""A plugin-based framework for realtime voice: speech in, speech out, over any provider."""
