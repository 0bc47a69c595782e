"""How Sphinx builds the documentation: `make docs`. The reference is made of the code each time."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import mathml  # noqa: E402
import reference_pages  # noqa: E402

import sapwood  # noqa: E402

project = "Sapwood"
author = "Sapwood maintainers"
copyright = "Sapwood maintainers"
version = release = sapwood.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "logs", "reference_pages"]
smartquotes = False  # or --latency in a sentence would begin with a dash
html_theme = "furo"
html_title = f"Sapwood {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120

NotebookClient.extra_arguments.default_args = (["--IPKernelApp.log_level=40"],)  # it warns that it talks over TCP
logging.getLogger("traitlets").setLevel(logging.WARNING)  # which notebook runs, said beside Sphinx's own words

autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_default_options = {"exclude-members": "model_config, model_post_init"}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_admonition_for_examples = False
maximum_signature_line_length = 80


def setup(app: Any) -> None:
    """Makes the reference before anything is read."""
    mathml.setup(app)
    app.connect("config-inited", lambda *_: reference_pages.write(HERE))
