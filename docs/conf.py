"""Settings of the site: `make docs` builds it into build/docs, and every warning is an error."""

from pathlib import Path
from runpy import run_path

ROOT = Path(__file__).parent.parent

project = "improved_db"
author = "the authors of improved_db"
release = version = run_path(str(ROOT / "improved_db" / "_version.py"))["__version__"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
default_role = "py:obj"  # in docstrings, `ImprovedDb` is a link

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = False  # the class shows parameters that its code does not have
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 100

html_theme = "furo"
html_title = f"improved_db {release}"
html_copy_source = False
html_show_copyright = False
