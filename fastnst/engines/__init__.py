"""The net on other runtimes than eager PyTorch, and files of it for other programs.

Modules in here may import the root of the package; of the root, the stylizer alone imports them.
"""
