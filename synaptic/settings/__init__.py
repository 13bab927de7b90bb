"""What the user decided: typed values, each with the layer it came from, and the file they are kept in."""

from synaptic.settings.settings import Settings as Settings
