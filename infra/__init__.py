"""Wires the system: composition roots, settings, migrations, and the development stack."""
