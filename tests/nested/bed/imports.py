"""Prints what the scripts named on the command line import: each module's file and its compiled form, if any.

The modules are really imported, so that what they need in turn is known exactly.
"""

import ast
import importlib
import importlib.machinery
import os
import sys

# Loaded in the middle of something, not by an import that one could see.
LATE = ["encodings.ascii", "encodings.idna", "encodings.latin_1", "selectors"]


def imported_names(path):
    with open(path, "rb") as file:
        tree = ast.parse(file.read(), path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module
            # What is not a module of that package is a name in it.
            yield from (f"{node.module}.{alias.name}" for alias in node.names if is_module(node.module, alias.name))


def is_module(package, name):
    path = getattr(importlib.import_module(package), "__path__", None)
    return path is not None and importlib.machinery.PathFinder.find_spec(f"{package}.{name}", path) is not None


def main(scripts):
    for name in LATE:
        importlib.import_module(name)
    for script in scripts:
        sys.path[0] = os.path.dirname(script)
        for name in imported_names(script):
            importlib.import_module(name)
    for name, module in sys.modules.items():
        source = getattr(module, "__file__", None)
        if source and name != "__main__":
            compiled = getattr(module, "__cached__", None)
            print(source, compiled if compiled and os.path.exists(compiled) else "-")


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    main(sys.argv[1:])
