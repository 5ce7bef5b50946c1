"""A compiled module on many machines: Ray, Dask, Spark and Beam. Each file needs its own package, and no more."""
