"""A row of a run → a card: what a person is shown of it, as plain values, with small pictures."""
