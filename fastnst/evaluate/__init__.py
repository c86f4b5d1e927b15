"""A verdict: how still nets and clips hold, and how close to the style they are.

`contenders` is what is judged, and on which clips; `judge` measures; `report` shows what was found; `verdict` is the
three in a row. `objective` counts the evaluations of the loss that a net saves. `card` is what a checkpoint says of
itself, and `verify` checks it. May import the root of the package and `video`.
"""
