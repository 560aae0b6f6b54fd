"""The configuration files, which an installed package carries as `bgm.conf`."""
