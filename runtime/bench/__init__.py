"""How fast a model runs here, beside what the machine allows: `python -m harmony.runtime.bench`."""
