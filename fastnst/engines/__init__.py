"""The net on other runtimes than eager PyTorch, and files of it for other programs."""
