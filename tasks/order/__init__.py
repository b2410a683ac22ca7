"""An order of flags, learnt from decisions: what it looks at, how it learns, when it is used."""
