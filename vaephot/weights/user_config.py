# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Settings of the package, kept in astropy's configuration system."""

from astropy.config import ConfigItem, ConfigNamespace

__all__ = ['Conf', 'conf']


class Conf(ConfigNamespace):
    """Configuration parameters of `vaephot`."""

    rootname = 'vaephot'

    weights_urls = ConfigItem(
        [],
        'Folders (URLs) that hold weights files NAME.safetensors, tried '
        'in this order when neither the cache nor the package has a file.',
        cfgtype='string_list',
        module='vaephot',
    )


conf = Conf()
