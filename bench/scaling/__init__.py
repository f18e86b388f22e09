"""The figures of docs/scale.md: a module measures one thing each; ``bench/scale.py`` runs them."""
