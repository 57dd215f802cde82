"""How a build annotates its records: prompts, examples and sampling of its stages, pass by pass."""
