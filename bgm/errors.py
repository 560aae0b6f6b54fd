"""What bgm raises on purpose. Every message says what is wrong, where, and what to do about it."""


class BgmError(Exception):
    """Root of the errors that are meant for the person who runs bgm."""


class ConfigError(BgmError):
    """A setting, or a combination of settings, that cannot work."""


class DataError(BgmError):
    """An image, or a set of images, that cannot be used."""


class CheckpointError(BgmError):
    """A checkpoint that is missing, damaged, unsafe or made for another network."""


class WriteError(BgmError):
    """An output that could not be encoded or stored."""
