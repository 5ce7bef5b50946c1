"""What every part stands on: errors, files, data directories, the cache folder, optional packages."""
