"""The desktop program. Imports `moca_core`; never the other way round."""
