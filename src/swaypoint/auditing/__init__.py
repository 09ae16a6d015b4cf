"""From a source to an audit folder."""
