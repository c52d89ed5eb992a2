"""Pictures of arrays; nothing here knows a network."""
