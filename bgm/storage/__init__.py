"""Files that are not on this machine: where they are, and the bytes they hold."""

from bgm.storage.copies import local_copy
from bgm.storage.places import check_place, holds_credentials, is_url, locate, working_folder
from bgm.storage.remote import RemotePath, StorageError, is_remote, list_objects, write_object

__all__ = [
    "RemotePath",
    "StorageError",
    "check_place",
    "holds_credentials",
    "is_remote",
    "is_url",
    "list_objects",
    "local_copy",
    "locate",
    "working_folder",
    "write_object",
]
