"""How Sphinx builds the documentation: ``make docs``."""

from __future__ import annotations

import lmstudio_provider

project = "lmstudio_provider"
version = release = lmstudio_provider.__version__
copyright = "the authors; Apache-2.0"  # noqa: A001 (Sphinx reads this name)
extensions = ["sphinx.ext.autodoc"]
html_theme = "alabaster"
html_show_sourcelink = False
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "undoc-members": True, "show-inheritance": True}
# Annotations such as ``type[T]`` would otherwise be looked for among the fields named ``type``.
suppress_warnings = ["ref.python"]
