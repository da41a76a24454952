"""The OpenAI Realtime protocol for vivavoce: OpenAI, Azure and compatible services."""
