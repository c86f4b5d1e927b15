"""A verdict: how still nets and clips hold, and how close to the style they are.

May import the root of the package and `video`.
"""
