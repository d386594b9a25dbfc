# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Configuration of Sphinx.

The build needs no network; set VAEPHOT_DOCS_INTERSPHINX=1 to link to the
documentation of other packages.
"""

import os

import vaephot

project = 'vaephot'
author = 'The vaephot developers'
project_copyright = '2026, The vaephot developers'
release = vaephot.__version__
version = '.'.join(release.split('.')[:2])

extensions = [
    'sphinx.ext.autodoc',
    'sphinx.ext.autosummary',
    'sphinx.ext.mathjax',
    'numpydoc',
]
if os.environ.get('VAEPHOT_DOCS_INTERSPHINX'):
    extensions.append('sphinx.ext.intersphinx')
    intersphinx_mapping = {
        'astropy': ('https://docs.astropy.org/en/stable/', None),
        'numpy': ('https://numpy.org/doc/stable/', None),
        'photutils': ('https://photutils.readthedocs.io/en/stable/', None),
        'python': ('https://docs.python.org/3/', None),
        'torch': ('https://docs.pytorch.org/docs/stable/', None),
    }

default_role = 'py:obj'
exclude_patterns = ['_build']
templates_path = ['_templates']

autosummary_generate = True
autosummary_imported_members = False
autodoc_typehints = 'none'
numpydoc_show_class_members = False

# used by docstrings that are inherited from photutils
rst_epilog = '.. _SourceExtractor: https://sextractor.readthedocs.io/'

html_theme = 'pydata_sphinx_theme'
html_title = f'{project} {release}'
html_show_sourcelink = False
html_theme_options = {'show_version_warning_banner': False}
