"""The `moca` subcommands, one module each; `moca_core.cli` holds their table."""
