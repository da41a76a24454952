"""The responders that come along: `echo`, `assistant` (the default), `chat`."""
