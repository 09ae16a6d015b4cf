"""The model that is looked at: built, trained, loaded, recorded."""
