"""Pure decisions: no input or output, no clock, no settings. Imports nothing but itself."""
